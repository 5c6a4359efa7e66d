import { Button, Group, List, Loader, Paper, Text, Title } from "@mantine/core";
import { IconChecklist } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";

import { onPooling, useAction } from "../../api/actions";
import type { Pooling } from "../../api/client";
import { workersQuery } from "../../api/queries";
import { moment, plural } from "../../format";

/** What a worker has found out about an own pooling, and the button that asks for it anew. */
export function Check({ pooling: { name, check } }: { pooling: Pooling }) {
  const { data: workers } = useQuery(workersQuery);
  const again = useAction("Not checked", () => onPooling.check(name));
  const isWaiting = check != null && !check.done;
  return (
    <>
      <Group justify="space-between" mt="xl" mb="sm">
        <Title order={2}>Check</Title>
        <Button
          variant="default"
          size="xs"
          leftSection={<IconChecklist size={14} aria-hidden />}
          loading={again.isPending}
          disabled={isWaiting}
          onClick={() => again.mutate()}
        >
          {check ? "Check again" : "Check"}
        </Button>
      </Group>
      <Paper p="sm">
        <Text size="sm" role="status" fw={500}>
          {check ? told(check) : "Nobody has checked it yet."}
          {isWaiting && workers?.workers.length === 0 && " No worker is connected: start one with `cctboard worker`."}
          {isWaiting && <Loader size={12} ml={8} aria-hidden />}
        </Text>
        {check?.error && (
          <Text size="sm" className="note" mt={4}>
            {check.error}
          </Text>
        )}
        {check && (
          <List size="sm" spacing={6} listStyleType="none" mt="xs">
            {check.findings.map(({ name: title, outcome, text }) => (
              <List.Item key={title}>
                <Group gap="xs" wrap="nowrap" align="baseline">
                  <span className="outcome" data-outcome={outcome}>
                    {outcome}
                  </span>
                  <span className="note">
                    <strong>{title}</strong>: {text}
                  </span>
                </Group>
              </List.Item>
            ))}
          </List>
        )}
        {check && (
          <Text size="xs" c="dimmed" mt="xs">
            asked for {moment(check.asked_at)}
          </Text>
        )}
      </Paper>
    </>
  );
}

type CheckOf = NonNullable<Pooling["check"]>;

/** How a check has ended, or how far it is, in a few words. */
export function told({ done, error, findings }: CheckOf): string {
  const failed = findings.filter(({ outcome }) => outcome === "failed").length;
  const noted = findings.filter(({ outcome }) => outcome === "noted").length;
  if (error) return "The check did not come to its end.";
  if (failed) return `${plural(failed, "check")} failed.`;
  if (!done) return findings.length ? `${plural(findings.length, "check")} passed so far …` : "It waits for a worker …";
  return noted ? `It passed, with ${plural(noted, "note")}.` : "It passed all checks.";
}
