import { Anchor, Code, EmptyState, Paper, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import type { Worker } from "../api/client";
import { runQuery, workersQuery } from "../api/queries";
import { Pending } from "../components/shared/Pending";
import { bytes, duration, moment, percent } from "../format";

const READ_EVERY_MS = 3_000;

export function WorkersPage() {
  // Events tell who works on what; load and heartbeats change all the time.
  const { data, failureReason } = useQuery({ ...workersQuery, refetchInterval: READ_EVERY_MS });
  return (
    <>
      <title>Workers · CCT Board</title>
      <Title order={1} mb="md">
        Workers
      </Title>
      {!data ? (
        <Pending what="list of workers" error={failureReason} h={160} />
      ) : data.workers.length === 0 ? (
        <NoWorkers />
      ) : (
        <WorkersTable {...data} />
      )}
    </>
  );
}

function NoWorkers() {
  return (
    <Paper py={48} px="md">
      <EmptyState
        title="No worker is connected"
        description="A worker trains runs on the GPU, or without one on the CPU. Start one next to the board:"
      >
        <Code block className="command">
          cctboard worker
        </Code>
        <Text size="sm" c="dimmed" mt="sm">
          On another machine it needs the board’s database, and the data folder that all workers share:
        </Text>
        <Code block className="command" mt="xs">
          {`CCTBOARD_REDIS_URL=redis://${location.hostname}:6379/0 CCTBOARD_DATA=/shared/data cctboard worker`}
        </Code>
      </EmptyState>
    </Paper>
  );
}

function WorkersTable({ workers }: { workers: readonly Worker[] }) {
  return (
    <Paper>
      <Table.ScrollContainer minWidth={820} type="native" tabIndex={0} role="region" aria-label="Workers">
        <Table className="cards" fz="sm">
          <Table.Caption className="visually-hidden">Workers</Table.Caption>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Worker</Table.Th>
              <Table.Th>Device</Table.Th>
              <Table.Th className="right">Slot</Table.Th>
              <Table.Th>Run</Table.Th>
              <Table.Th className="right">GPU</Table.Th>
              <Table.Th className="right">GPU memory</Table.Th>
              <Table.Th className="right">CPU</Table.Th>
              <Table.Th className="right">Memory</Table.Th>
              <Table.Th className="right">Last heartbeat</Table.Th>
              <Table.Th>Version</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {workers.map((worker) => (
              <Table.Tr key={worker.name}>
                <Table.Th scope="row" fw={500}>
                  <span className="name">{worker.name}</span>
                </Table.Th>
                <Table.Td data-label="Device">
                  <span className="name">{worker.device}</span>
                </Table.Td>
                <Table.Td className="right nowrap" data-label="Slot">
                  {worker.slot} of {worker.slots}
                </Table.Td>
                <Table.Td data-label="Run">{worker.run_id ? <RunName id={worker.run_id} /> : "idle"}</Table.Td>
                <Table.Td className="right nowrap" data-label="GPU">
                  {percent(worker.gpu_percent, 0)}
                </Table.Td>
                <Table.Td className="right nowrap" data-label="GPU memory">
                  {bytes(worker.gpu_memory_bytes)}
                </Table.Td>
                <Table.Td className="right nowrap" data-label="CPU">
                  {percent(worker.cpu_percent, 0)}
                </Table.Td>
                <Table.Td className="right nowrap" data-label="Memory">
                  {bytes(worker.memory_bytes)}
                </Table.Td>
                <Table.Td className="right nowrap" data-label="Last heartbeat" title={moment(worker.last_seen)}>
                  {duration(Math.max(0, (Date.now() - Date.parse(worker.last_seen)) / 1000))} ago
                </Table.Td>
                <Table.Td data-label="Version">{worker.version}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Paper>
  );
}

function RunName({ id }: { id: string }) {
  const { data: run } = useQuery(runQuery(id));
  return (
    <Anchor component={Link} to={`/board/runs/${id}`} inherit underline="always">
      {run ? `${run.spec.pooling}, seed ${run.spec.seed}` : id}
    </Anchor>
  );
}
