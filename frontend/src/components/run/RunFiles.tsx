import { Anchor, Paper, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { PREFIX } from "../../address";
import type { Run } from "../../api/client";
import { filesQuery } from "../../api/queries";
import { bytes, isMeasured } from "../../format";

/** What a run leaves behind, to be downloaded. */
export function RunFiles({ run }: { run: Run }) {
  const { data: files = [] } = useQuery(filesQuery(run));
  if (!isMeasured(run)) {
    return (
      <Paper p="sm">
        <Text size="sm" c="dimmed">
          Files appear when something was measured.
        </Text>
      </Paper>
    );
  }
  return (
    <Paper p="xs">
      <Table className="facts">
        <Table.Tbody>
          {files.map((file) => (
            <FileRow key={file.name} href={`${PREFIX}/runs/${run.id}/files/${file.name}`} {...file} />
          ))}
          <FileRow
            href={`${PREFIX}/runs/${run.id}/tensorboard`}
            name="TensorBoard"
            about="all curves, as an event file in a zip"
          />
        </Table.Tbody>
      </Table>
    </Paper>
  );
}

function FileRow({ href, name, about, ...file }: { href: string; name: string; about: string; bytes?: number }) {
  return (
    <Table.Tr>
      <Table.Td>
        <Anchor href={href} download size="sm">
          {name}
        </Anchor>
        <Text size="xs" c="dimmed">
          {about}
        </Text>
      </Table.Td>
      <Table.Td ta="right" style={{ whiteSpace: "nowrap" }}>
        {file.bytes !== undefined && bytes(file.bytes)}
      </Table.Td>
    </Table.Tr>
  );
}
