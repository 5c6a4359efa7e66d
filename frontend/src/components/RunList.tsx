import {
  Button,
  Checkbox,
  Group,
  MultiSelect,
  Pagination,
  Paper,
  Popover,
  Select,
  Skeleton,
  Stack,
  Text,
  TextInput,
  Title,
} from "@mantine/core";
import { useDebouncedCallback, useLocalStorage } from "@mantine/hooks";
import { IconColumns3, IconSearch } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { ColumnVisibilityState, RowSelectionState } from "@tanstack/react-table";
import { useState } from "react";
import { useLocation } from "react-router";

import { api, body, STATES, type RunSort, type State } from "../api/client";
import { experimentsQuery, runsQuery, type RunFilter } from "../api/queries";
import { plural } from "../format";
import { BulkActions } from "./BulkActions";
import { ErrorAlert } from "./ErrorAlert";
import { AT_FIRST, HIDEABLE, RunsTable } from "./RunsTable";
import { useUrlParam } from "./urlState";

const PAGE_SIZE = 50;
const MOST_AT_ONCE = 1000;

/** All runs: filters, order and page are in the address, the shown columns are this browser's. */
export function RunList() {
  const [states, setStates] = useUrlParam("state", "page");
  const [experiment, setExperiment] = useUrlParam("experiment", "page");
  const [text, setText] = useUrlParam("text", "page");
  const [sort, setSort] = useUrlParam("sort", "page");
  const [page, setPage] = useUrlParam("page");
  const [selected, setSelected] = useState<RowSelectionState>({});
  const [shown, setShown] = useLocalStorage({ key: "columns", defaultValue: AT_FIRST, getInitialValueInEffect: false });
  const number = Number(page ?? 1);
  const sorting = sort ? [{ id: sort.replace(/^-/, ""), desc: sort.startsWith("-") }] : [];
  const filter: RunFilter = {
    state: states ? (states.split(" ") as State[]) : undefined,
    experiment: experiment ?? undefined,
    text: text ?? undefined,
    sort: sorting[0]?.id as RunSort | undefined,
    descending: sorting[0]?.desc,
  };
  const { data: list, error } = useQuery(
    runsQuery({ ...filter, limit: PAGE_SIZE, offset: (number - 1) * PAGE_SIZE }),
  );
  const { data: experiments } = useQuery(experimentsQuery);
  const search = useDebouncedCallback(setText, 250);
  const wantsSearch = (useLocation().state as { search?: boolean } | null)?.search;
  const chosen = Object.keys(selected).filter((id) => selected[id]);
  const total = list?.total ?? 0;
  const pages = Math.ceil(total / PAGE_SIZE);
  const selectAll = async () => setSelected(Object.fromEntries((await matching(filter)).map((id) => [id, true])));

  return (
    <section aria-labelledby="runs">
      <Group justify="space-between" mt="md" mb="sm" gap="sm">
        <Group gap="xs" align="baseline">
          <Title order={2} id="runs">
            Runs
          </Title>
          <Text size="sm" c="dimmed">
            {list && plural(total, "run")}
          </Text>
        </Group>
        <Group gap="xs">
          <TextInput
            size="xs"
            w={210}
            type="search"
            aria-label="Filter by text"
            placeholder="Model, note, tag, id, …"
            leftSection={<IconSearch size={14} aria-hidden />}
            defaultValue={text ?? ""}
            autoFocus={wantsSearch}
            onChange={(event) => search(event.currentTarget.value)}
          />
          <MultiSelect
            size="xs"
            w={190}
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
              w={190}
              aria-label="Filter by experiment"
              placeholder="Any experiment"
              data={experiments?.experiments.map(({ id, name }) => ({ value: id, label: name })) ?? []}
              value={experiment}
              onChange={setExperiment}
              searchable
              clearable
            />
          )}
          <ColumnChoice shown={shown} onChange={setShown} />
        </Group>
      </Group>
      {error && <ErrorAlert title="No runs" message={error.message} />}
      {chosen.length > 0 && (
        <BulkActions
          ids={chosen}
          onClear={() => setSelected({})}
          all={chosen.length < total ? { total, select: selectAll } : undefined}
        />
      )}
      <Paper>
        {list ? (
          <RunsTable
            runs={list.runs}
            shown={shown}
            selected={selected}
            onSelect={setSelected}
            sorting={sorting}
            onSort={([by]) => setSort(by ? `${by.desc ? "-" : ""}${by.id}` : null)}
          />
        ) : (
          <Skeleton h={300} />
        )}
      </Paper>
      {(pages > 1 || number > 1) && (
        <Group justify="center" mt="md">
          <Pagination
            total={pages}
            value={number}
            onChange={(value) => setPage(String(value))}
            size="sm"
            withEdges
            getControlProps={(control) => ({ "aria-label": `${control} page` })}
          />
        </Group>
      )}
    </section>
  );
}

/** Ids of all runs that the filter lets through, on all pages. */
async function matching(filter: RunFilter): Promise<string[]> {
  const ids: string[] = [];
  for (;;) {
    const query = { ...filter, limit: MOST_AT_ONCE, offset: ids.length };
    const { runs, total } = await body(api.GET("/runs", { params: { query } }));
    ids.push(...runs.map(({ id }) => id));
    if (runs.length === 0 || ids.length >= total) return ids;
  }
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
