import { Group, NativeSelect, Paper, Switch, Text, useComputedColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { classesQuery, type Selection } from "../../api/queries";
import { ConfusionMatrix, EpochChoice, useEpoch } from "../shared/ConfusionMatrix";
import { AskedFigure } from "../shared/Figure";
import { useUrlParam } from "../shared/urlState";
import { useComparison } from "./useComparison";

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
        <ConfusionMatrix
          selection={selection}
          group={group}
          variant={shown}
          baseline={subtracts ? baseline : undefined}
        />
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
