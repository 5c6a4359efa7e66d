import { Box } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { createContext, useContext, useMemo } from "react";

import type { Sparkline } from "../../api/client";
import { sparklinesQuery } from "../../api/queries";
import { percent } from "../../format";

const WIDTH = 88;
const HEIGHT = 22;
const MARGIN = 2;
/** In points; less than that is drawn flat rather than as if it were much. */
const SMALLEST_RANGE = 5;

const Lines = createContext<ReadonlyMap<string, Sparkline>>(new Map());

/** Reads the curves of these runs in one request; `Curve` draws them anywhere below. */
export function Curves({ ids, children }: { ids: string[]; children: React.ReactNode }) {
  const { data } = useQuery(sparklinesQuery(ids));
  const lines = useMemo(() => new Map(data?.sparklines.map((line) => [line.run_id, line])), [data]);
  return <Lines value={lines}>{children}</Lines>;
}

/** A run's validation top-1 by epoch, on a scale of its own: the shape counts, the level stands beside it. */
export function Curve({ id }: { id: string }) {
  const line = useContext(Lines).get(id);
  // As wide as a curve, so that the table keeps its widths when the curves come.
  if (!line || line.epochs.length < 2)
    return (
      <Box component="span" display="inline-block" w={WIDTH}>
        –
      </Box>
    );
  const { epochs, val_top1: values } = line;
  const [first, last] = [epochs[0]!, epochs.at(-1)!];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const range = Math.max(high - low, SMALLEST_RANGE);
  const x = (epoch: number) => MARGIN + ((epoch - first) / (last - first)) * (WIDTH - 2 * MARGIN);
  const y = (value: number) => HEIGHT - MARGIN - ((value - low) / range) * (HEIGHT - 2 * MARGIN);
  const points = epochs.map((epoch, index) => `${x(epoch).toFixed(1)},${y(values[index]!).toFixed(1)}`);
  const [endX, endY] = points.at(-1)!.split(",");
  return (
    <svg
      className="sparkline"
      width={WIDTH}
      height={HEIGHT}
      role="img"
      aria-label={`From ${percent(values[0], 1)} to ${percent(values.at(-1), 1)} in ${last} epochs`}
    >
      <polyline points={points.join(" ")} />
      <circle cx={endX} cy={endY} r={MARGIN} />
    </svg>
  );
}
