import { Group, Title } from "@mantine/core";

import type { Run } from "../../api/client";
import { isEvaluation, isMeasured } from "../../format";
import { ConfusionMatrix, EpochChoice } from "../shared/ConfusionMatrix";

/** What one run mistakes for what; nothing before its first epoch or its evaluation. */
export function ConfusionOfRun({ run }: { run: Run }) {
  if (!isMeasured(run)) return null;
  return (
    <section aria-labelledby="confusion">
      <Group justify="space-between" mt="xl" mb="sm">
        <Title order={2} id="confusion">
          Confusion matrix
        </Title>
        {!isEvaluation(run) && <EpochChoice />}
      </Group>
      <ConfusionMatrix selection={{ run: [run.id] }} group="pooling" />
    </section>
  );
}
