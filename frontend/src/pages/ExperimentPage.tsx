import { Button, Group, Paper, Skeleton, Text, Title } from "@mantine/core";
import { IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "react-router";

import { onExperiment } from "../api/actions";
import { type Experiment, isGone } from "../api/client";
import { LIMITS } from "../api/limits";
import { allRunsQuery, experimentQuery } from "../api/queries";
import { formPath } from "../api/spec";
import { ErrorAlert } from "../components/shared/ErrorAlert";
import { CancelButton } from "../components/shared/CancelButton";
import { ComparisonView } from "../components/comparison/ComparisonView";
import { useComparison } from "../components/comparison/useComparison";
import { ConfirmButton } from "../components/shared/ConfirmButton";
import { EditableText } from "../components/shared/EditableText";
import { ExperimentProgress } from "../components/shared/ExperimentFacts";
import { RunMatrix } from "../components/experiment/RunMatrix";
import { moment, plural } from "../format";

export function ExperimentPage() {
  const { id } = useParams() as { id: string };
  const { data: experiment, error } = useQuery(experimentQuery(id));
  if (experiment && !isGone(error)) return <ExperimentView key={id} experiment={experiment} />;
  if (error) return <ErrorAlert title="No such experiment here" message={error.message} />;
  return <Skeleton h={320} />;
}

function ExperimentView({ experiment }: { experiment: Experiment }) {
  const { id, name, note, axes, spec, runs } = experiment;
  const groups = [...new Set(["pooling", ...Object.keys(axes)])].filter((field) => field !== "seed");
  const navigate = useNavigate();
  return (
    <>
      <title>{`${name} · CCT Board`}</title>
      <div className="page-head">
        <div>
          <EditableText
            label="Name of the experiment"
            value={name}
            maxLength={LIMITS.name_length}
            required
            save={(text) => onExperiment.edit(id, { name: text })}
          >
            <Title order={1}>{name}</Title>
          </EditableText>
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
          <ConfirmButton
            label="Delete"
            icon={IconTrash}
            question={`Delete this experiment with its ${plural(runs, "run")}, their curves and checkpoints? This cannot be undone.`}
            yes="Yes, delete"
            no="Keep it"
            failed="Not deleted"
            change={() => onExperiment.delete(id)}
            done={() => void navigate("/")}
          />
        </Group>
      </div>
      <Paper px="sm" py="xs" mb="md">
        <ExperimentProgress experiment={experiment} />
      </Paper>
      <div className="experiment-note">
        <EditableText
          label="Note"
          value={note}
          maxLength={LIMITS.note_length}
          multiline
          save={(text) => onExperiment.edit(id, { note: text })}
        >
          <Text size="sm" c={note ? undefined : "dimmed"} className="note">
            {note || "No note yet: what is asked, what was decided before training?"}
          </Text>
        </EditableText>
      </div>
      <ComparisonView selection={{ experiment: id }} groups={groups} title={name}>
        <Runs experiment={experiment} />
      </ComparisonView>
    </>
  );
}

function Runs({ experiment }: { experiment: Experiment }) {
  const { data: list } = useQuery(allRunsQuery({ experiment: experiment.id, archived: "shown" }));
  const { data: comparison } = useComparison({ experiment: experiment.id });
  if (!list || !comparison) return <Skeleton h={200} mt="xl" />;
  return <RunMatrix experiment={experiment} runs={list.runs} group={comparison.group} variants={comparison.variants} />;
}
