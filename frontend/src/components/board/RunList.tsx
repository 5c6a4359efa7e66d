import { Group, NativeSelect, Pagination, Paper, Text, Title } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import type { ColumnVisibilityState, RowSelectionState } from "@tanstack/react-table";
import { useEffect, useState } from "react";
import { useSearchParams } from "react-router";

import { allRuns, runsQuery, type GroupBy } from "../../api/queries";
import { plural } from "../../format";
import { BulkActions } from "./BulkActions";
import { Pending } from "../shared/Pending";
import { filterOf, sortingOf } from "./runFilter";
import { RunFilters } from "./RunFilters";
import { RunGroups } from "./RunGroups";
import { AT_FIRST, HIDEABLE, RunsTable } from "./RunsTable";
import { useArrival, useUrlParam } from "../shared/urlState";

const PAGE_SIZES = ["50", "100", "250"];

/** All runs. What is shown, and how, is in the address; the shown columns are remembered by this browser too. */
export function RunList() {
  const [params] = useSearchParams();
  const [, setSort] = useUrlParam("sort", "page");
  const [page, setPage] = useUrlParam("page");
  const [size, setSize] = useUrlParam("size", "page");
  const [shown, setShown] = useShownColumns();
  const [selected, setSelected] = useState<RowSelectionState>({});
  const filter = filterOf(params);
  const sorting = sortingOf(params);
  const group = params.get("group") as GroupBy | null;
  const limit = Number(size ?? PAGE_SIZES[0]);
  const number = Number(page ?? 1);
  const order = { sort: sorting[0]?.id, descending: sorting[0]?.desc };
  const { data: list, error } = useQuery(runsQuery({ ...filter, ...order, limit, offset: (number - 1) * limit }));
  const chosen = Object.keys(selected).filter((id) => selected[id]);
  const total = list?.total ?? 0;
  const pages = Math.ceil(total / limit);
  const selectAll = async () => {
    const { runs } = await allRuns(filter);
    setSelected(Object.fromEntries(runs.map(({ id }) => [id, true])));
  };

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
        <RunFilters shown={shown} onShow={setShown} />
      </Group>
      {chosen.length > 0 && (
        <BulkActions
          ids={chosen}
          onClear={() => setSelected({})}
          canArchive={filter.archived !== "only"}
          canUnarchive={filter.archived !== undefined}
          all={chosen.length < total ? { total, select: selectAll } : undefined}
        />
      )}
      {group ? (
        <RunGroups filter={filter} by={group} shown={shown} selected={selected} onSelect={setSelected} />
      ) : (
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
            <Pending what="list of runs" error={error} h={300} />
          )}
        </Paper>
      )}
      {!group && (pages > 1 || number > 1 || size) && (
        <Group justify="center" mt="md">
          <Pagination
            total={pages}
            value={number}
            onChange={(value) => setPage(String(value))}
            size="sm"
            withEdges
            getControlProps={(control) => ({ "aria-label": `${control} page` })}
          />
          <NativeSelect
            size="xs"
            aria-label="Runs per page"
            data={PAGE_SIZES.map((value) => ({ value, label: `${value} per page` }))}
            value={size ?? PAGE_SIZES[0]}
            onChange={(event) => setSize(event.currentTarget.value)}
          />
        </Group>
      )}
    </section>
  );
}

/** The address decides which columns are shown; without its word, what this browser showed last. */
function useShownColumns(): [ColumnVisibilityState, (shown: ColumnVisibilityState) => void] {
  const [named, setNamed] = useUrlParam("columns");
  const [kept, keep] = useLocalStorage({ key: "columns", defaultValue: AT_FIRST, getInitialValueInEffect: false });
  const [chosen, setChosen] = useState<ColumnVisibilityState>(); // at once, while the address follows a moment later
  const arrival = useArrival();
  // biome-ignore lint/correctness/useExhaustiveDependencies: where a link leads to, what was chosen before is no longer asked for
  useEffect(() => setChosen(undefined), [arrival]);
  const names = named?.split(" ");
  const asked = names && Object.fromEntries(HIDEABLE.map(({ id }) => [id, names.includes(id)]));
  const choose = (columns: ColumnVisibilityState) => {
    setChosen(columns);
    keep(columns);
    setNamed(HIDEABLE.flatMap(({ id }) => (columns[id] === false ? [] : [id])).join(" "));
  };
  return [chosen ?? asked ?? kept, choose];
}
