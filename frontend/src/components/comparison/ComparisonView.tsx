import { Group, NativeSelect, Title } from "@mantine/core";

import type { Selection } from "../../api/queries";
import { Answer } from "./Answer";
import { CodeOfVariants } from "./CodeOfVariants";
import { ComparisonTable } from "./ComparisonTable";
import { ErrorAlert } from "../shared/ErrorAlert";
import { Pending } from "../shared/Pending";
import { Figures } from "./Figures";
import { LensView } from "./LensView";
import { TakeAway } from "./TakeAway";
import { useComparison, type Measure } from "./useComparison";
import { useUrlParam } from "../shared/urlState";
import "./comparison.css";

const MEASURES: Record<Measure, string> = {
  "final val_top1": "by final top-1",
  "best val_top1": "by best top-1",
  "mean val_top1 of the last 3 epochs": "by mean top-1 of the last 3 epochs",
  "final test_top1": "by test top-1",
  "final val_balanced": "by balanced accuracy",
  "final val_nll": "by likelihood",
  "final val_ece": "by calibration",
};

type Props = {
  selection: Selection;
  groups: string[];
  title: string;
  /** In the head of the answer: what it may not be taken for. */
  mark?: React.ReactNode;
  /** Below the answer. */
  plan?: React.ReactNode;
  children?: React.ReactNode;
};

/** The answer over the variants of the selected runs, its numbers, its figures; `children` stand before the figures. */
export function ComparisonView({ selection, groups, title, mark, plan, children }: Props) {
  const [, setGroup] = useUrlParam("group", "baseline");
  const [baseline, setBaseline] = useUrlParam("baseline");
  const [measure, setMeasure] = useUrlParam("measure");
  const { data: comparison, error } = useComparison(selection);

  if (!comparison) return <Pending what="comparison" error={error} h={320} />;
  const { group, levels } = comparison;
  // Results from elsewhere stand beside; nothing is held against them.
  const ours = comparison.variants.filter(
    ({ variant, outcome }) => variant === comparison.baseline || outcome !== null,
  );
  const hasTest = comparison.variants.some(({ test }) => test !== null);
  const varying = [...new Set(levels.flatMap(({ values }) => Object.keys(values)))];
  const choices = [...new Set([...groups, group, ...varying.map((field) => `${group},${field}`)])];
  return (
    <>
      {error && <ErrorAlert title="The comparison may be out of date" message={error.message} />}
      <Answer comparison={comparison} mark={mark} />
      {plan}
      <Group justify="space-between" mt="xl" mb="sm" gap="sm">
        <Title order={2}>Comparison</Title>
        <Group gap="sm">
          {choices.length > 1 && (
            <NativeSelect
              size="xs"
              aria-label="Group by"
              data={choices.map((value) => ({ value, label: `by ${value.replaceAll(",", " and ")}` }))}
              value={comparison.group}
              onChange={({ currentTarget: { value } }) => setGroup(value)}
            />
          )}
          {ours.length > 1 && (
            <NativeSelect
              size="xs"
              aria-label="Baseline"
              data={ours.map(({ variant }) => ({ value: variant, label: `baseline: ${variant}` }))}
              value={comparison.baseline ?? undefined}
              onChange={({ currentTarget: { value } }) => setBaseline(value)}
            />
          )}
          <NativeSelect
            size="xs"
            aria-label="Compare by"
            data={Object.entries(MEASURES)
              .filter(([measure]) => measure === comparison.measure || hasTest || !measure.includes("test"))
              .map(([value, label]) => ({ value, label }))}
            value={comparison.measure}
            onChange={({ currentTarget: { value } }) => setMeasure(value)}
          />
          <TakeAway comparison={comparison} selection={selection} title={title} />
        </Group>
      </Group>
      <ComparisonTable comparison={comparison} />
      <CodeOfVariants comparison={comparison} />
      {children}
      <Figures
        selection={selection}
        group={comparison.group}
        baseline={baseline ?? undefined}
        levels={levels.map(({ level }, position) => ({
          level,
          runs: comparison.variants.flatMap((row) => row.levels[position]?.runs ?? []),
        }))}
        measure={(measure as Measure | null) ?? undefined}
        varied={comparison.factors.length + varying.length}
      />
      <LensView selection={selection} comparison={comparison} />
    </>
  );
}
