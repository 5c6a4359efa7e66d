import { ActionIcon, Button, Group, Popover, Text } from "@mantine/core";
import type { Icon } from "@tabler/icons-react";
import { useState } from "react";

import { useAction } from "../../api/actions";

type Props = {
  label: string;
  icon: Icon;
  question: string;
  yes: string;
  no: string;
  failed: string;
  change: () => Promise<unknown>;
  done?: () => void;
  /** Only the icon is shown; the label is read out. */
  compact?: boolean;
};

/** A button that asks once before it does what cannot be undone. */
export function ConfirmButton({ label, icon: Icon, question, yes, no, failed, change, done, compact }: Props) {
  const [asking, setAsking] = useState(false);
  const action = useAction(failed, change, done);
  const ask = () => setAsking(true);
  const confirm = () => action.mutate(undefined, { onSettled: () => setAsking(false) });
  return (
    <Popover opened={asking} onChange={setAsking} width={340} trapFocus>
      <Popover.Target>
        {compact ? (
          <ActionIcon variant="subtle" color="gray" size="sm" onClick={ask} aria-label={label}>
            <Icon size={16} aria-hidden />
          </ActionIcon>
        ) : (
          <Button variant="default" size="xs" onClick={ask} leftSection={<Icon size={14} aria-hidden />}>
            {label}
          </Button>
        )}
      </Popover.Target>
      <Popover.Dropdown aria-label={label}>
        <Text size="sm" mb="xs">
          {question}
        </Text>
        <Group gap="xs" justify="flex-end">
          <Button size="xs" variant="default" onClick={() => setAsking(false)}>
            {no}
          </Button>
          <Button size="xs" color="red.9" loading={action.isPending} onClick={confirm} data-autofocus>
            {yes}
          </Button>
        </Group>
      </Popover.Dropdown>
    </Popover>
  );
}
