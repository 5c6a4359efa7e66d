import { Group, NativeSelect, Paper, Switch, Text, Title, useComputedColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import type { Run } from "../../api/client";
import { classesQuery, confusionQuery, type Selection } from "../../api/queries";
import { useComparison } from "../comparison/ComparisonView";
import { AskedFigure } from "./Figure";
import { useUrlParam } from "./urlState";

const NOT_YET = "A confusion matrix comes with the next epoch that is finished.";

type Props = { selection: Selection; group: string; baseline?: string };

/** What one variant mistakes for what, alone or minus the baseline; which one and which epoch is in the address. */
export function ConfusionPanel({ selection, group }: Props) {
  const { data: comparison } = useComparison(selection);
  const [variant, setVariant] = useUrlParam("variant");
  const [minus, setMinus] = useUrlParam("minus");
  const names = comparison?.variants.map((row) => row.variant) ?? [];
  const shown = names.find((name) => name === variant) ?? names[0];
  const baseline = comparison?.baseline ?? undefined;
  const subtracts = minus !== null && shown !== baseline;
  return (
    <>
      <Group gap="sm" mb="sm">
        <VariantChoice names={names} value={shown} onChange={setVariant} />
        <EpochChoice />
        {names.length > 1 && (
          <Switch
            size="xs"
            label={`Minus ${baseline}`}
            checked={subtracts}
            disabled={shown === baseline}
            onChange={({ currentTarget: { checked } }) => setMinus(checked ? "1" : null)}
          />
        )}
      </Group>
      {shown !== undefined && (
        <Matrix selection={selection} group={group} variant={shown} baseline={subtracts ? baseline : undefined} />
      )}
    </>
  );
}

/** By how much a variant is better or worse than the baseline at each class. */
export function ClassesPanel({ selection, group, baseline }: Props) {
  const { data: comparison } = useComparison(selection);
  const [variant, setVariant] = useUrlParam("variant");
  const epoch = useEpoch();
  const theme = useComputedColorScheme("light");
  const names = (comparison?.variants ?? []).map((row) => row.variant).filter((name) => name !== comparison?.baseline);
  const shown = names.find((name) => name === variant) ?? names[0];
  return (
    <>
      <Group gap="sm" mb="sm">
        <VariantChoice names={names} value={shown} onChange={setVariant} />
        <EpochChoice />
      </Group>
      <Paper p="xs">
        <AskedFigure
          asked={useQuery(classesQuery({ ...selection, group, baseline, variant: shown, epoch, theme }))}
          label="Differences by class"
          empty="There are no classes."
        />
      </Paper>
    </>
  );
}

/** What one run mistakes for what; nothing before its first epoch. */
export function ConfusionOfRun({ run }: { run: Run }) {
  if (run.epoch === 0) return null;
  return (
    <section aria-labelledby="confusion">
      <Group justify="space-between" mt="xl" mb="sm">
        <Title order={2} id="confusion">
          Confusion matrix
        </Title>
        <EpochChoice />
      </Group>
      <Matrix selection={{ run: [run.id] }} group="pooling" />
    </section>
  );
}

type MatrixProps = Props & { variant?: string };

function Matrix({ selection, ...options }: MatrixProps) {
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

const useEpoch = () => (useUrlParam("at")[0] === "best" ? "best" : "last");

function EpochChoice() {
  const [, setEpoch] = useUrlParam("at");
  return (
    <NativeSelect
      size="xs"
      aria-label="Epoch of the matrix"
      data={[
        { value: "last", label: "last epoch" },
        { value: "best", label: "best epoch" },
      ]}
      value={useEpoch()}
      onChange={({ currentTarget: { value } }) => setEpoch(value === "best" ? value : null)}
    />
  );
}

type VariantChoiceProps = { names: string[]; value?: string; onChange: (name: string) => void };

function VariantChoice({ names, value, onChange }: VariantChoiceProps) {
  if (names.length < 2) return value ? <Text size="sm">{value}</Text> : null;
  return (
    <NativeSelect
      size="xs"
      aria-label="Variant"
      data={names}
      value={value}
      onChange={({ currentTarget }) => onChange(currentTarget.value)}
    />
  );
}
