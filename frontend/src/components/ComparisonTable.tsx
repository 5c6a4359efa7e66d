import { Code, Group, Paper, Table, Text, Tooltip } from "@mantine/core";

import type { Comparison, Stat } from "../api/client";
import { meanAndSd } from "../format";
import { MixesBatchBadge, Variant } from "./RunFacts";

/** Mean and SD over seeds per variant, and the results that others published for the same model, data and epochs. */
export function ComparisonTable({ comparison: { group, baseline, variants, references } }: { comparison: Comparison }) {
  return (
    <Paper>
      <Table.ScrollContainer minWidth={640} type="native">
        <Table fz="sm">
          <Table.Caption className="visually-hidden">Comparison</Table.Caption>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{group}</Table.Th>
              <Table.Th className="right">Seeds</Table.Th>
              <Table.Th className="right">Best top-1 (%)</Table.Th>
              <Table.Th className="right">Final top-1 (%)</Table.Th>
              <Table.Th className="right">Minutes</Table.Th>
              <Table.Th className="right">
                <Tooltip label="Final top-1 minus the baseline's, paired by seed, over seeds that both have completed">
                  <span>Difference (points)</span>
                </Tooltip>
              </Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {variants.map((row) => (
              <Table.Tr key={row.variant}>
                <Table.Th scope="row" fw={500}>
                  <Group gap="2px 8px">
                    <Variant name={row.variant} color={row.color} />
                    <MixesBatchBadge mixes={row.mixes_batch} />
                  </Group>
                  {row.formula && (
                    <Code fz="xs" bg="transparent" c="dimmed" pl="1rem" className="not-on-phones">
                      {row.formula}
                    </Code>
                  )}
                </Table.Th>
                <Table.Td className="right nowrap">
                  {row.seeds}
                  <Text span inherit c="dimmed" title={`${row.finished} of ${row.runs} runs are completed`}>
                    {row.finished < row.runs && ` (${row.finished}/${row.runs} done)`}
                  </Text>
                </Table.Td>
                <StatCell stat={row.best} />
                <StatCell stat={row.final} />
                <StatCell stat={row.minutes} digits={1} />
                {row.variant === baseline ? (
                  <Table.Td className="right">
                    <Text span inherit c="dimmed">
                      baseline
                    </Text>
                  </Table.Td>
                ) : (
                  <StatCell stat={row.difference} signed />
                )}
              </Table.Tr>
            ))}
            {references.map((result) => (
              <Table.Tr key={`${result.label} ${result.model} ${result.dataset} ${result.epochs} ${result.pooling}`}>
                <Table.Th scope="row" fw={400} colSpan={3}>
                  {result.label}: {result.pooling}
                  <Text size="xs" c="dimmed" className="not-on-phones">
                    {result.model} on {result.dataset}, {result.epochs} epochs. {result.source}
                  </Text>
                </Table.Th>
                <Table.Td className="right">{result.top1.toFixed(2)}</Table.Td>
                <Table.Td colSpan={2} />
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Paper>
  );
}

function StatCell({ stat, digits, signed }: { stat: Stat | null; digits?: number; signed?: boolean }) {
  const title = stat ? `n = ${stat.n}${stat.sd == null ? "" : "; mean ± sample standard deviation"}` : undefined;
  return (
    <Table.Td className="right nowrap" title={title}>
      {meanAndSd(stat, digits, signed)}
    </Table.Td>
  );
}
