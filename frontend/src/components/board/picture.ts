import type { Experiment, Glance } from "../../api/client";
import { LIMITS } from "../../api/limits";

const { pictured_variants: MOST_ROWS } = LIMITS;
/** In points; less than that is drawn close together rather than as if it were much. */
const SMALLEST_RANGE = 2;
/** In percent of the width, so that points at the ends are whole. */
const MARGIN = 3;

/** Where a top-1 stands in the picture, as a share of its width: all that is shown of these variants fits. */
export function scaleOf(variants: Glance["variants"]): (top1: number) => string {
  const shown = variants.flatMap(({ top1, final }) => [...top1, final?.low, final?.high].filter((end) => end != null));
  const [low, high] = [Math.min(...shown), Math.max(...shown)];
  const range = Math.max(high - low, SMALLEST_RANGE);
  const start = (low + high - range) / 2;
  return (top1) => `${(MARGIN + ((top1 - start) / range) * (100 - 2 * MARGIN)).toFixed(1)}%`;
}

/** How many rows the picture of an experiment will have, as far as its axes tell: the place that is kept for it. */
export function expectedRows(axes: Experiment["axes"], variants: Experiment["variants"] = []): number {
  if (variants.length) return Math.min(variants.length, MOST_ROWS + 1);
  const varied = axes.pooling ?? Object.entries(axes).find(([field]) => field !== "seed")?.[1] ?? [null];
  return varied.length > MOST_ROWS ? MOST_ROWS + 1 : varied.length;
}
