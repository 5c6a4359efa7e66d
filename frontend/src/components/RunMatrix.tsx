import { Paper, Stack, Table, Text } from "@mantine/core";
import { Link } from "react-router";

import type { Comparison, Run } from "../api/client";
import { percent, runProgress, withinEpoch } from "../format";
import { ProgressBars, StateLabel, Variant } from "./RunFacts";

type Props = { runs: Run[]; group: string; variants: Comparison["variants"] };

/** Variants × seeds; each tile is a run. */
export function RunMatrix({ runs, group, variants }: Props) {
  const seeds = [...new Set(runs.map((run) => run.spec.seed))].toSorted((a, b) => a - b);
  const valueOf = (run: Run) => String(run.spec[group as keyof Run["spec"]]);
  return (
    <Paper>
      <Table.ScrollContainer minWidth={180 + 125 * seeds.length} type="native">
        <Table fz="sm" withRowBorders={false}>
          <Table.Caption className="visually-hidden">Runs by seed</Table.Caption>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{group}</Table.Th>
              {seeds.map((seed) => (
                <Table.Th key={seed}>seed {seed}</Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {variants.map(({ variant, color }) => (
              <Table.Tr key={variant}>
                <Table.Th scope="row" fw={500}>
                  <Variant name={variant} color={color} />
                </Table.Th>
                {seeds.map((seed) => (
                  <Table.Td key={seed}>
                    <Stack gap={4}>
                      {runs
                        .filter((run) => run.spec.seed === seed && valueOf(run) === variant)
                        .map((run) => (
                          <Tile key={run.id} run={run} />
                        ))}
                    </Stack>
                  </Table.Td>
                ))}
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Paper>
  );
}

function Tile({ run }: { run: Run }) {
  return (
    <Link
      to={`/board/runs/${run.id}`}
      className="tile"
      data-state={run.cancelling ? "cancelling" : run.state}
      title={run.error ?? undefined}
    >
      <StateLabel run={run} />
      {run.state === "running" ? (
        <>
          <ProgressBars value={runProgress(run)} within={withinEpoch(run)} label="Progress" />
          <Text size="xs" c="dimmed">
            {run.epoch}/{run.spec.epochs} · {percent(run.best_top1)}
          </Text>
        </>
      ) : (
        <Text size="xs" c="dimmed">
          {run.epoch === 0 ? "no epoch yet" : `best ${percent(run.best_top1)}`}
        </Text>
      )}
    </Link>
  );
}
