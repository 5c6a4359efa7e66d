import { Anchor, Button, Group, Paper, Text, Title } from "@mantine/core";
import { IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "react-router";

import { onExperiment } from "../api/actions";
import { type Experiment, isGone } from "../api/client";
import { LIMITS } from "../api/limits";
import { allRunsQuery, comparisonQuery, experimentQuery, experimentsQuery } from "../api/queries";
import { cloned } from "../api/spec";
import { Pending } from "../components/shared/Pending";
import { CancelButton } from "../components/shared/CancelButton";
import { Mark } from "../components/comparison/Answer";
import { ComparisonView } from "../components/comparison/ComparisonView";
import { useComparison } from "../components/comparison/useComparison";
import { ConfirmButton } from "../components/shared/ConfirmButton";
import { EditableText } from "../components/shared/EditableText";
import { ExperimentName, ExperimentProgress, WrittenBy } from "../components/shared/ExperimentFacts";
import { hasPlan, PlanPanel } from "../components/experiment/PlanPanel";
import { AT_FIRST, RunsTable } from "../components/board/RunsTable";
import { TuningPanel } from "../components/experiment/TuningPanel";
import { RunMatrix } from "../components/experiment/RunMatrix";
import { moment, plural } from "../format";

export function ExperimentPage() {
  const { id } = useParams() as { id: string };
  const { data: experiment, error } = useQuery(experimentQuery(id));
  if (experiment && !isGone(error)) return <ExperimentView key={id} experiment={experiment} />;
  return <Pending what="experiment" error={error} h={320} />;
}

function ExperimentView({ experiment }: { experiment: Experiment }) {
  const { id, name, note, axes, spec, runs, variants } = experiment;
  const named = variants.length > 0 ? ["variant"] : [];
  const groups = [...new Set([...named, "pooling", ...Object.keys(axes)])].filter((field) => field !== "seed");
  const isOpen = experiment.plan_state === "open" && experiment.plan !== null;
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
            {experiment.author && ` by ${experiment.author}`}
            {Object.entries(spec).map(([field, value]) => ` · ${field} ${String(value)}`)}
          </Text>
        </div>
        <Group gap="xs">
          <Button component={Link} to={cloned(experiment)} variant="default" size="xs">
            Clone with changes
          </Button>
          {experiment.queued + experiment.running > 0 && !isOpen && <CancelButton what="experiment" id={id} />}
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
            <WrittenBy row={experiment} />
          </Text>
        </EditableText>
      </div>
      <Linked experiment={experiment} />
      {experiment.tune && <TuningPanel experiment={experiment} />}
      {experiment.tune ? (
        <Trials experiment={experiment} />
      ) : (
        <ComparisonView
          selection={{ experiment: id }}
          groups={groups}
          title={name}
          mark={
            experiment.exploratory && (
              <Mark
                label="exploratory"
                why="Seeds were added after results were seen, so the p values do not hold. Turn it into a plan, which asks again on new seeds."
              />
            )
          }
          plan={hasPlan(experiment) && <Plan experiment={experiment} />}
        >
          <Runs experiment={experiment} />
        </ComparisonView>
      )}
    </>
  );
}

function Plan({ experiment }: { experiment: Parameters<typeof PlanPanel>[0]["experiment"] }) {
  const { data: comparison } = useComparison({ experiment: experiment.id });
  return <PlanPanel experiment={experiment} variants={comparison?.variants ?? []} />;
}

/** The experiments that this one was made of, and that were made of it: their seeds are shown there, not counted here. */
function Linked({ experiment: { id, follows, confirms } }: { experiment: Experiment }) {
  const { data: list } = useQuery(experimentsQuery);
  const tuned_by = list?.experiments.find((other) => other.id === id)?.tuned_by;
  const later = list?.experiments.filter((other) => other.follows === id || other.confirms === id) ?? [];
  return (
    <>
      {follows && <Origin id={follows} says="Asks again, on new seeds and with a plan, what was asked by" />}
      {confirms && <Origin id={confirms} says="Tries on fresh seeds what was claimed by" />}
      {tuned_by && (
        <Text size="sm" mb="xs">
          The settings were found by{" "}
          <Anchor component={Link} to={`/board/experiments/${tuned_by}`} inherit underline="always">
            the trials of another experiment
          </Anchor>
          , on held-out data; the seeds here are fresh.
        </Text>
      )}
      {later.map((other) => (
        <Text key={other.id} size="sm" mb="xs">
          {other.follows ? "Asked again with a plan" : "Tried on fresh seeds"}:{" "}
          <Anchor component={Link} to={`/board/experiments/${other.id}`} inherit underline="always">
            {other.name}, {moment(other.created_at)}
          </Anchor>
        </Text>
      ))}
    </>
  );
}

function Origin({ id, says }: { id: string; says: string }) {
  const { data: comparison } = useQuery(comparisonQuery({ experiment: id }));
  return (
    <Text size="sm" mb="xs" maw="90ch">
      {says} <ExperimentName id={id} />, whose seeds do not count here
      {comparison?.answer && <Text span inherit c="dimmed">{` (there: ${comparison.answer})`}</Text>}.
    </Text>
  );
}

/** The runs of a search are no comparison: each is another setting. */
function Trials({ experiment: { id } }: { experiment: Experiment }) {
  const { data: list, error } = useQuery(allRunsQuery({ experiment: id, archived: "shown" }));
  if (!list) return <Pending what="list of runs" error={error} h={200} />;
  return (
    <>
      <Title order={2} mt="xl" mb="sm">
        Runs
      </Title>
      <Paper>
        <RunsTable
          runs={list.runs}
          shown={{ ...AT_FIRST, lr: true }}
          selected={{}}
          onSelect={() => {}}
          sorting={[]}
          label="Trials"
        />
      </Paper>
    </>
  );
}

function Runs({ experiment }: { experiment: Experiment }) {
  const { data: list, error } = useQuery(allRunsQuery({ experiment: experiment.id, archived: "shown" }));
  const { data: comparison } = useComparison({ experiment: experiment.id });
  if (!list || !comparison) return <Pending what="list of runs" error={error} h={200} />;
  return <RunMatrix experiment={experiment} runs={list.runs} comparison={comparison} />;
}
