import { ActionIcon, Button, Group, Popover, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconX } from "@tabler/icons-react";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, body } from "../api/client";

type Props = { what: "run" | "experiment"; id: string; compact?: boolean };

/** Asks once, then cancels; what was measured is kept. */
export function CancelButton({ what, id, compact }: Props) {
  const [asking, setAsking] = useState(false);
  const queries = useQueryClient();
  const cancel = useMutation({
    mutationFn: (): Promise<unknown> =>
      what === "run"
        ? body(api.POST("/runs/{run_id}/cancel", { params: { path: { run_id: id } } }))
        : body(api.POST("/experiments/{experiment_id}/cancel", { params: { path: { experiment_id: id } } })),
    onError: (error) => notifications.show({ color: "red", title: "Not cancelled", message: error.message }),
    onSettled: () => {
      setAsking(false);
      return queries.invalidateQueries();
    },
  });
  const ask = () => setAsking(true);
  return (
    <Popover opened={asking} onChange={setAsking} position="bottom-end" withArrow trapFocus>
      <Popover.Target>
        {compact ? (
          <ActionIcon variant="subtle" color="gray" size="sm" onClick={ask} aria-label={`Cancel ${what} ${id}`}>
            <IconX size={16} />
          </ActionIcon>
        ) : (
          <Button variant="default" size="xs" onClick={ask} leftSection={<IconX size={14} />}>
            Cancel {what}
          </Button>
        )}
      </Popover.Target>
      <Popover.Dropdown>
        <Text size="sm" mb="xs">
          {what === "run" ? "Stop this run?" : "Stop all unfinished runs?"} Measured epochs are kept.
        </Text>
        <Group gap="xs" justify="flex-end">
          <Button size="xs" variant="default" onClick={() => setAsking(false)}>
            Keep going
          </Button>
          <Button size="xs" color="red" loading={cancel.isPending} onClick={() => cancel.mutate()} data-autofocus>
            Yes, cancel
          </Button>
        </Group>
      </Popover.Dropdown>
    </Popover>
  );
}
