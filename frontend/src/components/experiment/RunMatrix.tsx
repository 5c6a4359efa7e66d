import { Button, Group, Paper, Stack, Table, Text, Title } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconPlus, IconRefresh } from "@tabler/icons-react";
import { Link } from "react-router";

import { onExperiment, useAction } from "../../api/actions";
import type { Comparison, Experiment, Run } from "../../api/client";
import { isEvaluation, isMeasured, percent, plural, runProgress, withinEpoch } from "../../format";
import { ProgressBars, StateLabel, Variant } from "../shared/RunFacts";
import { ConfirmButton } from "../shared/ConfirmButton";
import { WarningsMark } from "../shared/Warnings";
import { TurnIntoPlan } from "./TurnIntoPlan";

const MORE_SEEDS = 2;
const ADD_SEEDS = `Add ${MORE_SEEDS} seeds to all`;

type Props = { experiment: Experiment; runs: Run[]; comparison: Comparison };

/** Variants, at each level of what else varies, × seeds, each tile a run; and what makes the study whole: missing runs, failed runs, further seeds. */
export function RunMatrix({ experiment, runs, comparison: { factors, levels, variants } }: Props) {
  const { id, axes, failed } = experiment;
  const named = experiment.variants.length;
  const planned = Object.values(axes).reduce((product, values) => product * values.length, Math.max(1, named));
  const missing = planned - experiment.runs;
  const plannedSeeds = (axes.seed ?? []) as number[];
  const seeds = [...new Set([...plannedSeeds, ...runs.map((run) => run.spec.seed)])].toSorted((a, b) => a - b);
  const rows = [...new Set([...factors, ...levels.flatMap(({ values }) => Object.keys(values))])].join(", ");

  const mayGrow = !experiment.plan && !runs.every(isEvaluation);
  const varying = Object.entries(axes).filter(([name, values]) => name !== "seed" && values.length > 1).length;
  const canBePlanned = varying + (named ? 1 : 0) === 1;
  const warns = experiment.completed > 0 && !experiment.exploratory;

  const addRuns = async (count: number) => {
    const grown = await onExperiment.addRuns(id, { axes: {}, seeds: count });
    notifications.show({ message: `${plural(grown.runs - experiment.runs, "run")} queued` });
  };
  const add = useAction("No runs added", addRuns);
  const retry = useAction("Not queued again", () => onExperiment.retry(id));

  return (
    <section aria-labelledby="runs">
      <Group justify="space-between" mt="xl" mb="sm" gap="sm">
        <Title order={2} id="runs">
          Runs
        </Title>
        <Group gap="xs">
          {!experiment.plan && missing > 0 && (
            <Button size="xs" variant="default" loading={add.isPending} onClick={() => add.mutate(0)}>
              Fill missing seeds ({missing})
            </Button>
          )}
          {failed > 0 && (
            <Button
              size="xs"
              variant="default"
              loading={retry.isPending}
              onClick={() => retry.mutate()}
              leftSection={<IconRefresh size={14} aria-hidden />}
            >
              Retry failed ({failed})
            </Button>
          )}
          {mayGrow && canBePlanned && <TurnIntoPlan experiment={experiment} />}
          {mayGrow && warns && (
            <ConfirmButton
              label={ADD_SEEDS}
              icon={IconPlus}
              question="Results were seen already: whoever adds seeds until a difference appears will find one. The p values will no longer hold, and the experiment is marked as exploratory from then on. Turn it into a plan instead to ask again on new seeds."
              yes="Add them, exploratory"
              no="Leave it"
              failed="No runs added"
              change={() => addRuns(MORE_SEEDS)}
            />
          )}
          {mayGrow && !warns && (
            <Button
              size="xs"
              variant="default"
              loading={add.isPending}
              onClick={() => add.mutate(MORE_SEEDS)}
              leftSection={<IconPlus size={14} aria-hidden />}
            >
              {ADD_SEEDS}
            </Button>
          )}
        </Group>
      </Group>
      {mayGrow && variants.length > 1 && (
        <Text size="sm" c="dimmed" mb="sm" maw="90ch">
          {experiment.exploratory
            ? "Seeds were added after results were seen: p values are exploratory, they no longer hold."
            : `p values hold for the ${plural(seeds.length, "seed")} that were queued, once all are completed: not for a look before, nor for seeds that are added after one.`}
        </Text>
      )}
      <Paper>
        <Table.ScrollContainer
          minWidth={180 + 125 * seeds.length}
          type="native"
          tabIndex={0}
          role="region"
          aria-label="Runs by seed"
        >
          <Table fz="sm" withRowBorders={false} className="named-rows cards">
            <Table.Caption className="visually-hidden">Runs by seed</Table.Caption>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{rows.replaceAll("_", " ")}</Table.Th>
                {seeds.map((seed) => (
                  <Table.Th key={seed}>seed {seed}</Table.Th>
                ))}
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {variants.flatMap(({ variant, color, levels: at }) =>
                at.map(({ level, runs: ids }) => (
                  <Table.Tr key={`${variant} ${level}`}>
                    <Table.Th scope="row" fw={500}>
                      <Variant name={variant} color={color} />
                      {level && (
                        <Text size="xs" c="dimmed">
                          {level}
                        </Text>
                      )}
                    </Table.Th>
                    {seeds.map((seed) => {
                      const here = runs.filter((run) => run.spec.seed === seed && ids.includes(run.id));
                      return (
                        <Table.Td key={seed} data-label={`seed ${seed}`}>
                          <Stack gap={4}>
                            {here.length > 0 ? here.map((run) => <Tile key={run.id} run={run} />) : <Gap />}
                          </Stack>
                        </Table.Td>
                      );
                    })}
                  </Table.Tr>
                )),
              )}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      </Paper>
    </section>
  );
}

function Tile({ run }: { run: Run }) {
  const best = isMeasured(run) ? `best ${percent(run.best_top1)}` : "no epoch yet";
  const done = isEvaluation(run) ? "evaluation" : `${run.epoch}/${run.spec.epochs}`;
  return (
    <Link
      to={`/board/runs/${run.id}`}
      className="tile"
      data-state={run.cancelling ? "cancelling" : run.state}
      title={run.error ?? undefined}
    >
      <StateLabel run={run} />
      <WarningsMark run={run} />
      {run.state !== "completed" && run.state !== "queued" && (
        <ProgressBars
          value={runProgress(run)}
          within={run.state === "running" ? withinEpoch(run) : undefined}
          label={`Progress of run ${run.id}`}
        />
      )}
      <Text size="xs" c="dimmed">
        {run.state === "completed" ? best : `${done} · ${best}`}
      </Text>
    </Link>
  );
}

function Gap() {
  return (
    <Text size="xs" c="dimmed" className="gap">
      missing
    </Text>
  );
}
