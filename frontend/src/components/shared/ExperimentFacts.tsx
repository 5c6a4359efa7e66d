import { Anchor, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import { onExperiment } from "../../api/actions";
import { STATES, type Experiment } from "../../api/client";
import { experimentsQuery } from "../../api/queries";
import { duration } from "../../format";
import { PriorityButton } from "./PriorityButton";
import { ProgressBars, StateName } from "./RunFacts";

/** Share of finished epochs, how many runs are in which state, and when the last will end. */
export function ExperimentProgress({ experiment }: { experiment: Experiment }) {
  const unfinished = experiment.queued + experiment.running > 0;
  return (
    <>
      <Group gap="sm" wrap="nowrap" my={6} data-state={unfinished ? "running" : "completed"}>
        <ProgressBars value={experiment.progress} label={`Progress of ${experiment.name}`} />
        <Text size="xs" style={{ whiteSpace: "nowrap" }}>
          {Math.floor(100 * experiment.progress)} %
        </Text>
      </Group>
      <Group gap="2px 0.75rem" fz="xs">
        {STATES.filter((state) => experiment[state] > 0).map((state) => (
          <StateName key={state} state={state}>
            {experiment[state]} {state}
          </StateName>
        ))}
        {experiment.plan_state && (
          <Text span inherit c="dimmed">
            {planInShort(experiment)}
          </Text>
        )}
        {experiment.eta_seconds != null && (
          <Text span inherit c="dimmed">
            {duration(experiment.eta_seconds)} left
          </Text>
        )}
        {experiment.queued > 0 && (
          <PriorityButton
            compact
            label="Priority"
            change={(priority) => onExperiment.edit(experiment.id, { priority })}
          />
        )}
      </Group>
    </>
  );
}

/** So that nobody takes a plan that waits for its next look for one that has ended. */
function planInShort({ plan_state, planning, tune, variants: named, completed }: Experiment): string {
  if (tune) return `tuning ${plan_state}: ${completed} of ${named.length * (tune.trials ?? 0)} trials completed`;
  const variants = Object.values(planning?.variants ?? {});
  const settled = variants.filter(({ settled_at, outcome }) => settled_at && outcome !== "undecided").length;
  return `plan ${plan_state === "cancelled" ? "stopped" : plan_state}: ${settled} of ${variants.length - 1} settled`;
}

/** Who wrote a note, if they have said. */
export function WrittenBy({ row: { note, noted_by } }: { row: { note: string; noted_by: string } }) {
  if (!note || !noted_by) return null;
  return <Text span inherit c="dimmed">{` (${noted_by})`}</Text>;
}

/** A link to the experiment, by its name. */
export function ExperimentName({ id }: { id: string }) {
  const { data: list } = useQuery(experimentsQuery);
  return (
    <Anchor component={Link} to={`/board/experiments/${id}`} inherit underline="always">
      {list?.experiments.find((experiment) => experiment.id === id)?.name ?? "experiment"}
    </Anchor>
  );
}
