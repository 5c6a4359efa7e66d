import { ActionIcon, Anchor, Button, Group, Paper, Table, Text } from "@mantine/core";
import { IconChevronDown, IconChevronRight } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { ColumnVisibilityState, RowSelectionState } from "@tanstack/react-table";
import { Fragment } from "react";
import { Link } from "react-router";

import { STATES, type RunGroup } from "../../api/client";
import { runGroupsQuery, runsQuery, type GroupBy, type RunFilter } from "../../api/queries";
import { integer, meanAndSd, plural } from "../../format";
import { Pending } from "../shared/Pending";
import { ExperimentName } from "../shared/ExperimentFacts";
import { Pooling, StateName } from "../shared/RunFacts";
import { RunsTable } from "./RunsTable";
import { useUrlParam } from "../shared/urlState";

/** Runs that an opened group lists; a link leads to all. */
const SHOWN = 10;
/** Fields that are named as mixed, and values of each. */
const FIELDS = 3;
const VALUES = 4;

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
  const [splitParam, setSplit] = useUrlParam("split", "open");
  const split = splitParam?.split(",") ?? [];
  const { data, error } = useQuery(runGroupsQuery(filter, by, split));
  if (!data) return <Pending what="list of groups" error={error} h={300} />;
  const hasTest = data.groups.some(({ test_top1 }) => test_top1 !== null);
  return (
    <Paper>
      {split.length > 0 && (
        <Group gap="xs" px="xs" pt="xs">
          <Text size="sm">
            Groups are split by {split.join(", ").replaceAll("_", " ")}: each holds only runs of equal values.
          </Text>
          <Button size="compact-xs" variant="default" onClick={() => setSplit(null)}>
            Do not split
          </Button>
        </Group>
      )}
      <Table.ScrollContainer minWidth={560} type="native">
        <Table className="cards" fz="sm" horizontalSpacing={8}>
          <Table.Caption className="visually-hidden">Groups of runs, top-1 of completed runs, mean ± SD</Table.Caption>
          <Table.Thead>
            <Table.Tr>
              <Table.Th tt="capitalize">{by}</Table.Th>
              <Table.Th className="right">Runs</Table.Th>
              <Table.Th>States</Table.Th>
              <Table.Th className="right">Best top-1, %</Table.Th>
              <Table.Th className="right">Final top-1, %</Table.Th>
              {hasTest && <Table.Th className="right">Test top-1, %</Table.Th>}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {data.groups.map((group) => {
              const value = group.value ?? "";
              const where = Object.entries(group.split).map(([field, text]) => `${field}=${text}`);
              const key = `.${[value, ...where].join(" ")}`; // an address without `open` differs from one that opens the group without a value
              const isOpen = open === key;
              return (
                <Fragment key={key}>
                  <Row
                    group={group}
                    by={by}
                    isOpen={isOpen}
                    hasTest={hasTest}
                    onToggle={() => setOpen(isOpen ? null : key)}
                    onSplit={(fields) => setSplit([...split, ...fields].join(","))}
                  />
                  {isOpen && (
                    <Table.Tr>
                      <Table.Td colSpan={hasTest ? 6 : 5} px={0}>
                        <RunsOfGroup
                          filter={{ ...filter, [by]: value, where }}
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

type RowProps = {
  group: RunGroup;
  by: GroupBy;
  isOpen: boolean;
  hasTest: boolean;
  onToggle: () => void;
  onSplit: (fields: string[]) => void;
};

function Row({ group, by, isOpen, hasTest, onToggle, onSplit }: RowProps) {
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
          {Object.entries(group.split).map(([field, text]) => (
            <Text key={field} span size="xs" c="dimmed">
              {field.replaceAll("_", " ")} {text || "none"}
            </Text>
          ))}
        </Group>
        <Mixed mixed={group.mixed} onSplit={onSplit} />
      </Table.Th>
      <Table.Td className="right" data-label="Runs">
        {integer(group.runs)}
      </Table.Td>
      <Table.Td data-label="States">
        <Group gap="2px 10px">
          {STATES.filter((state) => group.states[state]).map((state) => (
            <StateName key={state} state={state}>
              {integer(group.states[state]!)}
              <span className="visually-hidden"> {state}</span>
            </StateName>
          ))}
        </Group>
      </Table.Td>
      <Table.Td className="right nowrap" data-label="Best top-1, %">
        {meanAndSd(group.best_top1)}
      </Table.Td>
      <Table.Td className="right nowrap" data-label="Final top-1, %">
        {meanAndSd(group.final_top1)}
        {group.final_top1 && (
          <Text span inherit c="dimmed">
            {" "}
            n = {group.final_top1.n}
          </Text>
        )}
      </Table.Td>
      {hasTest && (
        <Table.Td className="right nowrap" data-label="Test top-1, %">
          {meanAndSd(group.test_top1)}
        </Table.Td>
      )}
    </Table.Tr>
  );
}

/** What a group's mean goes over, besides seeds, and a way to have only like with like. */
function Mixed({ mixed, onSplit }: { mixed: RunGroup["mixed"]; onSplit: RowProps["onSplit"] }) {
  const fields = Object.keys(mixed);
  if (fields.length === 0) return null;
  const told = Object.entries(mixed).map(([field, values]) => {
    const shown = values.slice(0, VALUES).map((value) => value || "none");
    return `${field.replaceAll("_", " ")} ${shown.join(", ")}${values.length > VALUES ? ", …" : ""}`;
  });
  return (
    <Group gap={6} pl={30}>
      <Text size="xs" c="dimmed" fw={400} maw="60ch">
        mixed: {told.slice(0, FIELDS).join(" · ")}
        {told.length > FIELDS && ` · ${told.length - FIELDS} more`}
      </Text>
      <Button size="compact-xs" variant="default" onClick={() => onSplit(fields)}>
        Split
      </Button>
    </Group>
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
  const { data: list, error } = useQuery(runsQuery({ ...filter, sort: "final_top1", descending: true, limit: SHOWN }));
  if (!list) return <Pending what="list of runs" error={error} h={200} />;
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
