import { Paper, useComputedColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { systemQuery } from "../../api/queries";
import { AskedFigure } from "../shared/Figure";

/** What training the run takes of its machine, over time. */
export function SystemOfRun({ id }: { id: string }) {
  const theme = useComputedColorScheme("light");
  return (
    <Paper p="xs">
      <AskedFigure
        asked={useQuery(systemQuery(id, theme))}
        label="Load and memory over time"
        empty="It is read every few seconds while the run is trained."
      />
    </Paper>
  );
}
