import { Badge, Group, Text, Tooltip } from "@mantine/core";
import {
  IconAlertTriangle,
  IconBan,
  IconCircleCheck,
  IconClock,
  IconLoader2,
  IconPlayerStop,
} from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";

import { inColor, type Run, type State, type VariantColor } from "../../api/client";
import { catalogQuery } from "../../api/queries";
import { isEvaluation, runProgress, withinEpoch } from "../../format";

const ICONS = {
  queued: IconClock,
  running: IconLoader2,
  completed: IconCircleCheck,
  failed: IconAlertTriangle,
  cancelled: IconBan,
  cancelling: IconPlayerStop,
};

/** A run's state as icon, colour and word. */
export function StateLabel({ run }: { run: Pick<Run, "state" | "cancelling"> }) {
  return <StateName state={run.cancelling ? "cancelling" : run.state} />;
}

export function StateName({ state, children }: { state: State | "cancelling"; children?: React.ReactNode }) {
  const Icon = ICONS[state];
  return (
    <span className="state" data-state={state}>
      <Icon size={16} aria-hidden className={state === "running" ? "spin" : undefined} />
      {children ?? state}
    </span>
  );
}

/** Finished epochs as text, or that nothing is trained; the whole run and the current epoch as bars. */
export function RunProgress({ run }: { run: Run }) {
  const within = withinEpoch(run);
  const shown = run.cancelling ? "cancelling" : run.state;
  return (
    <div data-state={shown}>
      <Text size="xs" component="div" style={{ whiteSpace: "nowrap" }}>
        {isEvaluation(run) ? "evaluation" : `${run.epoch}/${run.spec.epochs}`}
        {run.steps > 0 && (
          <Text span inherit c="dimmed">
            {" "}
            +{Math.floor(100 * within)} %
          </Text>
        )}
      </Text>
      <ProgressBars value={runProgress(run)} within={run.state === "running" ? within : undefined} label="Progress" />
    </div>
  );
}

export function ProgressBars({ value, within, label }: { value: number; within?: number; label: string }) {
  return (
    <div
      className="progress"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.floor(100 * value)}
    >
      <span>
        <i style={{ width: `${100 * value}%` }} />
      </span>
      {within !== undefined && (
        <span>
          <i style={{ width: `${100 * within}%` }} />
        </span>
      )}
    </div>
  );
}

export function Variant({ name, color }: { name: string; color?: VariantColor }) {
  return (
    <span className="variant">
      {color && <span className="dot" data-symbol={color.symbol} style={{ background: inColor(color) }} aria-hidden />}
      <span>{name}</span>
    </span>
  );
}

/** A pooling in the colour it has in every figure, with what the catalog says of it. */
export function Pooling({ name }: { name: string }) {
  const { data: catalog } = useQuery(catalogQuery);
  const pooling = catalog?.poolings.find((entry) => entry.name === name || entry.full_name === name);
  if (!pooling) return <Variant name={name} />;
  return (
    <Tooltip label={pooling.summary} disabled={!pooling.summary}>
      <span>
        <Variant name={name} color={pooling.color} />
      </span>
    </Tooltip>
  );
}

export function MixesBatchBadge({ mixes }: { mixes: boolean | null | undefined }) {
  if (!mixes) return null;
  return (
    <Tooltip label="The output for one image depends on the other images of its batch, so results change with batch size and order.">
      <span className="mixes">mixes the batch</span>
    </Tooltip>
  );
}

export function PoolingWithBadge({ run }: { run: Run }) {
  return (
    <Group gap="2px 6px">
      <Pooling name={run.spec.pooling} />
      <MixesBatchBadge mixes={run.mixes_batch} />
      {run.external && (
        <Tooltip label={`Trained elsewhere: ${run.external.file}`}>
          <span className="mixes">external</span>
        </Tooltip>
      )}
    </Group>
  );
}

export function Archived() {
  return (
    <Badge size="xs" variant="default" tt="none" fw={500}>
      archived
    </Badge>
  );
}

export function Tags({ tags }: { tags: string[] }) {
  return (
    <Group gap={4}>
      {tags.map((tag) => (
        <Badge key={tag} size="sm" variant="default" tt="none" fw={500} maw={160}>
          {tag}
        </Badge>
      ))}
    </Group>
  );
}
