import { Group, Paper, SimpleGrid, Text, Title, useComputedColorScheme } from "@mantine/core";
import {
  IconArrowDownRight,
  IconArrowUpRight,
  IconBan,
  IconCircleDashed,
  IconEqual,
  IconHourglassEmpty,
} from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";

import type { Comparison, Experiment, Planning } from "../../api/client";
import { planFigureQuery } from "../../api/queries";
import { duration, moment, plural } from "../../format";
import { AskedFigure } from "../shared/Figure";
import { Variant } from "../shared/RunFacts";
import { PlanActions } from "./PlanActions";

type Planned = Experiment & { plan: NonNullable<Experiment["plan"]>; planning: Planning };

export const hasPlan = (experiment: Experiment): experiment is Planned =>
  experiment.plan != null && experiment.planning != null;

const ICONS = {
  baseline: IconEqual,
  better: IconArrowUpRight,
  worse: IconArrowDownRight,
  alike: IconEqual,
  open: IconCircleDashed,
  undecided: IconHourglassEmpty,
  void: IconBan,
};

type Props = { experiment: Planned; variants: Comparison["variants"] };

/** What was declared before the first run, how far it is, and for each variant how far it is from being settled. */
export function PlanPanel({ experiment, variants }: Props) {
  const { plan, planning } = experiment;
  const others = Object.entries(planning.variants).filter(([, { outcome }]) => outcome !== "baseline");
  const colors = Object.fromEntries(variants.map(({ variant, color }) => [variant, color]));
  return (
    <Paper p="md" mt="md" component="section" aria-labelledby="plan">
      <Group justify="space-between" gap="sm" mb={6}>
        <Title order={2} id="plan">
          Plan
        </Title>
        <PlanActions experiment={experiment} />
      </Group>
      <Text size="sm" maw="90ch">
        Declared {moment(experiment.planned_at!)}, before the first run, and frozen: {plan.measure} against{" "}
        {plan.baseline}; alike within ±{plan.smallest_difference} points, error rate {percentOf(plan.alpha)}, first look
        at seed {plan.first_look}, at most {experiment.max_seeds} seeds
        {experiment.max_seeds !== plan.max_seeds && ` (declared: ${plan.max_seeds})`}.
      </Text>
      <Text size="sm" mt={4} fw={600}>
        {progress(experiment)}
      </Text>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md" mt="sm">
        {others.map(([name, one]) => (
          <Paper key={name} p="sm" component="article" aria-label={name} data-outcome={one.outcome}>
            <Group justify="space-between" gap="xs">
              <Variant name={name} color={colors[name]} />
              <Outcome outcome={one.outcome} />
            </Group>
            <Text size="xs" c="dimmed">
              {`${one.seeds} of ${experiment.max_seeds} seeds, ${plural(one.runs, "run")}, ${duration(one.seconds)} of training`}
              {one.settled_at && `, known ${moment(one.settled_at)}`}
            </Text>
            {one.seeds < plan.first_look ? (
              <Text size="sm" mt="xs">
                The first look is at seed {plan.first_look}.
              </Text>
            ) : (
              <Course experiment={experiment} variant={name} />
            )}
          </Paper>
        ))}
      </SimpleGrid>
      <Text size="xs" c="dimmed" mt="xs" maw="90ch">
        Line: mean difference to {plan.baseline} after each look. Beyond the outer lines a variant is better or worse,
        inside the shaded band alike; dotted: where these will be if the spread stays as it is.
      </Text>
    </Paper>
  );
}

function Outcome({ outcome }: { outcome: keyof typeof ICONS }) {
  const Icon = ICONS[outcome];
  return (
    <span className="state outcome">
      <Icon size={16} aria-hidden />
      {outcome === "void" ? "guarantee void" : outcome}
    </span>
  );
}

function Course({ experiment: { id }, variant }: { experiment: Planned; variant: string }) {
  const theme = useComputedColorScheme("light");
  return (
    <AskedFigure
      asked={useQuery(planFigureQuery({ experiment: id, variant, theme }))}
      label={`Difference of ${variant} over seeds`}
      empty="Nothing can be drawn yet."
    />
  );
}

const percentOf = (share: number) => `${Number((100 * share).toPrecision(3))}\u00a0%`;

/** How far the plan is, and what it saved against training all seeds of all variants. */
export function progress({ plan_state, planning, max_seeds, runs }: Planned): string {
  const variants = Object.values(planning.variants);
  const settled = variants.filter(({ settled_at }) => settled_at).length;
  const saved = `${runs} of at most ${variants.length * max_seeds!} runs`;
  switch (plan_state) {
    case "ended":
      return `Ended ${moment(planning.ended_at!)} after ${plural(runs, "run")}, ${planning.saved_runs} fewer than all ${max_seeds} seeds of all variants.`;
    case "cancelled":
      return `Stopped: ${settled} of ${variants.length - 1} variants settled, ${saved}.`;
    default:
      return `Open: ${settled} of ${variants.length - 1} variants settled, ${saved} so far.`;
  }
}
