import { Group, Paper, Select, SimpleGrid, Skeleton, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { catalogQuery, comparisonQuery, type Selection } from "../api/queries";
import { ErrorAlert } from "./ErrorAlert";
import { ComparisonTable } from "./ComparisonTable";
import { Curves } from "./Figure";
import { useUrlParam } from "./urlState";

const ALWAYS_SHOWN = ["val_top1", "val_loss"];

type Props = { selection: Selection; groups: string[] };

/** Figures and table over the variants of the selected runs; grouping, metric and baseline are in the address. */
export function ComparisonView({ selection, groups }: Props) {
  const { data: catalog } = useQuery(catalogQuery);
  const [group, setGroup] = useUrlParam("group");
  const [metric, setMetric] = useUrlParam("metric");
  const [baseline, setBaseline] = useUrlParam("baseline");
  const by = group ?? "pooling";
  const { data: comparison, error } = useQuery(
    comparisonQuery({ ...selection, group: by, baseline: baseline ?? undefined }),
  );
  const metrics = catalog?.metrics ?? [];
  const labelOf = (name: string) => metrics.find((entry) => entry.name === name)?.label ?? name;
  const shown = metric ? [...ALWAYS_SHOWN, metric] : ALWAYS_SHOWN;

  return (
    <>
      <Group justify="space-between" mb="sm" gap="sm">
        <Title order={2}>Curves</Title>
        <Group gap="sm">
          {groups.length > 1 && (
            <Select
              size="xs"
              aria-label="Group by"
              data={groups.map((value) => ({ value, label: `by ${value}` }))}
              value={by}
              onChange={(value) => setGroup(value === "pooling" ? null : value)}
              allowDeselect={false}
            />
          )}
          <Select
            size="xs"
            aria-label="Another metric"
            placeholder="Add a metric"
            clearable
            data={metrics
              .filter(({ name }) => !ALWAYS_SHOWN.includes(name))
              .map(({ name, label }) => ({ value: name, label }))}
            value={metric}
            onChange={setMetric}
          />
        </Group>
      </Group>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
        {shown.map((name) => (
          <Paper key={name} p="xs">
            <Curves selection={selection} metric={name} group={by} label={labelOf(name)} />
          </Paper>
        ))}
      </SimpleGrid>

      <Group justify="space-between" mt="xl" mb="sm" gap="sm">
        <Title order={2}>Comparison</Title>
        {comparison && comparison.variants.length > 1 && (
          <Select
            size="xs"
            w={260}
            aria-label="Baseline"
            data={comparison.variants.map(({ variant }) => ({ value: variant, label: `baseline: ${variant}` }))}
            value={comparison.baseline}
            onChange={setBaseline}
            allowDeselect={false}
          />
        )}
      </Group>
      {error && <ErrorAlert title="No comparison" message={error.message} />}
      {comparison ? <ComparisonTable comparison={comparison} /> : !error && <Skeleton h={160} />}
    </>
  );
}
