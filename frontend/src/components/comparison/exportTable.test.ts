import { expect, test } from "vitest";

import type { Comparison } from "../../api/client";
import { FORMATS, pValue } from "./exportTable";

type Row = Comparison["variants"][number];
const stat = { mean: 61.5, sd: 0.25, n: 3, low: 60.88, high: 62.12 };

function row(variant: string, more: Partial<Row> = {}): Row {
  const measured = {
    final: stat,
    best: { ...stat, mean: 62 },
    test: null,
    minutes: { ...stat, sd: null },
    difference: null,
  };
  return { variant, runs: 3, finished: 3, outcome: null, verdict: "", levels: [], ...measured, ...more } as Row;
}

/** A baseline, and a variant with all that is special in some format in its name. */
const found = {
  factors: ["pooling"],
  baseline: "mean",
  levels: [{ level: "" }],
  answer: "seqpool is better.",
  variants: [
    row("mean"),
    row('a|b,"50 %"_{x}^~', {
      difference: {
        mean: -1.5,
        sd: 0.5,
        n: 3,
        low: -2.74,
        high: -0.26,
        p_corrected: 0.00001,
        effect_size: -3,
      } as never,
      verdict: "worse,\nclearly",
    }),
  ],
} as unknown as Comparison;

test("a bar in a name does not end the cell of a Markdown table", () => {
  const lines = FORMATS.Markdown.write(found).split("\n");
  const columns = (line: string) => line.replaceAll(String.raw`\|`, "").split("|").length;
  expect(new Set(lines.slice(0, 4).map(columns))).toEqual(new Set([10]));
  expect(lines[2]).toContain("| 61.50 ± 0.25 | 62.00 ± 0.25 | 61.5 | baseline |");
  expect(lines[3]).toContain("-1.50 ± 0.50 [-2.74, -0.26]");
  expect(lines).toContain("seqpool is better.");
});

test("LaTeX gets its special characters escaped and its minus signs as such", () => {
  const [begin, , , , , variant] = FORMATS.LaTeX.write(found).split("\n");
  expect(begin).toBe(String.raw`\begin{tabular}{lrrrrrrr}`);
  expect(variant).toContain(String.raw`a|b,"50 \%"\_\{x\}\textasciicircum{}\textasciitilde{}`);
  expect(variant).toContain(String.raw`$-$1.50 $\pm$ 0.50 [$-$2.74, $-$0.26]`);
  expect(variant).toContain("$<$ 0.0001");
});

test("a CSV cell with commas, quotes or a new line stays one cell, and numbers are as they were computed", () => {
  const text = FORMATS.CSV.write(found);
  expect(text).toContain('\n"a|b,""50 %""_{x}^~",3,3,61.5,0.25,3,60.88,62.12,');
  expect(text).toContain(',"worse,\nclearly"\n');
  expect(text.split("\n")[1]).toMatch(/^mean,3,3,.*,61\.5,,3,/);
});

test("where something else varies, each of its levels has a line after the mean over them", () => {
  const at = (level: string, mean: number | null) => ({
    ...{ level, runs: ["r"], outcome: null, difference: null },
    final: mean === null ? null : { ...stat, mean },
  });
  const levels = [at("lr 0.001", 60), at("lr 0.002", null)];
  const blocked = { ...found, levels, variants: [row("mean", { levels } as never)] } as unknown as Comparison;
  const lines = FORMATS.Markdown.write(blocked).split("\n");
  expect(lines[3]).toBe("| mean, lr 0.001 | 3 | 60.00 ± 0.25 | – | – | baseline | – | – |");
  expect(lines[4]).toBe("| mean, lr 0.002 | 0 | – | – | – | baseline | – | – |");
  expect(FORMATS.CSV.write(blocked)).toContain('\n"mean, lr 0.001",1,,60,0.25,3,60.88,62.12,');
});

test("JSON is the whole comparison", () => {
  expect(JSON.parse(FORMATS.JSON.write(found))).toEqual(JSON.parse(JSON.stringify(found)));
});

test("p values are written as in papers", () => {
  expect([null, 0.5, 0.04567, 0.00004].map(pValue)).toEqual(["–", "0.50", "0.0457", "< 0.0001"]);
});
