import { NativeSelect, Paper, useComputedColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { confusionQuery, type Selection } from "../../api/queries";
import { AskedFigure } from "./Figure";
import { useUrlParam } from "./urlState";

const NOT_YET = "A confusion matrix comes with the next epoch that is finished.";

type Props = { selection: Selection; group: string; variant?: string; baseline?: string };

/** What is mistaken for what by one variant of the selected runs, at the epoch that the address names. */
export function ConfusionMatrix({ selection, ...options }: Props) {
  const epoch = useEpoch();
  const theme = useComputedColorScheme("light");
  const asked = useQuery(confusionQuery({ ...selection, ...options, epoch, theme }));
  const height = (asked.data?.layout as { height: number } | undefined)?.height;
  return (
    // As wide as high: the more classes, the larger.
    <Paper p="xs" maw={height && 1.3 * height}>
      <AskedFigure asked={asked} label="Confusion matrix" empty={NOT_YET} />
    </Paper>
  );
}

export const useEpoch = () => (useUrlParam("at")[0] === "best" ? "best" : "last");

export function EpochChoice({ of = "the matrix" }: { of?: string }) {
  const [, setEpoch] = useUrlParam("at");
  return (
    <NativeSelect
      size="xs"
      aria-label={`Epoch of ${of}`}
      data={[
        { value: "last", label: "last epoch" },
        { value: "best", label: "best epoch" },
      ]}
      value={useEpoch()}
      onChange={({ currentTarget: { value } }) => setEpoch(value === "best" ? value : null)}
    />
  );
}
