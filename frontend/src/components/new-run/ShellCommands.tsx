import { Button, Code, CopyButton, Fieldset, Group } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { sessionQuery } from "../../api/queries";
import type { requestOf } from "../../api/spec";

export type QueueRequest = ReturnType<typeof requestOf>;

/** The commands that queue the same from a shell. */
export function ShellCommands({ request }: { request: QueueRequest }) {
  const { data: session } = useQuery(sessionQuery);
  const header = session?.token_needed ? ` -H "Authorization: Bearer $CCTBOARD_TOKEN"` : "";
  const curl = `curl -X POST ${location.origin}${request.path}${header} -d ${quoted(JSON.stringify(request.body))}`;
  return (
    <Fieldset legend="The same from a shell" variant="unstyled">
      <Command name="cctboard submit" command={submitCommand(request)} />
      <Command name="curl" command={curl} />
    </Fieldset>
  );
}

function submitCommand({ experiment: { name, spec, axes, priority }, runs }: QueueRequest): string {
  const fields = [
    ...Object.entries(spec).map(([field, value]) => `${field}=${value}`),
    ...Object.entries(axes).map(([field, values]) => `${field}=${values.join(",")}`),
  ];
  const options = [...(runs > 1 ? ["--name", name] : []), ...(priority ? [`--priority=${priority}`] : [])];
  return [
    "cctboard submit",
    ...[...options, ...fields].map((word) => (/[^\w=,.:/+-]/.test(word) ? quoted(word) : word)),
  ].join(" ");
}

const quoted = (text: string) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

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
