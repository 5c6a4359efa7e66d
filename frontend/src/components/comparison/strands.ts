/** What a figure of curves says of its lines: a variant's runs, hidden ones too, and published results. */
export type Strand = {
  name: string;
  color: string;
  dash: string;
  runs: { id: string; seed: number }[];
};

type Published = Pick<Strand, "name" | "color">;

/** Of a trace, what is read here. */
type Trace = {
  uid: string;
  /** The name in full and as it is; `name` is cut, and escaped for Plotly. */
  legendgroup: string;
  line: { color: string; dash?: string };
  meta?: { run_id: string; seed: number };
  showlegend?: boolean;
};

const REFERENCE = "reference";

export function strandsOf(data: object[]): { strands: Strand[]; published: Published[] } {
  const strands = new Map<string, Strand>();
  const published: Published[] = [];
  for (const { uid, legendgroup: name, line, meta, showlegend } of data as Trace[]) {
    if (meta) {
      const strand = strands.get(name) ?? { name, color: line.color, dash: line.dash ?? "", runs: [] };
      strand.runs.push({ id: meta.run_id, seed: meta.seed });
      strands.set(name, strand);
    } else if (uid.startsWith(REFERENCE) && showlegend !== false)
      published.push({ name: name.slice(REFERENCE.length + 1), color: line.color });
  }
  for (const { runs } of strands.values()) runs.sort((one, other) => one.seed - other.seed);
  return { strands: [...strands.values()], published };
}
