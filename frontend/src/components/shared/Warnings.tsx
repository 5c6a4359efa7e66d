import { List, Text, Tooltip } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";

import type { Run } from "../../api/client";
import { plural } from "../../format";

/** Reasons to doubt a run's numbers, or those of runs that are to be queued, as a notice. */
export function Warnings({ texts }: { texts: string[] }) {
  if (texts.length === 0) return null;
  const title = plural(texts.length, "warning");
  return (
    <div className="warned" role="note" aria-label={title}>
      <Text size="sm" fw={600} className="state" data-state="warned">
        <IconAlertTriangle size={16} aria-hidden />
        {title}
      </Text>
      <List size="sm" spacing={4} listStyleType="none">
        {texts.map((text) => (
          <List.Item key={text} className="note">
            {text}
          </List.Item>
        ))}
      </List>
    </div>
  );
}

/** Marks a run that has warnings, where runs are listed. */
export function WarningsMark({ run: { warnings } }: { run: Pick<Run, "warnings"> }) {
  if (warnings.length === 0) return null;
  return (
    <Tooltip label={warnings.map(({ text }) => text).join(" ")} multiline maw={360}>
      <span className="mixes">{plural(warnings.length, "warning")}</span>
    </Tooltip>
  );
}
