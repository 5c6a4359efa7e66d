import type { Comparison, Stat } from "../../api/client";

type Row = Comparison["variants"][number];
type Shown = "variant" | "runs" | "final" | "best" | "test" | "minutes" | "difference" | "outcome" | "verdict";
type Line = Pick<Row, Shown> & { finished: number | null; isBaseline: boolean };
type Cell = string | number | null;

/** How a comparison leaves the board: the ending of its file and its type. */
export const FORMATS = {
  Markdown: { ending: "md", type: "text/markdown", write: markdown },
  LaTeX: { ending: "tex", type: "application/x-tex", write: latex },
  CSV: { ending: "csv", type: "text/csv", write: csv },
  JSON: { ending: "json", type: "application/json", write: (found: Comparison) => JSON.stringify(found, null, 2) },
};

const P_DIGITS = 4;

/** A p value as it is written in papers. */
export function pValue(p: number | null | undefined): string {
  if (p == null) return "–";
  return p < 10 ** -P_DIGITS ? `< ${10 ** -P_DIGITS}` : p.toFixed(p < 0.1 ? P_DIGITS : 2);
}

const spread = (stat: Stat | null, digits = 2) =>
  stat ? stat.mean.toFixed(digits) + (stat.sd == null ? "" : ` ± ${stat.sd.toFixed(digits)}`) : "–";

const interval = (stat: Stat | null) =>
  stat?.low == null || stat.high == null ? "" : ` [${stat.low.toFixed(2)}, ${stat.high.toFixed(2)}]`;

/** A line for each variant and, where something else varies, for each of its levels after it. */
function linesOf({ variants, levels, baseline }: Comparison): Line[] {
  return variants.flatMap((row) => {
    const isBaseline = row.variant === baseline;
    const atLevels = row.levels.map(({ level, runs, ...at }) => ({
      ...{ variant: `${row.variant}, ${level}`, runs: runs.length, finished: null, best: null, minutes: null },
      ...{ verdict: "", isBaseline, ...at },
    }));
    return [{ ...row, isBaseline }, ...(levels.length > 1 ? atLevels : [])];
  });
}

function table(found: Comparison): [string[], string[][]] {
  const { factors, baseline, interval: named } = found;
  const hasTest = found.variants.some(({ test }) => test !== null);
  const head = [
    factors.join(", "),
    "n",
    "final top-1 (%)",
    "best top-1 (%)",
    ...(hasTest ? ["test top-1 (%)"] : []),
    "minutes",
    `difference to ${baseline} (points) [${named}]`,
    "p (Holm)",
    "d_z",
  ];
  const rows = linesOf(found).map((row) => [
    row.variant,
    String(row.final?.n ?? 0),
    spread(row.final),
    spread(row.best),
    ...(hasTest ? [spread(row.test)] : []),
    spread(row.minutes, 1),
    row.isBaseline ? "baseline" : spread(row.difference) + interval(row.difference),
    pValue(row.difference?.p_corrected),
    row.difference?.effect_size?.toFixed(2) ?? "–",
  ]);
  return [head, rows];
}

function markdown(found: Comparison): string {
  const [head, rows] = table(found);
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll("|", String.raw`\|`)).join(" | ")} |`;
  const ruler = head.map((_, column) => (column === 0 ? "---" : "---:"));
  return [line(head), line(ruler), ...rows.map(line), "", found.answer, ""].join("\n");
}

/** Needs the package booktabs. */
function latex(found: Comparison): string {
  const [head, rows] = table(found);
  const special: Record<string, string> = {
    "±": String.raw`$\pm$`,
    "–": "--",
    "<": "$<$",
    "\\": String.raw`\textbackslash{}`,
    "^": String.raw`\textasciicircum{}`,
    "~": String.raw`\textasciitilde{}`,
  };
  const escaped = (text: string) =>
    text
      .replace(/[\\±–<^~]|[&%$#_{}]/g, (char) => special[char] ?? `\\${char}`)
      .replace(/(^|[^\w-])-(?=\d)/g, "$1$$-$$");
  const line = (cells: string[]) => `  ${cells.map(escaped).join(" & ")} \\\\`;
  return [
    String.raw`\begin{tabular}{l${"r".repeat(head.length - 1)}}`,
    String.raw`  \toprule`,
    line(head),
    String.raw`  \midrule`,
    ...rows.map(line),
    String.raw`  \bottomrule`,
    String.raw`\end{tabular}`,
    "",
  ].join("\n");
}

const COLUMNS: [string, (row: Line) => Cell][] = [
  ["variant", (row) => row.variant],
  ["runs", (row) => row.runs],
  ["completed", (row) => row.finished],
  ...(["final", "best", "test", "minutes", "difference"] as const).flatMap((name) =>
    (["mean", "sd", "n", "low", "high"] as const).map((part): [string, (row: Line) => Cell] => [
      `${name}_${part}`,
      (row) => row[name]?.[part] ?? null,
    ]),
  ),
  ...(["p", "p_corrected", "p_sign_flip", "effect_size"] as const).map((name): [string, (row: Line) => Cell] => [
    name,
    (row) => row.difference?.[name] ?? null,
  ]),
  ["outcome", (row) => row.outcome],
  ["verdict", (row) => row.verdict],
];

/** All numbers as they were computed; nothing where there is none. */
function csv(found: Comparison): string {
  const quoted = (cell: Cell) => {
    const text = String(cell ?? "");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = linesOf(found).map((row) => COLUMNS.map(([, read]) => quoted(read(row))).join(","));
  return [COLUMNS.map(([name]) => name).join(","), ...rows, ""].join("\n");
}
