import { ActionIcon, Anchor, Group, Paper, Skeleton, Table, Text } from "@mantine/core";
import { IconChevronDown, IconChevronRight } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { ColumnVisibilityState, RowSelectionState } from "@tanstack/react-table";
import { Fragment } from "react";
import { Link } from "react-router";

import { STATES, type RunGroup } from "../../api/client";
import { runGroupsQuery, runsQuery, type GroupBy, type RunFilter } from "../../api/queries";
import { integer, meanAndSd, plural } from "../../format";
import { ErrorAlert } from "../shared/ErrorAlert";
import { ExperimentName } from "../shared/ExperimentFacts";
import { Pooling, StateName } from "../shared/RunFacts";
import { RunsTable } from "./RunsTable";
import { useUrlParam } from "../shared/urlState";

/** Runs that an opened group lists; a link leads to all. */
const SHOWN = 10;

type Props = {
  filter: RunFilter;
  by: GroupBy;
  shown: ColumnVisibilityState;
  selected: RowSelectionState;
  onSelect: React.ComponentProps<typeof RunsTable>["onSelect"];
};

/** Runs grouped by what they share: how many, in which states, mean and spread of their top-1. */
export function RunGroups({ filter, by, shown, selected, onSelect }: Props) {
  const [open, setOpen] = useUrlParam("open");
  const { data, error } = useQuery(runGroupsQuery(filter, by));
  if (error) return <ErrorAlert title="No groups" message={error.message} />;
  if (!data) return <Skeleton h={300} />;
  return (
    <Paper>
      <Table.ScrollContainer minWidth={560} type="native">
        <Table fz="sm" horizontalSpacing={8}>
          <Table.Caption className="visually-hidden">Groups of runs, top-1 of completed runs, mean ± SD</Table.Caption>
          <Table.Thead>
            <Table.Tr>
              <Table.Th tt="capitalize">{by}</Table.Th>
              <Table.Th className="right">Runs</Table.Th>
              <Table.Th>States</Table.Th>
              <Table.Th className="right">Best top-1, %</Table.Th>
              <Table.Th className="right">Final top-1, %</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {data.groups.map((group) => {
              const value = group.value ?? "";
              const key = `.${value}`; // an address without `open` differs from one that opens the group without a value
              const isOpen = open === key;
              return (
                <Fragment key={key}>
                  <Row group={group} by={by} isOpen={isOpen} onToggle={() => setOpen(isOpen ? null : key)} />
                  {isOpen && (
                    <Table.Tr>
                      <Table.Td colSpan={5} px={0}>
                        <RunsOfGroup
                          filter={{ ...filter, [by]: value }}
                          by={by}
                          value={value}
                          {...{ shown, selected, onSelect }}
                        />
                      </Table.Td>
                    </Table.Tr>
                  )}
                </Fragment>
              );
            })}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
      {data.groups.length === 0 && (
        <Text c="dimmed" size="sm" ta="center" py="lg">
          No run matches.
        </Text>
      )}
    </Paper>
  );
}

type RowProps = { group: RunGroup; by: GroupBy; isOpen: boolean; onToggle: () => void };

function Row({ group, by, isOpen, onToggle }: RowProps) {
  const Icon = isOpen ? IconChevronDown : IconChevronRight;
  return (
    <Table.Tr>
      <Table.Th scope="row" fw={500}>
        <Group gap={6} wrap="nowrap">
          <ActionIcon
            variant="subtle"
            color="gray"
            size="sm"
            aria-expanded={isOpen}
            aria-label={`Runs with ${by} ${group.value ?? "none"}`}
            onClick={onToggle}
          >
            <Icon size={16} aria-hidden />
          </ActionIcon>
          <GroupName value={group.value} by={by} />
        </Group>
      </Table.Th>
      <Table.Td className="right">{integer(group.runs)}</Table.Td>
      <Table.Td>
        <Group gap="2px 10px">
          {STATES.filter((state) => group.states[state]).map((state) => (
            <StateName key={state} state={state}>
              {integer(group.states[state]!)}
              <span className="visually-hidden"> {state}</span>
            </StateName>
          ))}
        </Group>
      </Table.Td>
      <Table.Td className="right nowrap">{meanAndSd(group.best_top1)}</Table.Td>
      <Table.Td className="right nowrap">
        {meanAndSd(group.final_top1)}
        {group.final_top1 && (
          <Text span inherit c="dimmed">
            {" "}
            n = {group.final_top1.n}
          </Text>
        )}
      </Table.Td>
    </Table.Tr>
  );
}

function GroupName({ value, by }: { value: string | null; by: GroupBy }) {
  if (value === null)
    return (
      <Text inherit c="dimmed">
        no {by}
      </Text>
    );
  if (by === "pooling") return <Pooling name={value} />;
  return <span className="name">{by === "experiment" ? <ExperimentName id={value} /> : value}</span>;
}

function RunsOfGroup({ filter, by, value, ...table }: Omit<Props, "by"> & { by: GroupBy; value: string }) {
  const { data: list } = useQuery(runsQuery({ ...filter, sort: "final_top1", descending: true, limit: SHOWN }));
  if (!list) return <Skeleton h={200} />;
  const address = new URLSearchParams(location.search);
  for (const name of ["group", "open", "page"]) address.delete(name);
  address.set(by, value);
  return (
    <>
      <RunsTable runs={list.runs} label={`Runs with ${by} ${value || "none"}`} sorting={[]} {...table} />
      {list.total > SHOWN && (
        <Anchor component={Link} to={{ search: address.toString() }} size="sm" display="block" px="xs" py="xs">
          All {plural(list.total, "run")} of this group
        </Anchor>
      )}
    </>
  );
}
