import { Button, Group, NumberInput, Popover, Text } from "@mantine/core";
import { IconPlayerTrackNext } from "@tabler/icons-react";
import { useState } from "react";
import { useNavigate } from "react-router";

import { onRun, useAction } from "../../api/actions";
import type { Run } from "../../api/client";

/** Queues a new run that goes on where this one ended. */
export function ExtendButton({ run: { id, spec } }: { run: Run }) {
  const [opened, setOpened] = useState(false);
  const [epochs, setEpochs] = useState<number | string>(Math.ceil(1.5 * spec.epochs));
  const navigate = useNavigate();
  const extend = useAction("Not extended", async () => {
    const extending = await onRun.extend(id, Number(epochs));
    setOpened(false);
    await navigate(`/board/runs/${extending.id}`);
  });
  return (
    <Popover opened={opened} onChange={setOpened} width={340} trapFocus>
      <Popover.Target>
        <Button
          variant="default"
          size="xs"
          onClick={() => setOpened(true)}
          leftSection={<IconPlayerTrackNext size={14} aria-hidden />}
        >
          More epochs
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="More epochs">
        <Text size="sm" mb="xs">
          A new run goes on where this one ended. After epoch {spec.epochs} the learning rate follows the schedule of
          all epochs, so it jumps up: this is not the same as training so long in one go.
        </Text>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            extend.mutate();
          }}
        >
          <Group gap="xs" align="flex-end">
            <NumberInput
              size="xs"
              w={170}
              label="Epochs in all"
              min={spec.epochs + 1}
              allowDecimal={false}
              value={epochs}
              onChange={setEpochs}
              data-autofocus
            />
            <Button size="xs" type="submit" loading={extend.isPending}>
              Queue it
            </Button>
          </Group>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}
