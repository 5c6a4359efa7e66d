import { Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { queueQuery } from "../../api/queries";
import { duration } from "../../format";

/** A queued run's place and when it is expected to start; asked for together with those `among` which it is shown. */
export function QueuePlace({ id, among = [id] }: { id: string; among?: string[] }) {
  const { data: queue } = useQuery(queueQuery(among));
  const entry = queue?.entries.find(({ run_id }) => run_id === id);
  if (!queue || !entry) return "–";
  const start = entry.starts_in_seconds;
  const when = queue.paused ? "paused" : start === 0 ? "now" : start != null && `in ${duration(start)}`;
  return (
    <>
      {entry.position}.
      {when && (
        <Text span inherit c="dimmed">
          {" "}
          {when}
        </Text>
      )}
    </>
  );
}
