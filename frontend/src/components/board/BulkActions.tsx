import { Button, Group, Paper, Popover, TagsInput, Text } from "@mantine/core";
import { IconArchive, IconArchiveOff, IconRefresh, IconTag, IconX } from "@tabler/icons-react";
import { useState } from "react";
import { Link } from "react-router";

import { onRun, toEach, useAction } from "../../api/actions";
import { LIMITS } from "../../api/limits";
import { plural } from "../../format";
import { ConfirmButton } from "../shared/ConfirmButton";
import { DeleteButton } from "../shared/DeleteButton";
import { PriorityButton } from "../shared/PriorityButton";

/** More curves than that are unreadable. */
const MOST_COMPARED = 100;

type Props = {
  ids: string[];
  onClear: () => void;
  /** Which of the two the selected runs may be; both where archived runs are listed among the others. */
  canArchive: boolean;
  canUnarchive: boolean;
  /** How many runs match on all pages, and what selects them; absent when all are selected. */
  all?: { total: number; select: () => Promise<void> };
};

/** What can be done to all selected runs, which may be on several pages. */
export function BulkActions({ ids, onClear, canArchive, canUnarchive, all }: Props) {
  const runs = plural(ids.length, "run");
  const retry = useAction("Not all retried", () => toEach(ids, onRun.retry));
  const archive = useAction<boolean>(
    "Not all archived",
    (archived) => toEach(ids, (id) => onRun.edit(id, { archived })),
    onClear,
  );
  return (
    <Paper p="xs" mb="sm" role="region" aria-label="Selected runs">
      <Group gap="xs">
        <Text size="sm" fw={600} role="status">
          {runs} selected
        </Text>
        {all && (
          <Button size="compact-xs" variant="subtle" onClick={() => void all.select()}>
            Select all {all.total}
          </Button>
        )}
        <Button size="compact-xs" variant="subtle" onClick={onClear}>
          Clear
        </Button>
        <Group gap="xs" ml="auto">
          {ids.length <= MOST_COMPARED ? (
            <Button component={Link} to={`/board/compare?${ids.map((id) => `run=${id}`).join("&")}`} size="xs">
              Compare {runs}
            </Button>
          ) : (
            <Text size="xs" c="dimmed">
              To compare runs, select at most {MOST_COMPARED}.
            </Text>
          )}
          <Button
            size="xs"
            variant="default"
            leftSection={<IconRefresh size={14} aria-hidden />}
            loading={retry.isPending}
            onClick={() => retry.mutate()}
          >
            Retry
          </Button>
          <TagButton ids={ids} />
          <PriorityButton label="Priority" change={(priority) => toEach(ids, (id) => onRun.edit(id, { priority }))} />
          {canArchive && (
            <Button
              size="xs"
              variant="default"
              leftSection={<IconArchive size={14} aria-hidden />}
              loading={archive.isPending}
              onClick={() => archive.mutate(true)}
            >
              Archive
            </Button>
          )}
          {canUnarchive && (
            <Button
              size="xs"
              variant="default"
              leftSection={<IconArchiveOff size={14} aria-hidden />}
              loading={archive.isPending}
              onClick={() => archive.mutate(false)}
            >
              Unarchive
            </Button>
          )}
          <ConfirmButton
            label="Cancel"
            icon={IconX}
            question={`Stop ${runs}? Measured epochs are kept.`}
            yes={`Yes, cancel ${runs}`}
            no="Keep going"
            failed="Not all cancelled"
            change={() => toEach(ids, onRun.cancel)}
          />
          <DeleteButton ids={ids} done={onClear} />
        </Group>
      </Group>
    </Paper>
  );
}

/** Adds tags to the runs; those they have stay. */
function TagButton({ ids }: { ids: string[] }) {
  const [opened, setOpened] = useState(false);
  const [tags, setTags] = useState<string[]>([]);
  const add = useAction(
    "Not all tagged",
    () => toEach(ids, (id) => onRun.edit(id, { add_tags: tags })),
    () => setOpened(false),
  );
  return (
    <Popover opened={opened} onChange={setOpened} trapFocus>
      <Popover.Target>
        <Button
          size="xs"
          variant="default"
          leftSection={<IconTag size={14} aria-hidden />}
          onClick={() => {
            setTags([]);
            setOpened(true);
          }}
        >
          Tag
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="Tag">
        <form
          onSubmit={(event) => {
            event.preventDefault();
            add.mutate();
          }}
        >
          <TagsInput
            maxTags={LIMITS.tags}
            maxLength={LIMITS.tag_length}
            size="xs"
            w={240}
            mb="xs"
            label="Tags to add"
            value={tags}
            onChange={setTags}
            data-autofocus
          />
          <Group justify="flex-end">
            <Button size="xs" type="submit" disabled={tags.length === 0} loading={add.isPending}>
              Add to {plural(ids.length, "run")}
            </Button>
          </Group>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}
