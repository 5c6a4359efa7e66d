import { Anchor, Checkbox, Table, Text, UnstyledButton, VisuallyHidden } from "@mantine/core";
import { IconArrowDown, IconArrowsSort, IconArrowUp } from "@tabler/icons-react";
import {
  columnVisibilityFeature,
  createColumnHelper,
  FlexRender,
  rowSelectionFeature,
  rowSortingFeature,
  tableFeatures,
  useTable,
  type ColumnVisibilityState,
  type Row,
  type RowSelectionState,
  type SortingState,
} from "@tanstack/react-table";
import { memo, useDeferredValue, useMemo } from "react";
import { Link } from "react-router";

import { onRun } from "../../api/actions";
import type { Run } from "../../api/client";
import { LIMITS } from "../../api/limits";
import { duration, integer, moment, percent } from "../../format";
import { CancelButton } from "../shared/CancelButton";
import { EditableTags } from "./EditableTags";
import { EditableText } from "../shared/EditableText";
import { ExperimentName } from "../shared/ExperimentFacts";
import { QueuePlace, Waiting } from "../shared/QueuePlace";
import { Archived, PoolingWithBadge, RunProgress, StateLabel } from "../shared/RunFacts";
import { WarningsMark } from "../shared/Warnings";
import { Curve, Curves } from "./Sparkline";

const features = tableFeatures({ columnVisibilityFeature, rowSelectionFeature, rowSortingFeature });

const column = createColumnHelper<typeof features, Run>();
const NUMERIC = [
  "seed",
  "lr",
  "priority",
  "eta_seconds",
  "best_top1",
  "final_top1",
  "test_top1",
  "final_balanced",
  "seconds",
  "speed",
  "started_at",
];

const SELECT = "select";

const cellClass = (id: string) => (NUMERIC.includes(id) ? "right nowrap" : id === SELECT ? "not-on-phones" : undefined);

const columns = column.columns([
  column.display({
    id: SELECT,
    enableHiding: false,
    header: ({ table }) => (
      <Checkbox
        size="xs"
        aria-label="Select all runs on this page"
        checked={table.getIsAllRowsSelected()}
        indeterminate={table.getIsSomeRowsSelected() && !table.getIsAllRowsSelected()}
        onChange={table.getToggleAllRowsSelectedHandler()}
      />
    ),
  }),
  column.accessor("state", {
    id: "state",
    header: "State",
    cell: ({ row: { original: run } }) => (
      <>
        <StateLabel run={run} /> {run.archived && <Archived />} <WarningsMark run={run} />
      </>
    ),
  }),
  column.accessor("epoch", { id: "epoch", header: "Epochs", cell: ({ row }) => <RunProgress run={row.original} /> }),
  column.accessor((run) => run.spec.model, {
    id: "model",
    header: "Model",
    enableHiding: false,
    cell: ({ row: { original: run } }) => (
      <Anchor component={Link} to={`/board/runs/${run.id}`} size="sm" title={`Run ${run.id}`}>
        {run.spec.model}
        <VisuallyHidden> run {run.id}</VisuallyHidden>
      </Anchor>
    ),
  }),
  column.accessor((run) => run.spec.pooling, {
    id: "pooling",
    header: "Pooling",
    cell: ({ row }) => <PoolingWithBadge run={row.original} />,
  }),
  column.accessor(({ spec }) => [spec.dataset, spec.image_folder].filter(Boolean).join("/"), {
    id: "dataset",
    header: "Dataset",
    cell: ({ getValue }) => (
      <Text inherit truncate maw={180} title={getValue()}>
        {getValue()}
      </Text>
    ),
  }),
  column.accessor((run) => run.spec.seed, { id: "seed", header: "Seed" }),
  column.display({ id: "lr", header: "Learning rate", cell: ({ row }) => row.original.spec.lr }),
  column.display({
    id: "experiment",
    header: "Experiment",
    cell: ({ row: { original: run } }) =>
      run.experiment_id ? (
        <Text inherit truncate maw={180}>
          <ExperimentName id={run.experiment_id} />
        </Text>
      ) : (
        "–"
      ),
  }),
  column.display({
    id: "queue",
    header: "Queue",
    cell: ({ row: { original: run } }) =>
      run.state !== "queued" ? (
        "–"
      ) : (
        // As wide as what is read next, so that the table keeps its widths.
        <Text span inherit display="inline-block" miw={84}>
          <QueuePlace id={run.id} />
        </Text>
      ),
  }),
  column.display({ id: "priority", header: "Priority", cell: ({ row }) => row.original.priority }),
  column.accessor((run) => run.eta_seconds ?? undefined, {
    id: "eta_seconds",
    header: "ETA",
    cell: ({ getValue }) => duration(getValue()),
  }),
  column.accessor((run) => run.best_top1 ?? undefined, {
    id: "best_top1",
    header: "Best top-1",
    cell: ({ getValue }) => percent(getValue()),
  }),
  column.accessor((run) => run.final_top1 ?? undefined, {
    id: "final_top1",
    header: "Final top-1",
    cell: ({ getValue }) => percent(getValue()),
  }),
  column.accessor((run) => run.test_top1 ?? undefined, {
    id: "test_top1",
    header: "Test top-1",
    cell: ({ getValue }) => percent(getValue()),
  }),
  column.display({
    id: "final_balanced",
    header: "Balanced accuracy",
    cell: ({ row }) => percent(row.original.final_balanced),
  }),
  column.display({
    id: "curve",
    header: "Top-1 by epoch",
    cell: ({ row }) => <Curve id={row.id} />,
  }),
  column.display({
    id: "seconds",
    header: "Training time",
    cell: ({ row: { original: run } }) => duration(run.seconds || null),
  }),
  column.display({
    id: "speed",
    header: "Images/s",
    cell: ({ row: { original: run } }) =>
      run.images_per_second == null ? "–" : integer(Math.round(run.images_per_second)),
  }),
  column.display({
    id: "device",
    header: "Device",
    cell: ({ row }) => (
      <Text inherit truncate maw={180} title={row.original.device ?? undefined}>
        {row.original.device ?? "–"}
      </Text>
    ),
  }),
  column.accessor((run) => run.started_at ?? undefined, {
    id: "started_at",
    header: "Started",
    cell: ({ getValue }) => (getValue() ? moment(getValue()!) : "–"),
  }),
  column.display({ id: "author", header: "Queued by", cell: ({ row }) => row.original.author || "–" }),
  column.display({ id: "tags", header: "Tags", cell: ({ row }) => <EditableTags run={row.original} /> }),
  column.display({
    id: "note",
    header: "Note",
    cell: ({ row: { original: run } }) => (
      <EditableText
        label={`Note of run ${run.id}`}
        value={run.note}
        maxLength={LIMITS.note_length}
        multiline
        save={(note) => onRun.edit(run.id, { note })}
      >
        <Text size="xs" lineClamp={2} w={200}>
          {run.note}
        </Text>
      </EditableText>
    ),
  }),
  column.display({
    id: "cancel",
    enableHiding: false,
    header: () => <VisuallyHidden>Cancel</VisuallyHidden>,
    cell: ({ row: { original: run } }) =>
      (run.state === "queued" || run.state === "running") &&
      !run.cancelling && <CancelButton what="run" id={run.id} compact />,
  }),
]);

/** Columns that can be hidden, and which are shown until the user chooses. */
export const HIDEABLE = columns.flatMap(({ id, header, enableHiding }) =>
  enableHiding === false || typeof header !== "string" ? [] : [{ id: id!, header }],
);
const HEADS = new Map(columns.map(({ id, header }) => [id, typeof header === "string" ? header : undefined]));

const AT_FIRST_HIDDEN = [
  "lr",
  "experiment",
  "priority",
  "test_top1",
  "final_balanced",
  "seconds",
  "speed",
  "device",
  "author",
  "tags",
  "note",
];
export const AT_FIRST: ColumnVisibilityState = Object.fromEntries(AT_FIRST_HIDDEN.map((id) => [id, false]));

type Props = {
  runs: Run[];
  shown: ColumnVisibilityState;
  selected: RowSelectionState;
  onSelect: (update: RowSelectionState | ((now: RowSelectionState) => RowSelectionState)) => void;
  sorting: SortingState;
  /** Absent where the order cannot be chosen. */
  onSort?: (sorting: SortingState) => void;
  label?: string;
};

/** One page of runs, in the order in which the server sent them. */
export function RunsTable({ runs: newest, shown, selected, onSelect, sorting, onSort, label = "Runs" }: Props) {
  const runs = useDeferredValue(newest); // a click shows at once, the many rows that it leads to a moment later
  const table = useTable({
    features,
    columns,
    data: runs,
    getRowId: (run) => run.id,
    state: { sorting, rowSelection: selected, columnVisibility: shown },
    onRowSelectionChange: onSelect,
    onSortingChange: (update) => onSort?.(typeof update === "function" ? update(sorting) : update),
    manualSorting: true,
  });

  const waiting = useMemo(() => runs.filter(({ state }) => state === "queued").map(({ id }) => id), [runs]);
  const columnsShown = table
    .getVisibleLeafColumns()
    .map(({ id }) => id)
    .join();

  return (
    <Curves ids={shown.curve === false ? [] : runs.map(({ id }) => id)}>
      <Table.ScrollContainer minWidth={980} type="native">
        <Table className="cards" highlightOnHover highlightOnHoverColor="var(--hovered)" fz="sm" horizontalSpacing={8}>
          <Table.Caption className="visually-hidden">{label}</Table.Caption>
          <Table.Thead>
            {table.getHeaderGroups().map((group) => (
              <Table.Tr key={group.id}>
                {group.headers.map((header) => (
                  <HeaderCell
                    key={header.id}
                    id={header.column.id}
                    sorted={onSort && header.column.getCanSort() ? header.column.getIsSorted() : undefined}
                    onSort={header.column.getToggleSortingHandler()}
                  >
                    <table.FlexRender header={header} />
                  </HeaderCell>
                ))}
              </Table.Tr>
            ))}
          </Table.Thead>
          <Waiting value={waiting}>
            <Table.Tbody>
              {table.getRowModel().rows.map((row) => (
                <RunRow key={row.id} {...{ row, columnsShown }} run={row.original} isSelected={row.getIsSelected()} />
              ))}
            </Table.Tbody>
          </Waiting>
        </Table>
        {runs.length === 0 && (
          <Text c="dimmed" size="sm" ta="center" py="lg">
            No run matches.
          </Text>
        )}
      </Table.ScrollContainer>
    </Curves>
  );
}

type RowProps = { row: Row<typeof features, Run>; run: Run; isSelected: boolean; columnsShown: string };

/** Drawn anew only if something of it has changed: with each event of a busy board, that is one of many. */
const RunRow = memo(
  function RunRow({ row, run, isSelected, columnsShown }: RowProps) {
    return (
      <Table.Tr data-selected={isSelected || undefined}>
        <Table.Td className={cellClass(SELECT)}>
          <input
            type="checkbox"
            aria-label={`Select run ${row.id}`}
            checked={isSelected}
            onChange={row.getToggleSelectedHandler()}
          />
        </Table.Td>
        <Facts {...{ row, run, columnsShown }} />
      </Table.Tr>
    );
  },
  (before, now) =>
    before.run === now.run && before.isSelected === now.isSelected && before.columnsShown === now.columnsShown,
);

/** What does not change when the run is selected, as all of a page can be at once. */
const Facts = memo(
  function Facts({ row }: Omit<RowProps, "isSelected">) {
    return row.getVisibleCells().map(
      (cell) =>
        cell.column.id !== SELECT && (
          <Table.Td key={cell.id} className={cellClass(cell.column.id)} data-label={HEADS.get(cell.column.id)}>
            <FlexRender cell={cell} />
          </Table.Td>
        ),
    );
  },
  (before, now) => before.run === now.run && before.columnsShown === now.columnsShown,
);

type HeaderProps = {
  id: string;
  sorted: false | "asc" | "desc" | undefined;
  onSort?: (event: unknown) => void;
  children: React.ReactNode;
};

function HeaderCell({ id, sorted, onSort, children }: HeaderProps) {
  const className = cellClass(id);
  if (sorted === undefined) return <Table.Th className={className}>{children}</Table.Th>;
  const Icon = sorted === "asc" ? IconArrowUp : sorted === "desc" ? IconArrowDown : IconArrowsSort;
  return (
    <Table.Th
      className={className}
      aria-sort={sorted === "asc" ? "ascending" : sorted === "desc" ? "descending" : "none"}
    >
      <UnstyledButton onClick={onSort}>
        {children}
        <Icon size={13} aria-hidden />
      </UnstyledButton>
    </Table.Th>
  );
}
