import { Anchor, Paper, SimpleGrid, Table, Text, Title, useComputedColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import type { Experiment } from "../../api/client";
import { parallelQuery, trialsQuery, tuningQuery } from "../../api/queries";
import { percent, plural } from "../../format";
import { Pending } from "../shared/Pending";
import { AskedFigure } from "../shared/Figure";

const told = (settings: Record<string, unknown>) =>
  Object.entries(settings)
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${String(value)}`)
    .join(", ");

/** The trials of a search: what they found, what matters, and where the best settings are compared. */
export function TuningPanel({ experiment: { id, plan_state } }: { experiment: Experiment }) {
  const theme = useComputedColorScheme("light");
  const { data: tuned, error } = useQuery(tuningQuery(id));
  const trials = useQuery(trialsQuery({ experiment: id, theme }));
  const parallel = useQuery(parallelQuery({ experiment: id, theme }));
  if (!tuned) return <Pending what="search" error={error} h={320} />;
  return (
    <section aria-labelledby="tuning">
      <Title order={2} id="tuning" mb={6}>
        Tuning
      </Title>
      <Paper p="md" mb="md">
        <Text size="sm" mb="sm" maw="90ch">
          Each variant gets {tuned.told}. Trials are chosen by what they measure on held-out training data; none of them
          reads the test set.{" "}
          {tuned.comparison ? (
            <Anchor component={Link} to={`/board/experiments/${tuned.comparison}`} inherit underline="always">
              The best settings are compared on fresh seeds.
            </Anchor>
          ) : plan_state === "open" ? (
            "When all have ended, the best setting of each is trained with fresh seeds, and that is compared."
          ) : (
            "The search ended without a comparison."
          )}
        </Text>
        <Table.ScrollContainer minWidth={520} type="native">
          <Table fz="sm" className="named-rows cards">
            <Table.Caption className="visually-hidden">Best settings</Table.Caption>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>variant</Table.Th>
                <Table.Th className="right">Trials</Table.Th>
                <Table.Th className="right">First trial</Table.Th>
                <Table.Th className="right">Best trial</Table.Th>
                <Table.Th>Best setting</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {tuned.variants.map(({ variant, trials: tried, best }) => (
                <Table.Tr key={variant}>
                  <Table.Th scope="row" fw={500}>
                    {variant}
                  </Table.Th>
                  <Table.Td className="right" data-label="Trials">
                    {counted(tried)}
                  </Table.Td>
                  <Table.Td className="right" data-label="First trial">
                    {percent(tried[0]?.top1)}
                  </Table.Td>
                  <Table.Td className="right" data-label="Best trial">
                    {best ? (
                      <Anchor component={Link} to={`/board/runs/${best.run}`} inherit underline="always">
                        {percent(best.top1)}
                      </Anchor>
                    ) : (
                      "–"
                    )}
                  </Table.Td>
                  <Table.Td data-label="Best setting">{best ? told(best.settings) : "–"}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
        {tuned.changed && (
          <Text size="sm" mt="sm" maw="90ch">
            {tuned.changed}
          </Text>
        )}
        {Object.keys(tuned.importance).length > 0 && (
          <Text size="sm" mt={4}>
            Share of the results that each field decides:{" "}
            {Object.entries(tuned.importance)
              .toSorted(([, a], [, b]) => b - a)
              .map(([name, share]) => `${name.replaceAll("_", " ")} ${Math.round(100 * share)} %`)
              .join(", ")}{" "}
            (PED-ANOVA, rough with few trials).
          </Text>
        )}
      </Paper>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
        <Paper p="xs">
          <AskedFigure
            asked={trials}
            label="Trials and best so far"
            empty="Results appear when a trial is completed."
          />
        </Paper>
        <Paper p="xs">
          <AskedFigure
            asked={parallel}
            label="Settings of trials and their results"
            empty="Results appear when a trial is completed."
          />
        </Paper>
      </SimpleGrid>
    </section>
  );
}

/** `8`, or with what did not come to a result. */
function counted(tried: { state: string }[]): string {
  const stopped = tried.filter(({ state }) => state === "stopped early").length;
  const open = tried.filter(({ state }) => state === "open").length;
  const notes = [...(open ? [`${open} open`] : []), ...(stopped ? [`${plural(stopped, "trial")} stopped early`] : [])];
  return [String(tried.length), ...notes].join(", ");
}
