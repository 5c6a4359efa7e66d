import {
  Button,
  Code,
  EmptyState,
  Group,
  MultiSelect,
  Pagination,
  Paper,
  Skeleton,
  Text,
  TextInput,
  Title,
} from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconPlayerPlay, IconSearch } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import type { RowSelectionState } from "@tanstack/react-table";
import { useState } from "react";
import { Link, useNavigate } from "react-router";

import { api, body, STATES, type RunSort, type State } from "../api/client";
import { catalogQuery, experimentsQuery, runsQuery } from "../api/queries";
import { ErrorAlert } from "../components/ErrorAlert";
import { ExperimentList } from "../components/ExperimentList";
import { RunsTable } from "../components/RunsTable";
import { useUrlParam } from "../components/urlState";
import { plural } from "../format";

const PAGE_SIZE = 50;

export function BoardPage() {
  const { data: experiments } = useQuery(experimentsQuery);
  const { data: anyRun, error } = useQuery(runsQuery({ limit: 1 }));
  if (error && !anyRun) return <ErrorAlert title="The board does not answer" message={error.message} />;
  if (!experiments || !anyRun) return <Skeleton h={400} />;
  return (
    <>
      <title>CCT Board</title>
      {anyRun.total === 0 ? (
        <EmptyBoard />
      ) : (
        <>
          <Title order={1} className="visually-hidden">
            Board
          </Title>
          {experiments.experiments.length > 0 && (
            <section aria-labelledby="experiments">
              <Title order={2} id="experiments" mb="sm">
                Experiments
              </Title>
              <ExperimentList experiments={experiments.experiments} />
            </section>
          )}
          <Runs />
        </>
      )}
    </>
  );
}

function EmptyBoard() {
  const { data: catalog } = useQuery(catalogQuery);
  const navigate = useNavigate();
  const demo = useMutation({
    mutationFn: () => body(api.POST("/experiments", { body: catalog!.demo })),
    onSuccess: ({ id }) => navigate(`/board/experiments/${id}`),
    onError: (error) => notifications.show({ color: "red", title: "Not queued", message: error.message }),
  });
  return (
    <Paper py={56} px="md">
      <EmptyState
        title={<Title order={1}>Nothing has been trained yet</Title>}
        description="The demo trains a small CCT on bundled images of digits with several poolings and seeds, and compares them live. It needs no download and no GPU."
      >
        <EmptyState.Actions className="centred">
          <Button
            leftSection={<IconPlayerPlay size={16} />}
            onClick={() => demo.mutate()}
            loading={demo.isPending}
            disabled={!catalog}
          >
            Run the demo experiment
          </Button>
          <Button component={Link} to="/board/new" variant="default">
            New run
          </Button>
        </EmptyState.Actions>
        <Text size="sm" c="dimmed" mt="lg">
          Or from a shell:
        </Text>
        <Code block className="command">
          {`curl -X POST ${location.origin}/runs -d '{"dataset": "digits", "epochs": 8}'`}
        </Code>
      </EmptyState>
    </Paper>
  );
}

function Runs() {
  const [states, setStates] = useUrlParam("state", "page");
  const [text, setText] = useUrlParam("text", "page");
  const [sort, setSort] = useUrlParam("sort", "page");
  const [page, setPage] = useUrlParam("page");
  const [selected, setSelected] = useState<RowSelectionState>({});
  const number = Number(page ?? 1);
  const sorting = sort ? [{ id: sort.replace(/^-/, ""), desc: sort.startsWith("-") }] : [];
  const { data: list, error } = useQuery(
    runsQuery({
      state: states ? (states.split(" ") as State[]) : undefined,
      text: text ?? undefined,
      sort: sorting[0]?.id as RunSort | undefined,
      descending: sorting[0]?.desc,
      limit: PAGE_SIZE,
      offset: (number - 1) * PAGE_SIZE,
    }),
  );
  const search = useDebouncedCallback(setText, 250);
  const chosen = Object.keys(selected).filter((id) => selected[id]);
  const pages = Math.ceil((list?.total ?? 0) / PAGE_SIZE);

  return (
    <section aria-labelledby="runs">
      <Group justify="space-between" mt="xl" mb="sm" gap="sm">
        <Group gap="xs" align="baseline">
          <Title order={2} id="runs">
            Runs
          </Title>
          <Text size="sm" c="dimmed">
            {list && plural(list.total, "run")}
          </Text>
        </Group>
        <Group gap="sm">
          {chosen.length > 0 && (
            <Button component={Link} to={`/board/compare?${chosen.map((id) => `run=${id}`).join("&")}`} size="xs">
              Compare {plural(chosen.length, "run")}
            </Button>
          )}
          <MultiSelect
            size="xs"
            aria-label="Filter by state"
            placeholder={states ? undefined : "Any state"}
            data={[...STATES]}
            value={states ? states.split(" ") : []}
            onChange={(value) => setStates(value.join(" "))}
            clearable
          />
          <TextInput
            size="xs"
            type="search"
            aria-label="Filter by text"
            placeholder="Model, pooling, dataset, id"
            leftSection={<IconSearch size={14} aria-hidden />}
            defaultValue={text ?? ""}
            onChange={(event) => search(event.currentTarget.value)}
          />
        </Group>
      </Group>
      {error && <ErrorAlert title="No runs" message={error.message} />}
      <Paper>
        {list ? (
          <RunsTable
            runs={list.runs}
            selected={selected}
            onSelect={setSelected}
            sorting={sorting}
            onSort={([by]) => setSort(by ? `${by.desc ? "-" : ""}${by.id}` : null)}
          />
        ) : (
          <Skeleton h={300} />
        )}
      </Paper>
      {pages > 1 && (
        <Group justify="center" mt="md">
          <Pagination
            total={pages}
            value={number}
            onChange={(value) => setPage(String(value))}
            size="sm"
            getControlProps={(control) => ({ "aria-label": `${control} page` })}
          />
        </Group>
      )}
    </section>
  );
}
