import { Button, Group, NumberInput, Popover, Text } from "@mantine/core";
import { IconCheckbox, IconPlayerPlay, IconPlayerStop, IconPlus } from "@tabler/icons-react";
import { useState } from "react";
import { useNavigate } from "react-router";

import { CONFIRMING, onExperiment, useAction } from "../../api/actions";
import type { Experiment } from "../../api/client";
import { LIMITS } from "../../api/limits";
import { ConfirmButton } from "../shared/ConfirmButton";

/** What may be done to a plan, which is otherwise frozen. */
export function PlanActions({ experiment }: { experiment: Experiment }) {
  const { id, plan_state, planning } = experiment;
  const navigate = useNavigate();
  const goOn = useAction("Not continued", () => onExperiment.retry(id));
  const confirm = useAction("Not queued", async () => {
    const fresh = await onExperiment.confirm(id);
    await navigate(`/board/experiments/${fresh.id}`);
  });
  const isSettled = Object.values(planning?.variants ?? {}).some(
    ({ settled_at, outcome }) => settled_at && outcome !== "undecided",
  );
  return (
    <Group gap="xs">
      {isSettled && plan_state !== "open" && (
        <Button
          size="xs"
          variant="default"
          loading={confirm.isPending}
          onClick={() => confirm.mutate()}
          leftSection={<IconCheckbox size={14} aria-hidden />}
        >
          Confirm with {CONFIRMING} fresh seeds
        </Button>
      )}
      {plan_state === "cancelled" && (
        <Button
          size="xs"
          variant="default"
          loading={goOn.isPending}
          onClick={() => goOn.mutate()}
          leftSection={<IconPlayerPlay size={14} aria-hidden />}
        >
          Go on
        </Button>
      )}
      <RaiseBudget experiment={experiment} />
      {plan_state === "open" && (
        <ConfirmButton
          label="Stop the plan"
          icon={IconPlayerStop}
          question="Stop all unfinished runs and queue no more? What is settled stands; what is open stays open, and can go on later."
          yes="Yes, stop"
          no="Keep going"
          failed="Not stopped"
          change={() => onExperiment.cancel(id)}
        />
      )}
    </Group>
  );
}

/** The rule holds for any number of seeds up to the limit, so more may be allowed at any time. */
function RaiseBudget({ experiment: { id, max_seeds } }: { experiment: Experiment }) {
  const [opened, setOpened] = useState(false);
  const [seeds, setSeeds] = useState<number | string>("");
  const raise = useAction(
    "Budget not raised",
    () => onExperiment.edit(id, { plan: { max_seeds: Number(seeds) } }),
    () => setOpened(false),
  );
  if (max_seeds == null || max_seeds >= LIMITS.planned_seeds) return null;
  const open = () => {
    setSeeds(Math.min(2 * max_seeds, LIMITS.planned_seeds));
    setOpened(true);
  };
  return (
    <Popover opened={opened} onChange={setOpened} width={340} trapFocus>
      <Popover.Target>
        <Button size="xs" variant="default" onClick={open} leftSection={<IconPlus size={14} aria-hidden />}>
          Raise budget
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="Raise budget">
        <Text size="sm" mb="xs">
          Variants that are open or undecided get seeds up to this number. No claim becomes less sure by it.
        </Text>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            raise.mutate();
          }}
        >
          <Group gap="xs" align="flex-end">
            <NumberInput
              size="xs"
              w={170}
              label="Seeds at most"
              min={max_seeds + 1}
              max={LIMITS.planned_seeds}
              allowDecimal={false}
              value={seeds}
              onChange={setSeeds}
              data-autofocus
            />
            <Button size="xs" type="submit" loading={raise.isPending}>
              Raise
            </Button>
          </Group>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}
