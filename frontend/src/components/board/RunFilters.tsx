import { Button, Checkbox, Group, MultiSelect, NativeSelect, Popover, Select, Stack, TextInput } from "@mantine/core";
import { IconColumns3, IconSearch, IconX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { ColumnVisibilityState } from "@tanstack/react-table";
import { useLocation } from "react-router";

import { STATES } from "../../api/client";
import { LIMITS } from "../../api/limits";
import { experimentsQuery } from "../../api/queries";
import { GROUPINGS, VALUES } from "./runFilter";
import { HIDEABLE } from "./RunsTable";
import { useUrlParam, useUrlText } from "../shared/urlState";

type Props = { shown: ColumnVisibilityState; onShow: (shown: ColumnVisibilityState) => void };

/** Which runs are listed and how; all of it is in the address. */
export function RunFilters({ shown, onShow }: Props) {
  const [states, setStates] = useUrlParam("state", "page");
  const [experiment, setExperiment] = useUrlParam("experiment", "page");
  const [text, setText] = useUrlText("text", "page");
  const [archived, setArchived] = useUrlParam("archived", "page");
  const [group, setGroup] = useUrlParam("group", "page", "open");
  const { data: experiments } = useQuery(experimentsQuery);
  const wantsSearch = (useLocation().state as { search?: boolean } | null)?.search;
  return (
    <Group gap="xs" miw={0}>
      {VALUES.map((name) => (
        <ValueFilter key={name} name={name} />
      ))}
      <TextInput
        size="xs"
        w={190}
        type="search"
        maxLength={LIMITS.name_length}
        aria-label="Filter by text"
        placeholder="Model, note, tag, id, …"
        leftSection={<IconSearch size={14} aria-hidden />}
        value={text}
        autoFocus={wantsSearch}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <MultiSelect
        size="xs"
        w={170}
        aria-label="Filter by state"
        placeholder={states ? undefined : "Any state"}
        data={[...STATES]}
        value={states?.split(" ") ?? []}
        onChange={(values) => setStates(values.join(" ") || null)}
        clearable
      />
      {(experiment || (experiments && experiments.experiments.length > 0)) && (
        <Select
          size="xs"
          w={170}
          aria-label="Filter by experiment"
          placeholder={experiment === "" ? "No experiment" : "Any experiment"}
          data={experiments?.experiments.map(({ id, name }) => ({ value: id, label: name })) ?? []}
          value={experiment}
          onChange={setExperiment}
          searchable
          clearable
        />
      )}
      <NativeSelect
        size="xs"
        aria-label="Archived runs"
        data={[
          { value: "", label: "Not archived" },
          { value: "only", label: "Archived only" },
          { value: "shown", label: "Archived too" },
        ]}
        value={archived ?? ""}
        onChange={(event) => setArchived(event.currentTarget.value)}
      />
      <NativeSelect
        size="xs"
        aria-label="Group runs"
        data={[{ value: "", label: "Not grouped" }, ...GROUPINGS]}
        value={group ?? ""}
        onChange={(event) => setGroup(event.currentTarget.value)}
      />
      <ColumnChoice shown={shown} onChange={onShow} />
    </Group>
  );
}

/** A value to which the list is narrowed, and the way back. */
function ValueFilter({ name }: { name: string }) {
  const [value, setValue] = useUrlParam(name, "page");
  if (value === null) return null;
  return (
    <Button
      size="xs"
      maw="100%"
      variant="light"
      rightSection={<IconX size={12} aria-hidden />}
      aria-label={`Remove the filter ${name}: ${value || "none"}`}
      onClick={() => setValue(null)}
    >
      {name}: {value || "none"}
    </Button>
  );
}

type ChoiceProps = { shown: ColumnVisibilityState; onChange: (shown: ColumnVisibilityState) => void };

function ColumnChoice({ shown, onChange }: ChoiceProps) {
  return (
    <Popover trapFocus>
      <Popover.Target>
        <Button variant="default" size="xs" leftSection={<IconColumns3 size={14} aria-hidden />}>
          Columns
        </Button>
      </Popover.Target>
      <Popover.Dropdown aria-label="Columns">
        <Stack gap={8}>
          {HIDEABLE.map(({ id, header }) => (
            <Checkbox
              key={id}
              size="xs"
              label={header}
              checked={shown[id] !== false}
              onChange={(event) => onChange({ ...shown, [id]: event.currentTarget.checked })}
            />
          ))}
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}
