import { Button, Code, CopyButton, Fieldset, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { sessionQuery } from "../../api/queries";
import { ADDRESS } from "../../address";
import { curlCommand, submitCommand, type QueueRequest } from "../shared/shellCommands";

/** The commands that queue the same from a shell. */
export function ShellCommands({ request }: { request: QueueRequest }) {
  const { data: session } = useQuery(sessionQuery);
  const submit = submitCommand(request, ADDRESS);
  return (
    <Fieldset legend="The same from a shell" variant="unstyled">
      {submit ? (
        <Command name="cctboard submit" command={submit} />
      ) : (
        <Text size="sm" c="dimmed">
          With <Code>cctboard submit</Code> a comma divides values; use curl for one that has a comma in it.
        </Text>
      )}
      <Command name="curl" command={curlCommand(ADDRESS, request.path, request.body, session?.token_needed ?? false)} />
    </Fieldset>
  );
}

function Command({ name, command }: { name: string; command: string }) {
  return (
    <>
      <Code block className="command" mt={4}>
        {command}
      </Code>
      <Group justify="flex-end" mt={4}>
        <CopyButton value={command}>
          {({ copied, copy }) => (
            <Button size="compact-xs" variant="subtle" onClick={copy}>
              {copied ? "Copied" : `Copy ${name}`}
            </Button>
          )}
        </CopyButton>
      </Group>
    </>
  );
}
