import { Paper } from "@mantine/core";

import type { Comparison } from "../../api/client";
import { Folded } from "../shared/Folded";
import { CodeDifference } from "../pooling/Code";

/** Where own poolings are compared: what each does otherwise than the baseline, in lines of code. */
export function CodeOfVariants({ comparison: { group, baseline, variants } }: { comparison: Comparison }) {
  const own = variants.map(({ variant }) => variant).filter((name) => name !== baseline && name.includes("@"));
  if (group !== "pooling" || !baseline || own.length === 0) return null;
  return (
    <Paper p="sm" mt="sm">
      {own.map((name) => (
        <Folded key={name} summary={`Code of ${name}: what differs from ${baseline}`}>
          <CodeDifference name={baseline} other={name} />
        </Folded>
      ))}
    </Paper>
  );
}
