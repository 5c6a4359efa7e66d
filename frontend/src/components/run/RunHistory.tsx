import { Paper, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { historyQuery } from "../../api/queries";
import { momentWithSeconds } from "../../format";
import { Pending } from "../shared/Pending";

/** In which of the app's state colours an entry is drawn. */
const STATE_OF: Record<string, string> = {
  started: "running",
  resumed: "running",
  lost: "reconnecting",
  completed: "completed",
  failed: "failed",
};

/** What happened to the run, oldest first. */
export function RunHistory({ id }: { id: string }) {
  const { data: history, error } = useQuery(historyQuery(id));
  if (!history) return <Pending what="time line" error={error} h={120} />;
  return (
    <Paper p="md">
      <ol className="history" aria-label="Time line">
        {history.entries.map(({ at, what, detail }) => (
          <li key={`${at} ${what}`} data-state={STATE_OF[what] ?? "queued"}>
            <Text size="sm" fw={500} component="span">
              {what}
            </Text>
            <Text size="xs" c="dimmed" component="time" dateTime={at} ml="xs">
              {momentWithSeconds(at)}
            </Text>
            {detail && (
              <Text size="sm" c="dimmed" lineClamp={4} className="note">
                {detail}
              </Text>
            )}
          </li>
        ))}
      </ol>
    </Paper>
  );
}
