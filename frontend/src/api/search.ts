/** What the form holds of a search of settings. */
export type DraftOfSearch = {
  /** A field a line: `lr=0.0001..0.01 log`, or `dropout=0,0.1`. */
  fields: string;
  trials: number;
  seeds: number;
  sampler: string;
};

type Value = string | number;
type Searched = { low: number; high: number; log?: true; steps?: number } | { choices: Value[] };

export const USUAL_SEARCH: DraftOfSearch = { fields: "lr=0.0001..0.01 log", trials: 12, seeds: 5, sampler: "tpe" };

/** A request's fields to search, from text; what is neither range nor choice is one choice, for the server to refuse. */
export function searchFromText(text: string, read: (name: string, value: string) => Value): Record<string, Searched> {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return Object.fromEntries(
    lines.map((line) => {
      const [name = "", values = ""] = line.trim().split(/\s*=\s*/, 2);
      const [first = "", ...flags] = values.trim().split(/\s+/);
      const range = /^([^.]*(?:\.\d[^.]*)?)\.\.(.+)$/.exec(first);
      if (range) return [name, { low: Number(range[1]), high: Number(range[2]), ...flagsOf(flags) }];
      const choices = values.split(",").map((value) => value.trim());
      return [name, { choices: choices.map((value) => read(name, value)) }];
    }),
  );
}

function flagsOf(flags: string[]): { log?: true; steps?: number } {
  const steps = flags.map(Number).find((number) => !Number.isNaN(number));
  return { ...(flags.includes("log") ? { log: true } : {}), ...(steps ? { steps } : {}) };
}

/** The text of a search that was requested. */
export function textOfSearch(
  fields: Record<
    string,
    { low?: number | null; high?: number | null; log?: boolean; steps?: number | null; choices?: unknown[] | null }
  >,
): string {
  return Object.entries(fields)
    .map(([name, { low, high, log, steps, choices }]) =>
      choices
        ? `${name}=${choices.map(String).join(",")}`
        : `${name}=${[`${low}..${high}`, ...(log ? ["log"] : []), ...(steps ? [steps] : [])].join(" ")}`,
    )
    .join("\n");
}
