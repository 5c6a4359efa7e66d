import { Button, Group, Paper, SimpleGrid, TagsInput, Text, Textarea } from "@mantine/core";
import { IconPencil } from "@tabler/icons-react";
import { useState } from "react";

import { onRun, useAction } from "../../api/actions";
import type { Run } from "../../api/client";
import { LIMITS } from "../../api/limits";
import { WrittenBy } from "../shared/ExperimentFacts";

/** The run's note and tags, edited in place. */
export function RunNotes({ run }: { run: Run }) {
  const tag = useAction<string[]>("Tags not saved", (tags) => onRun.retag(run, tags));
  return (
    <Paper p="sm">
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="md">
        <Note run={run} />
        <TagsInput
          size="xs"
          label="Tags"
          placeholder={run.tags.length === 0 ? "Add a tag and press Enter" : ""}
          maxTags={LIMITS.tags}
          maxLength={LIMITS.tag_length}
          value={tag.isPending ? tag.variables : run.tags}
          onChange={(tags) => tag.mutate(tags)}
          clearable
        />
      </SimpleGrid>
    </Paper>
  );
}

function Note({ run }: { run: Run }) {
  const { id, note } = run;
  const [draft, setDraft] = useState<string | null>(null);
  const save = useAction(
    "Note not saved",
    () => onRun.edit(id, { note: draft ?? "" }),
    () => setDraft(null),
  );
  if (draft === null) {
    return (
      <div>
        <Group gap="xs">
          <Text size="xs" fw={600}>
            Note
          </Text>
          <Button
            size="compact-xs"
            variant="subtle"
            leftSection={<IconPencil size={12} aria-hidden />}
            onClick={() => setDraft(note)}
          >
            {note ? "Edit note" : "Add a note"}
          </Button>
        </Group>
        <Text size="sm" className="note">
          {note}
          <WrittenBy row={run} />
        </Text>
      </div>
    );
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <Textarea
        size="xs"
        label="Note"
        autosize
        minRows={2}
        maxRows={12}
        maxLength={LIMITS.note_length}
        autoFocus
        value={draft}
        onChange={(event) => setDraft(event.currentTarget.value)}
      />
      <Group gap="xs" mt="xs">
        <Button size="xs" type="submit" loading={save.isPending}>
          Save
        </Button>
        <Button size="xs" variant="default" onClick={() => setDraft(null)}>
          Discard
        </Button>
      </Group>
    </form>
  );
}
