import { Group, Paper, Skeleton, Text } from "@mantine/core";
import { IconAlertTriangle, IconCircleCheck, IconHelpCircle } from "@tabler/icons-react";
import { Link } from "react-router";

import { type Experiment, type Glance, inColor } from "../../api/client";
import { moment } from "../../format";
import { ExperimentProgress } from "../shared/ExperimentFacts";
import { Variant } from "../shared/RunFacts";
import { expectedRows, scaleOf } from "./picture";

const PROBLEMS = 2;

type Props = {
  experiment: Experiment;
  glance: Glance | undefined;
  /** Why there is no glance. */
  error: Error | null;
};

/** An experiment in short: its answer in a line, its results in a small picture, how far it is, and what is wrong. */
export function ExperimentCard({ experiment, glance, error }: Props) {
  return (
    <Paper p="sm" component="article" aria-label={experiment.name} className="experiment-card">
      <Group justify="space-between" wrap="nowrap" gap="xs">
        <Text
          component={Link}
          to={`/board/experiments/${experiment.id}`}
          fw={600}
          size="sm"
          truncate
          className="row-link"
        >
          {experiment.name}
        </Text>
        <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>
          {moment(experiment.created_at)}
        </Text>
      </Group>
      {glance ? (
        <AnswerLine glance={glance} />
      ) : error ? (
        <Text size="sm" className="problem answer-line">
          <IconAlertTriangle size={14} aria-hidden />
          <span>{error.message}</span>
        </Text>
      ) : (
        <Skeleton className="answer-line" />
      )}
      {glance ? (
        <Picture glance={glance} />
      ) : (
        <div style={{ height: `${1.25 * expectedRows(experiment.axes, experiment.variants)}rem` }} aria-hidden />
      )}
      <div className="problems">
        {glance?.problems.slice(0, PROBLEMS).map((problem) => (
          <Text key={problem} size="xs" className="problem" title={problem}>
            <IconAlertTriangle size={14} aria-hidden />
            <span>{problem}</span>
          </Text>
        ))}
        {glance && glance.problems.length > PROBLEMS && (
          <Text size="xs" className="problem">
            {glance.problems.length - PROBLEMS} more on its page
          </Text>
        )}
      </div>
      <div className="at-the-end">
        <ExperimentProgress experiment={experiment} />
      </div>
    </Paper>
  );
}

function AnswerLine({ glance: { answer, outcome, provisional } }: { glance: Glance }) {
  const isSure = outcome === "better" || outcome === "alike";
  const Icon = isSure ? IconCircleCheck : IconHelpCircle;
  return (
    <Text size="sm" className="answer-line" data-sure={isSure || undefined} title={answer}>
      {outcome && <Icon size={16} role="img" aria-label={isSure ? "sure" : "not sure"} />}
      <span>
        {answer}
        {provisional && isSure && ", so far"}
      </span>
    </Text>
  );
}

/** A row per variant: a point per seed, the interval of their mean as a line, the mean as a stroke and in numbers. */
function Picture({ glance: { variants, left_out } }: { glance: Glance }) {
  const at = scaleOf(variants);
  return (
    <ul className="picture">
      {variants.map(({ variant, color, top1, final }) => (
        <li key={variant} style={{ color: inColor(color) }}>
          <Variant name={variant} color={color} />
          <svg className="dots" aria-hidden>
            {final?.low != null && final.high != null && (
              <line x1={at(final.low)} x2={at(final.high)} y1="50%" y2="50%" />
            )}
            {top1.map((value, seed) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: seeds have no other name here, and keep their order
              <circle key={seed} cx={at(value)} cy="50%" r="3" />
            ))}
            {final && <line className="mean" x1={at(final.mean)} x2={at(final.mean)} y1="10%" y2="90%" />}
          </svg>
          <span className="number">{final ? `${final.mean.toFixed(1)} %` : "–"}</span>
        </li>
      ))}
      {left_out > 0 && (
        <li className="left-out">
          {left_out} more below {variants.at(-1)!.variant}
        </li>
      )}
    </ul>
  );
}
