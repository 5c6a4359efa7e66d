import { Paper, Switch, Text } from "@mantine/core";

import { onRun, useAction } from "../../api/actions";
import type { Run } from "../../api/client";

/** Where a result comes from that was not trained here, and whether it enters verdicts. */
export function ExternalNote({ run: { id, external, counts } }: { run: Run }) {
  const count = useAction("Not changed", (wanted: boolean) => onRun.edit(id, { counts: wanted }));
  if (!external) return null;
  return (
    <Paper p="sm" mb="md" role="note" aria-label="From elsewhere">
      <Text size="sm">
        Trained elsewhere: a {external.kind}, {external.file} (sha256 {external.sha256.slice(0, 12)}). Of its settings
        only {external.told.join(", ")} are known.
      </Text>
      <Switch
        mt="xs"
        label="It counts in verdicts, which will name it"
        checked={counts}
        disabled={count.isPending}
        onChange={({ currentTarget }) => count.mutate(currentTarget.checked)}
      />
    </Paper>
  );
}
