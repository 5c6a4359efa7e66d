import { Button, Group, NumberInput, Popover } from "@mantine/core";
import { IconArrowUp } from "@tabler/icons-react";
import { useState } from "react";

import { useAction } from "../../api/actions";
import { LIMITS } from "../../api/limits";

type Props = { label: string; now?: number; change: (priority: number) => Promise<unknown>; compact?: boolean };

/** Sets the priority of queued runs: higher is trained earlier. */
export function PriorityButton({ label, now = 0, change, compact }: Props) {
  const [opened, setOpened] = useState(false);
  const [priority, setPriority] = useState<number | string>(now);
  const action = useAction("Priority not changed", change, () => setOpened(false));
  const open = () => {
    setPriority(now);
    setOpened(true);
  };
  return (
    <Popover opened={opened} onChange={setOpened} trapFocus>
      <Popover.Target>
        <Button
          variant={compact ? "subtle" : "default"}
          size={compact ? "compact-xs" : "xs"}
          ml={compact ? "auto" : undefined}
          onClick={open}
          leftSection={<IconArrowUp size={compact ? 12 : 14} aria-hidden />}
        >
          {label}
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label={label}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            action.mutate(Number(priority));
          }}
        >
          <Group gap="xs" align="flex-end">
            <NumberInput
              size="xs"
              w={170}
              label="Priority"
              description="Higher is trained earlier"
              min={-LIMITS.priority}
              max={LIMITS.priority}
              allowDecimal={false}
              value={priority}
              onChange={setPriority}
              data-autofocus
            />
            <Button size="xs" type="submit" loading={action.isPending}>
              Set
            </Button>
          </Group>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}
