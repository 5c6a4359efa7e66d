import { Code, Group, Paper, Table, Text, Tooltip, UnstyledButton } from "@mantine/core";
import { IconArrowDown, IconArrowUp } from "@tabler/icons-react";
import { Fragment } from "react";

import type { Comparison, Stat } from "../../api/client";
import { meanAndSd } from "../../format";
import { pValue } from "./exportTable";
import { MixesBatchBadge, Variant } from "../shared/RunFacts";
import { useUrlParam } from "../shared/urlState";

type Row = Comparison["variants"][number];

/** Columns by which the table can be sorted, by their name in the address. */
const SORTED = {
  final: (row: Row) => row.final?.mean,
  best: (row: Row) => row.best?.mean,
  test: (row: Row) => row.test?.mean,
  minutes: (row: Row) => row.minutes?.mean,
  difference: (row: Row) => row.difference?.mean,
  p: (row: Row) => row.difference?.p_corrected,
};
type Sorted = keyof typeof SORTED;

const FINAL = "Final top-1 (%)";
const BEST = "Best top-1 (%)";
const TEST = "Test top-1 (%)";
const MINUTES = "Minutes";
const DIFFERENCE = "Difference (points)";

/** Variants over seeds with their differences to the baseline, and what others published under the same conditions. */
export function ComparisonTable({ comparison }: { comparison: Comparison }) {
  const { factors, baseline, levels, references, other_references: others } = comparison;
  const [order] = useUrlParam("order");
  const rows = sorted(comparison.variants, order);
  const hasTest = rows.some(({ test }) => test !== null);
  return (
    <>
      <Paper>
        <Table.ScrollContainer minWidth={860} type="native">
          <Table fz="sm" className="named-rows cards">
            <Table.Caption className="visually-hidden">Comparison</Table.Caption>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{factors.join(", ").replaceAll("_", " ")}</Table.Th>
                <Table.Th className="right">Seeds</Table.Th>
                <SortableHead by="final" hint="Mean ± SD over seeds; below, the 95 % confidence interval of the mean">
                  {FINAL}
                </SortableHead>
                <SortableHead
                  by="best"
                  hint="Highest top-1 of any epoch: it flatters, for it is chosen on the images that it is measured on"
                >
                  {BEST}
                </SortableHead>
                {hasTest && (
                  <SortableHead
                    by="test"
                    hint="On the test set after the last epoch: each run with held-out data has read it once, when it had ended"
                  >
                    {TEST}
                  </SortableHead>
                )}
                <SortableHead by="minutes">{MINUTES}</SortableHead>
                <SortableHead
                  by="difference"
                  hint={`${comparison.measure} minus the baseline's, paired by seed, over seeds that both have completed`}
                >
                  {DIFFERENCE}
                </SortableHead>
                <SortableHead by="p" hint="Of the paired t-test, corrected after Holm for the number of variants">
                  p
                </SortableHead>
                <Table.Th className="right">
                  <Tooltip label="Effect size d_z: mean of the paired differences over their standard deviation">
                    <span tabIndex={0}>Effect</span>
                  </Tooltip>
                </Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {rows.map((row) => (
                <Fragment key={row.variant}>
                  <Table.Tr>
                    <Table.Th scope="row" fw={500}>
                      <Group gap="2px 8px">
                        <Variant name={row.variant} color={row.color} />
                        <MixesBatchBadge mixes={row.mixes_batch} />
                      </Group>
                      {row.formula && (
                        <Code fz="xs" bg="transparent" c="dimmed" pl="1rem" className="not-on-phones">
                          {row.formula}
                        </Code>
                      )}
                    </Table.Th>
                    <Table.Td className="right nowrap" data-label="Seeds">
                      {row.finished < row.runs ? `${row.finished} of ${row.runs} done` : row.seeds}
                    </Table.Td>
                    <StatCell label={FINAL} stat={row.final} interval />
                    <StatCell label={BEST} stat={row.best} />
                    {hasTest && <StatCell label={TEST} stat={row.test} interval />}
                    <StatCell label={MINUTES} stat={row.minutes} digits={1} />
                    {row.variant === baseline ? (
                      <Table.Td className="right" c="dimmed" data-label={DIFFERENCE}>
                        baseline
                      </Table.Td>
                    ) : (
                      <StatCell
                        label={DIFFERENCE}
                        stat={row.difference}
                        signed
                        interval
                        outcome={row.outcome ?? undefined}
                      />
                    )}
                    <Table.Td className="right nowrap" data-label="p">
                      {row.variant !== baseline && pValue(row.difference?.p_corrected)}
                    </Table.Td>
                    <Table.Td className="right nowrap" data-label="Effect">
                      {row.variant !== baseline && (row.difference?.effect_size?.toFixed(2).replace("-", "−") ?? "–")}
                    </Table.Td>
                  </Table.Tr>
                  {levels.length > 1 &&
                    row.levels.map((at, position) => (
                      <LevelRow
                        key={at.level}
                        at={at}
                        isBaseline={row.variant === baseline}
                        isAveraged={levels[position]?.averaged ?? false}
                        hasTest={hasTest}
                      />
                    ))}
                </Fragment>
              ))}
              {references.map((result) => (
                <Table.Tr key={identity(result)}>
                  <Table.Th scope="row" fw={400} colSpan={2}>
                    {result.label}: {result.pooling}
                    <Text size="xs" c="dimmed" className="not-on-phones">
                      {result.model} on {result.dataset}, {result.epochs ? `${result.epochs} epochs` : "no training"},{" "}
                      {result.said}. {result.source}
                    </Text>
                  </Table.Th>
                  <Table.Td className="right" data-label={FINAL}>
                    {result.final?.toFixed(2) ?? "–"}
                  </Table.Td>
                  <Table.Td className="right" data-label={BEST}>
                    {result.best?.toFixed(2) ?? "–"}
                  </Table.Td>
                  {hasTest && <Table.Td />}
                  <Table.Td colSpan={4} />
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      </Paper>
      <Text size="sm" c="dimmed" mt={6} maw="90ch">
        {comparison.validated}
      </Text>
      {others.length > 0 && (
        <details className="more">
          <summary>Published results that are not comparable ({others.length})</summary>
          <ul className="others">
            {others.map((result) => (
              <li key={identity(result)}>
                {result.label}, {result.model} with {result.pooling} on {result.dataset}: {result.said}.{" "}
                {result.why_not}{" "}
                <Text span inherit c="dimmed">
                  {result.source}
                </Text>
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

type LevelRowProps = { at: Row["levels"][number]; isBaseline: boolean; isAveraged: boolean; hasTest: boolean };

/** A variant at one level of what else varies, below the mean over those that all variants have completed. */
function LevelRow({ at, isBaseline, isAveraged, hasTest }: LevelRowProps) {
  return (
    <Table.Tr>
      <Table.Th scope="row" fw={400} pl="xl">
        at {at.level}
        {!isAveraged && (
          <Text size="xs" c="dimmed">
            left out of the mean
          </Text>
        )}
      </Table.Th>
      <Table.Td className="right" data-label="Seeds">
        {at.final?.n ?? "missing"}
      </Table.Td>
      <StatCell label={FINAL} stat={at.final} interval />
      <Table.Td />
      {hasTest && <StatCell label={TEST} stat={at.test} interval />}
      <Table.Td />
      {isBaseline ? (
        <Table.Td className="right" c="dimmed" data-label={DIFFERENCE}>
          baseline
        </Table.Td>
      ) : (
        <StatCell label={DIFFERENCE} stat={at.difference} signed interval outcome={at.outcome ?? undefined} />
      )}
      <Table.Td className="right nowrap" data-label="p">
        {!isBaseline && pValue(at.difference?.p_corrected)}
      </Table.Td>
      <Table.Td className="right nowrap" data-label="Effect">
        {!isBaseline && (at.difference?.effect_size?.toFixed(2).replace("-", "−") ?? "–")}
      </Table.Td>
    </Table.Tr>
  );
}

const identity = (of: Comparison["references"][number]) =>
  [of.label, of.model, of.dataset, of.epochs, of.recipe, of.pooling, of.said].join(" ");

/** The order of the catalog, unless the address names another: `final`, or `-final` for the highest first. */
function sorted(rows: Row[], order: string | null): Row[] {
  const by = order?.replace("-", "") ?? "";
  if (!(by in SORTED)) return rows;
  const value = SORTED[by as Sorted];
  const sign = order!.startsWith("-") ? -1 : 1;
  return rows.toSorted((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left == null || right == null) return Number(left == null) - Number(right == null);
    return sign * (left - right);
  });
}

/** Sorts by the column: highest first, lowest first, as in the catalog. */
function SortableHead({ by, hint, children }: { by: Sorted; hint?: string; children: string }) {
  const [order, setOrder] = useUrlParam("order");
  const direction = order === by ? "ascending" : order === `-${by}` ? "descending" : "none";
  const next = { none: `-${by}`, descending: by, ascending: null }[direction];
  const Arrow = direction === "ascending" ? IconArrowUp : IconArrowDown;
  return (
    <Table.Th className="right" aria-sort={direction}>
      <Tooltip label={hint} disabled={!hint}>
        <UnstyledButton onClick={() => setOrder(next)}>
          {children}
          <Arrow size={14} aria-hidden />
        </UnstyledButton>
      </Tooltip>
    </Table.Th>
  );
}

type StatCellProps = {
  label: string;
  stat: Stat | null;
  digits?: number;
  signed?: boolean;
  interval?: boolean;
  outcome?: string;
};

function StatCell({ label, stat, digits, signed, interval, outcome }: StatCellProps) {
  const title = stat ? `n = ${stat.n}${stat.sd == null ? "" : "; mean ± sample standard deviation"}` : undefined;
  return (
    <Table.Td className="right nowrap" title={title} data-label={label} data-outcome={outcome}>
      {meanAndSd(stat, digits, signed)}
      {interval && stat?.low != null && stat.high != null && (
        <Text size="xs" c="dimmed">
          {`${stat.low.toFixed(2)} to ${stat.high.toFixed(2)}`.replaceAll("-", "−")}
        </Text>
      )}
    </Table.Td>
  );
}
