import { Anchor, Button, Grid, Group, Paper, SimpleGrid, Skeleton, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { Link, useParams } from "react-router";

import type { Run } from "../api/client";
import { catalogQuery, experimentQuery, logQuery, runQuery } from "../api/queries";
import { defaultOf, formPath, specFields } from "../api/spec";
import { ErrorAlert } from "../components/ErrorAlert";
import { CancelButton } from "../components/CancelButton";
import { Curves } from "../components/Figure";
import { MixesBatchBadge, Pooling, RunProgress, StateLabel } from "../components/RunFacts";
import { duration, integer, moment, percent } from "../format";

const METRICS = ["val_top1", "val_loss", "train_top1", "train_loss"];

export function RunPage() {
  const { id } = useParams() as { id: string };
  const { data: run, error } = useQuery(runQuery(id));
  if (run) return <RunView key={id} run={run} />;
  if (error) return <ErrorAlert title="No such run here" message={error.message} />;
  return <Skeleton h={320} />;
}

function RunView({ run }: { run: Run }) {
  const { data: catalog } = useQuery(catalogQuery);
  const { model, pooling, seed, dataset } = run.spec;
  const labelOf = (name: string) => catalog?.metrics.find((entry) => entry.name === name)?.label ?? name;
  return (
    <>
      <title>{`${pooling}, seed ${seed} · CCT Board`}</title>
      <div className="page-head">
        <div>
          <Title order={1}>
            <Group component="span" gap="xs">
              <Pooling name={pooling} />
              <Text span inherit c="dimmed" fw={400}>
                seed {seed}
              </Text>
              <MixesBatchBadge mixes={run.mixes_batch} />
            </Group>
          </Title>
          <Text size="sm" c="dimmed">
            {model} on {dataset} · run {run.id}
            {run.experiment_id && <ExperimentLink id={run.experiment_id} />}
          </Text>
        </div>
        <Group gap="xs">
          <Button component={Link} to={formPath(run.spec)} variant="default" size="xs">
            Clone with changes
          </Button>
          {(run.state === "queued" || run.state === "running") && !run.cancelling && (
            <CancelButton what="run" id={run.id} />
          )}
        </Group>
      </div>

      {run.error && (
        <ErrorAlert title="This run failed" message={run.error} />
      )}

      <Paper p="sm" mb="md">
        <SimpleGrid cols={{ base: 2, xs: 3, md: 6 }} component="dl" m={0} verticalSpacing="sm">
          <Fact name="State">
            <StateLabel run={run} />
          </Fact>
          <Fact name="Epochs">
            <RunProgress run={run} />
          </Fact>
          <Fact name="ETA">{duration(run.eta_seconds)}</Fact>
          <Fact name="Best top-1">{percent(run.best_top1)}</Fact>
          <Fact name="Final top-1">{percent(run.final_top1)}</Fact>
          <Fact name="Training time">{duration(run.seconds || null)}</Fact>
          <Fact name="Device">{run.device ?? "–"}</Fact>
          <Fact name="Parameters">{run.parameters == null ? "–" : integer(run.parameters)}</Fact>
          <Fact name="Images/s">{run.images_per_second == null ? "–" : integer(Math.round(run.images_per_second))}</Fact>
          <Fact name="Attempt">{run.attempt || "–"}</Fact>
          <Fact name="Started">{run.started_at ? moment(run.started_at) : "–"}</Fact>
          <Fact name="Finished">{run.finished_at ? moment(run.finished_at) : "–"}</Fact>
        </SimpleGrid>
      </Paper>

      <Title order={2} mb="sm">
        Curves
      </Title>
      {run.epoch === 0 ? (
        <Paper p="lg">
          <Text size="sm" c="dimmed" ta="center">
            {run.finished_at ? "No epoch was finished." : "Curves appear when the first epoch is finished."}
          </Text>
        </Paper>
      ) : (
        <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
          {METRICS.map((name) => (
            <Paper key={name} p="xs">
              <Curves selection={{ run: [run.id] }} metric={name} group="pooling" label={labelOf(name)} />
            </Paper>
          ))}
        </SimpleGrid>
      )}

      <Grid gap="md" mt="xl">
        <Grid.Col span={{ base: 12, md: 5 }}>
          <Title order={2} mb="sm">
            Spec
          </Title>
          <SpecTable run={run} />
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 7 }}>
          <Title order={2} mb="sm">
            Log
          </Title>
          <Log id={run.id} />
        </Grid.Col>
      </Grid>
    </>
  );
}

function ExperimentLink({ id }: { id: string }) {
  const { data: experiment } = useQuery(experimentQuery(id));
  return (
    <>
      {" · "}
      <Anchor component={Link} to={`/board/experiments/${id}`} inherit underline="always">
        {experiment?.name ?? "experiment"}
      </Anchor>
    </>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <Text component="dt" size="xs" c="dimmed">
        {name}
      </Text>
      <Text component="dd" size="sm" fw={500} m={0} style={{ overflowWrap: "anywhere" }}>
        {children}
      </Text>
    </div>
  );
}

function SpecTable({ run }: { run: Run }) {
  const { data: catalog } = useQuery(catalogQuery);
  if (!catalog) return <Skeleton h={300} />;
  const spec: Record<string, string | number> = run.spec;
  return (
    <Paper>
      <Table fz="sm">
        <Table.Caption className="visually-hidden">Spec</Table.Caption>
        <Table.Tbody>
          {specFields(catalog).map((field) => {
            const usual = defaultOf(field, catalog, run.spec);
            const differs = spec[field.name] !== usual;
            return (
              <Table.Tr key={field.name} className={differs ? "differs" : undefined}>
                <Table.Th scope="row" fw={400} title={field.description}>
                  {field.name}
                </Table.Th>
                <Table.Td fw={differs ? 600 : 400}>
                  {spec[field.name]}
                  {differs && (
                    <Text span inherit fw={400} c="dimmed">
                      {" "}
                      (default: {usual})
                    </Text>
                  )}
                </Table.Td>
              </Table.Tr>
            );
          })}
        </Table.Tbody>
      </Table>
    </Paper>
  );
}

/** What the trainer printed; stays at the end while the reader is there. */
function Log({ id }: { id: string }) {
  const { data: log, error } = useQuery(logQuery(id));
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);

  useEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  });

  if (error) return <ErrorAlert title="No log" message={error.message} />;
  return (
    <Paper p="sm">
      <div
        ref={box}
        className="log"
        role="log"
        aria-label="Log"
        aria-live="off"
        tabIndex={0}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          atEnd.current = scrollHeight - scrollTop - clientHeight < 24;
        }}
      >
        {log?.lines.length === 0 && <Text c="dimmed">Nothing was printed yet.</Text>}
        {log?.lines.map((line, index) => (
          <div key={index}>
            <time dateTime={line.at}>{new Date(line.at).toLocaleTimeString([], { hourCycle: "h23" })}</time> {line.text}
          </div>
        ))}
      </div>
    </Paper>
  );
}
