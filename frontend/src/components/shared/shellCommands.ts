import type { requestOf } from "../../api/spec";

export type QueueRequest = ReturnType<typeof requestOf>;

/** Where `cctboard` looks for a board that it is not told of. */
const USUAL = ["http://localhost:8000", "http://127.0.0.1:8000"];

/** What queues the request at the board of this address; null where `cctboard submit` has no way to say it. */
export function submitCommand({ experiment, runs }: QueueRequest, address: string) {
  const { name, spec, axes, priority } = experiment;
  const plan = "plan" in experiment ? experiment.plan : null;
  const variants = ("variants" in experiment && experiment.variants) || [];
  const values = [...Object.values(spec), ...Object.values(axes).flat()];
  if (values.some((value) => String(value).includes(","))) return null; // it divides a field's values
  const words = [
    ...(runs > 1 ? [`--name=${name}`] : []),
    ...(plan ? [`--plan=${JSON.stringify(plan)}`] : []),
    ...("tune" in experiment ? [`--tune=${JSON.stringify(experiment.tune)}`] : []),
    ...variants.map((one) => `--variant=${JSON.stringify(one)}`),
    ...(priority ? [`--priority=${priority}`] : []),
    ...Object.entries({ ...spec, ...axes }).map(
      ([field, value]) => `${field}=${[value].flat().map(argument).join(",")}`,
    ),
  ];
  const board = USUAL.includes(address) ? [] : [`CCTBOARD_URL=${quoted(address)}`];
  return [...board, "cctboard submit", ...words.map(quoted)].join(" ");
}

/** What sends the body to the board of this address. */
export function curlCommand(address: string, path: string, body: object, tokenNeeded: boolean): string {
  const header = tokenNeeded ? ` -H "Authorization: Bearer $CCTBOARD_TOKEN"` : "";
  return `curl -X POST ${quoted(address + path)}${header} -d ${quoted(JSON.stringify(body))}`;
}

/** `cctboard` reads a value as JSON if it can: text that looks like a number is given as text. */
function argument(value: string | number): string {
  if (typeof value === "number") return String(value);
  try {
    JSON.parse(value);
    return JSON.stringify(value);
  } catch {
    return value;
  }
}

/** As one word of a shell. */
function quoted(word: string): string {
  return /^[\w=,.:/+-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
