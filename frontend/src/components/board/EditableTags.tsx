import { ActionIcon, Group, Popover, TagsInput } from "@mantine/core";
import { IconPencil } from "@tabler/icons-react";
import { useState } from "react";

import { onRun, useAction } from "../../api/actions";
import type { Run } from "../../api/client";
import { LIMITS } from "../../api/limits";
import { Tags } from "../shared/RunFacts";

/** A run's tags and a button to change them where they stand. */
export function EditableTags({ run }: { run: Run }) {
  const { id, tags } = run;
  const [opened, setOpened] = useState(false);
  const save = useAction<string[]>("Tags not saved", (changed) => onRun.retag(run, changed));
  return (
    <Group gap={4} wrap="nowrap">
      <Tags tags={tags} />
      <Popover opened={opened} onChange={setOpened} trapFocus returnFocus>
        <Popover.Target>
          <ActionIcon
            variant="subtle"
            color="gray"
            size="sm"
            aria-label={`Edit: Tags of run ${id}`}
            onClick={() => setOpened(!opened)}
          >
            <IconPencil size={15} aria-hidden />
          </ActionIcon>
        </Popover.Target>
        <Popover.Dropdown aria-label={`Tags of run ${id}`}>
          <TagsInput
            size="xs"
            w={240}
            label="Tags"
            placeholder={tags.length === 0 ? "Add a tag and press Enter" : ""}
            maxTags={LIMITS.tags}
            maxLength={LIMITS.tag_length}
            value={save.isPending ? save.variables : tags}
            onChange={(changed) => save.mutate(changed)}
            data-autofocus
            clearable
          />
        </Popover.Dropdown>
      </Popover>
    </Group>
  );
}
