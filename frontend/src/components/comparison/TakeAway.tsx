import { Button, Menu } from "@mantine/core";
import { useClipboard } from "@mantine/hooks";
import { IconCheck, IconCopy, IconDownload } from "@tabler/icons-react";

import { PREFIX } from "../../address";
import type { Comparison } from "../../api/client";
import type { Selection } from "../../api/queries";
import { save } from "../../save";
import { FORMATS } from "./exportTable";

type Props = { comparison: Comparison; selection: Selection; title: string };

/** The table in the formats of papers and notebooks; the whole comparison as a page; the epochs behind it. */
export function TakeAway({ comparison, selection, title }: Props) {
  const { copied, copy } = useClipboard({ timeout: 4_000 });
  const query = new URLSearchParams("run" in selection ? selection.run.map((id) => ["run", id]) : selection);
  const report = new URLSearchParams([...query, ["group", comparison.group], ["title", title]]);
  report.set("measure", comparison.measure);
  if (comparison.baseline) report.set("baseline", comparison.baseline);
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <Button
          variant="default"
          size="xs"
          leftSection={copied ? <IconCheck size={14} aria-hidden /> : <IconDownload size={14} aria-hidden />}
        >
          {copied ? "Copied" : "Take it with you"}
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>The table</Menu.Label>
        {Object.entries(FORMATS).map(([format, { write }]) => (
          <Menu.Item
            key={format}
            leftSection={<IconCopy size={14} aria-hidden />}
            onClick={() => copy(write(comparison))}
          >
            Copy as {format}
          </Menu.Item>
        ))}
        {Object.entries(FORMATS).map(([format, { write, ending, type }]) => (
          <Menu.Item
            key={format}
            leftSection={<IconDownload size={14} aria-hidden />}
            onClick={() => save(`comparison.${ending}`, write(comparison), type)}
          >
            Save as {format}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item
          component="a"
          href={`${PREFIX}/report?${report}`}
          download
          leftSection={<IconDownload size={14} aria-hidden />}
        >
          Save report with figures (HTML)
        </Menu.Item>
        <Menu.Item
          component="a"
          href={`${PREFIX}/epochs.csv?${query}`}
          download
          leftSection={<IconDownload size={14} aria-hidden />}
        >
          Save all epochs (CSV)
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
