import { Button, Group, Paper, Skeleton, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";

import type { Experiment } from "../api/client";
import { comparisonQuery, experimentQuery, runsQuery } from "../api/queries";
import { formPath } from "../api/spec";
import { ErrorAlert } from "../components/ErrorAlert";
import { CancelButton } from "../components/CancelButton";
import { ComparisonView } from "../components/ComparisonView";
import { ExperimentProgress } from "../components/ExperimentList";
import { RunMatrix } from "../components/RunMatrix";
import { useUrlParam } from "../components/urlState";
import { moment } from "../format";

export function ExperimentPage() {
  const { id } = useParams() as { id: string };
  const { data: experiment, error } = useQuery(experimentQuery(id));
  if (experiment) return <ExperimentView key={id} experiment={experiment} />;
  if (error) return <ErrorAlert title="No such experiment here" message={error.message} />;
  return <Skeleton h={320} />;
}

function ExperimentView({ experiment }: { experiment: Experiment }) {
  const { id, name, axes, spec } = experiment;
  const selection = { experiment: id };
  const groups = [...new Set(["pooling", ...Object.keys(axes)])].filter((field) => field !== "seed");
  return (
    <>
      <title>{`${name} · CCT Board`}</title>
      <div className="page-head">
        <div>
          <Title order={1}>{name}</Title>
          <Text size="sm" c="dimmed">
            queued {moment(experiment.created_at)}
            {Object.entries(spec).map(([field, value]) => ` · ${field} ${String(value)}`)}
          </Text>
        </div>
        <Group gap="xs">
          <Button component={Link} to={formPath(spec, axes, name)} variant="default" size="xs">
            Clone with changes
          </Button>
          {experiment.queued + experiment.running > 0 && <CancelButton what="experiment" id={id} />}
        </Group>
      </div>
      <Paper px="sm" py="xs" mb="lg">
        <ExperimentProgress experiment={experiment} />
      </Paper>
      <ComparisonView selection={selection} groups={groups} />
      <Runs id={id} />
    </>
  );
}

function Runs({ id }: { id: string }) {
  const group = useUrlParam("group")[0] ?? "pooling";
  const { data: list } = useQuery(runsQuery({ experiment: id, limit: 1000 }));
  const { data: comparison } = useQuery(comparisonQuery({ experiment: id, group }));
  return (
    <>
      <Title order={2} mt="xl" mb="sm">
        Runs
      </Title>
      {list && comparison ? (
        <RunMatrix runs={list.runs} group={comparison.group} variants={comparison.variants} />
      ) : (
        <Skeleton h={200} />
      )}
    </>
  );
}
