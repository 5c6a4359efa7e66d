import { Alert, Button, Group, Text } from "@mantine/core";
import { IconPlayerPause, IconPlayerPlay } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";

import { onQueue, useAction } from "../../api/actions";
import { queueQuery } from "../../api/queries";
import { duration, plural } from "../../format";

/** How many runs wait, when the last starts, and the switch that keeps runs from starting. */
export function QueueBar() {
  const { data: queue } = useQuery(queueQuery());
  const pause = useAction("Not paused", onQueue.pause);
  const resume = useAction("Not resumed", onQueue.resume);
  if (!queue) return <Group mt="lg" mih={22} />; // as high as what will stand there
  if (queue.paused) {
    return (
      <Alert variant="default" style={{ "--alert-color": "var(--warn)" }} title="The queue is paused" mt="lg">
        <Group justify="space-between" gap="sm">
          <Text size="sm">What runs goes on; {plural(queue.total, "queued run")} will wait until you resume.</Text>
          <Button
            size="xs"
            leftSection={<IconPlayerPlay size={14} aria-hidden />}
            loading={resume.isPending}
            onClick={() => resume.mutate()}
          >
            Resume
          </Button>
        </Group>
      </Alert>
    );
  }
  return (
    <Group gap="xs" mt="lg">
      <Text size="sm">
        <span>{queue.total ? `${plural(queue.total, "run")} in the queue` : "The queue is empty"}</span>
        {queue.last_starts_in_seconds != null && (
          <Text span inherit c="dimmed">
            {" "}
            · the last starts in about {duration(queue.last_starts_in_seconds)}
          </Text>
        )}
      </Text>
      <Button
        size="compact-xs"
        variant="default"
        leftSection={<IconPlayerPause size={12} aria-hidden />}
        loading={pause.isPending}
        onClick={() => pause.mutate()}
      >
        Pause
      </Button>
    </Group>
  );
}
