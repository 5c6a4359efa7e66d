import { Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { createContext, useContext } from "react";

import { queueQuery } from "../../api/queries";
import { duration } from "../../format";

/** Runs whose places are shown below, and asked for in one request. */
export const Waiting = createContext<string[] | undefined>(undefined);

/** A queued run's place and when it is expected to start. */
export function QueuePlace({ id }: { id: string }) {
  const { data: queue } = useQuery(queueQuery(useContext(Waiting) ?? [id]));
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
