import { Anchor, Button, Grid, Group, Paper, SimpleGrid, Text, Title } from "@mantine/core";
import { IconCopy, IconRefresh } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "react-router";

import { onRun, useAction } from "../api/actions";
import { isGone, type Run } from "../api/client";
import { catalogQuery, runQuery } from "../api/queries";
import { formPath } from "../api/spec";
import { DeleteButton } from "../components/shared/DeleteButton";
import { CancelButton } from "../components/shared/CancelButton";
import { CodeOfPooling } from "../components/pooling/Code";
import { ConfusionOfRun } from "../components/run/ConfusionOfRun";
import { ErrorAlert } from "../components/shared/ErrorAlert";
import { Pending } from "../components/shared/Pending";
import { ExperimentName } from "../components/shared/ExperimentFacts";
import { Curves } from "../components/shared/Figure";
import { Folded } from "../components/shared/Folded";
import { PriorityButton } from "../components/shared/PriorityButton";
import { QueuePlace } from "../components/shared/QueuePlace";
import { Archived, MixesBatchBadge, Pooling, RunProgress, StateLabel } from "../components/shared/RunFacts";
import { ExtendButton } from "../components/run/ExtendButton";
import { ExternalNote } from "../components/run/ExternalNote";
import { Evaluation } from "../components/run/Evaluation";
import { RunFiles } from "../components/run/RunFiles";
import { RunHistory } from "../components/run/RunHistory";
import { RunLog } from "../components/run/RunLog";
import { SystemOfRun } from "../components/run/SystemOfRun";
import { RunNotes } from "../components/run/RunNotes";
import { ProvenanceTable, SpecTable } from "../components/run/RunTables";
import { Warnings } from "../components/shared/Warnings";
import { duration, integer, isEvaluation, isMeasured, moment, percent, validatedOn } from "../format";

const METRICS = ["val_top1", "val_loss", "train_top1", "train_loss"];

export function RunPage() {
  const { id } = useParams() as { id: string };
  const { data: run, error } = useQuery(runQuery(id));
  if (run && !isGone(error)) return <RunView key={id} run={run} />;
  return <Pending what="run" error={error} h={320} />;
}

function RunView({ run }: { run: Run }) {
  const { data: catalog } = useQuery(catalogQuery);
  const { model, pooling, seed, dataset, image_folder: folder } = run.spec;
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
            {model} on {folder ? `${dataset}/${folder}` : dataset} · run {run.id}
            {run.experiment_id && (
              <span className="of-experiment">
                <ExperimentName id={run.experiment_id} />
              </span>
            )}
            {run.extends && (
              <>
                {" · goes on after epoch "}
                {run.extends_epoch} of{" "}
                <Anchor component={Link} to={`/board/runs/${run.extends}`} inherit underline="always">
                  run {run.extends}
                </Anchor>
              </>
            )}
          </Text>
        </div>
        <RunActions run={run} />
      </div>

      {run.error && <ErrorAlert title="This run failed" message={run.error} />}
      <ExternalNote run={run} />
      <Warnings texts={run.warnings.map(({ text }) => text)} />

      <Paper p="sm" mb="md">
        <SimpleGrid cols={{ base: 2, xs: 3, md: 6 }} component="dl" m={0} verticalSpacing="sm">
          <Fact name="State">
            <StateLabel run={run} />
            {run.archived && <Archived />}
          </Fact>
          <Fact name="Epochs">
            <RunProgress run={run} />
          </Fact>
          {run.state === "queued" ? (
            <Fact name="Place in the queue">
              <QueuePlace id={run.id} />
            </Fact>
          ) : (
            <Fact name="ETA">{duration(run.eta_seconds)}</Fact>
          )}
          <Fact name="Best top-1">
            {percent(run.best_top1)}
            {!run.spec.val_share && run.best_top1 != null && <Text size="xs">optimistic: chosen on the test set</Text>}
          </Fact>
          <Fact name="Final top-1">
            {percent(run.final_top1)}
            <Text size="xs">{validatedOn(run)}</Text>
          </Fact>
          <Fact name="Test top-1">
            {percent(run.test_top1)}
            <Text size="xs">
              {run.test_top1 == null
                ? run.spec.val_share
                  ? "read once, when the run has ended"
                  : "no training data held out"
                : `${percent(run.test_top1_at_best)} at the best held-out epoch`}
            </Text>
          </Fact>
          <Fact name="Balanced accuracy">{percent(run.final_balanced)}</Fact>
          <Fact name="Most frequent class">{percent(run.majority_share, 1)}</Fact>
          <Fact name="In training set, too">{run.duplicates == null ? "–" : integer(run.duplicates)}</Fact>
          <Fact name="Training time">{duration(run.seconds || null)}</Fact>
          {run.kilowatt_hours != null && <Fact name="Energy of the GPU">{run.kilowatt_hours.toPrecision(3)} kWh</Fact>}
          <Fact name="Device">{run.device ?? "–"}</Fact>
          <Fact name="Parameters">{run.parameters == null ? "–" : integer(run.parameters)}</Fact>
          <Fact name="Images/s">
            {run.images_per_second == null ? "–" : integer(Math.round(run.images_per_second))}
          </Fact>
          <Fact name="Attempt">{run.attempt || "–"}</Fact>
          <Fact name="Priority">{run.priority}</Fact>
          {run.author && <Fact name="Queued by">{run.author}</Fact>}
          <Fact name="Started">{run.started_at ? moment(run.started_at) : "–"}</Fact>
          <Fact name="Finished">{run.finished_at ? moment(run.finished_at) : "–"}</Fact>
        </SimpleGrid>
      </Paper>

      <RunNotes run={run} />

      <Title order={2} mt="xl" mb="sm">
        {isEvaluation(run) ? "Evaluation" : "Curves"}
      </Title>
      {!isMeasured(run) ? (
        <Paper p="lg">
          <Text size="sm" c="dimmed" ta="center">
            {run.finished_at ? "Nothing was measured." : `${isEvaluation(run) ? "Results" : "Curves"} appear here.`}
          </Text>
        </Paper>
      ) : isEvaluation(run) ? (
        <Evaluation id={run.id} />
      ) : (
        <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
          {METRICS.map((name) => (
            <Paper key={name} p="xs">
              <Curves query={{ run: [run.id], metric: name, group: "pooling" }} label={labelOf(name)} />
            </Paper>
          ))}
        </SimpleGrid>
      )}

      <ConfusionOfRun run={run} />

      <Title order={2} mt="xl" mb="sm">
        Log
      </Title>
      <RunLog run={run} />

      <Folded summary="Load and memory over time">
        <SystemOfRun id={run.id} />
      </Folded>

      <Folded summary="Code of the pooling">
        <CodeOfPooling name={pooling} />
      </Folded>

      <Grid gap="md" mt="xl">
        <Grid.Col span={{ base: 12, md: 6 }}>
          <Title order={2} mb="sm">
            Spec
          </Title>
          <SpecTable run={run} />
          <Title order={2} mt="xl" mb="sm">
            Files
          </Title>
          <RunFiles run={run} />
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 6 }}>
          <Title order={2} mb="sm">
            Time line
          </Title>
          <RunHistory id={run.id} />
          <Title order={2} mt="xl" mb="sm">
            Provenance
          </Title>
          <ProvenanceTable run={run} />
        </Grid.Col>
      </Grid>
    </>
  );
}

function RunActions({ run }: { run: Run }) {
  const navigate = useNavigate();
  const retry = useAction("Not retried", () => onRun.retry(run.id));
  const unfinished = run.state === "queued" || run.state === "running";
  return (
    <Group gap="xs">
      <Button
        component={Link}
        to={formPath(run.spec)}
        variant="default"
        size="xs"
        leftSection={<IconCopy size={14} aria-hidden />}
      >
        Clone with changes
      </Button>
      {run.state === "queued" && (
        <PriorityButton label="Priority" now={run.priority} change={(priority) => onRun.edit(run.id, { priority })} />
      )}
      {run.state === "completed" && !isEvaluation(run) && !run.external && <ExtendButton run={run} />}
      {(run.state === "failed" || run.state === "cancelled") && (
        <Button
          variant="default"
          size="xs"
          leftSection={<IconRefresh size={14} aria-hidden />}
          loading={retry.isPending}
          onClick={() => retry.mutate()}
        >
          Retry
        </Button>
      )}
      {unfinished && !run.cancelling && <CancelButton what="run" id={run.id} />}
      {run.state !== "running" && <DeleteButton ids={[run.id]} done={() => void navigate("/")} />}
    </Group>
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
