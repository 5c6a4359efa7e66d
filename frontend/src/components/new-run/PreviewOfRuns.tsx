import { Table, Text, Title } from "@mantine/core";

import type { Preview } from "../../api/client";
import { duration, integer, plural } from "../../format";
import { Warnings } from "../shared/Warnings";

const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

type Props = { preview: Preview | undefined; problem: string | undefined };

/** What would be queued: how many runs, how large their models are, how long it should take; or why it cannot be. */
export function PreviewOfRuns({ preview, problem }: Props) {
  return (
    <section aria-labelledby="preview" aria-live="polite">
      <Title order={2} id="preview">
        Before it is queued
      </Title>
      {problem ? (
        <Text size="sm" c="dimmed">
          {problem}
        </Text>
      ) : (
        preview && (preview.plan ? <CostsOfPlan preview={preview} plan={preview.plan} /> : <Costs preview={preview} />)
      )}
    </section>
  );
}

function Costs({ preview }: { preview: Preview }) {
  const { runs, epochs, seconds } = preview;
  return (
    <>
      <Text size="sm" mb="xs">
        {epochs === 0 ? (
          `${plural(runs, "evaluation")} of given weights; nothing is trained.`
        ) : (
          <>
            {plural(runs, "run")}, {plural(epochs, "epoch")} together;{" "}
            {seconds == null
              ? "how long it takes is unknown until something like it was trained"
              : `about ${duration(seconds)} on one worker`}
            .
          </>
        )}
      </Text>
      <Models preview={preview} />
    </>
  );
}

/** What a plan takes in any case, on average if all variants are alike, and at most. */
function CostsOfPlan({ preview, plan }: { preview: Preview; plan: NonNullable<Preview["plan"]> }) {
  const rows = { "at least": plan.at_least, likely: plan.likely, "at most": preview };
  return (
    <>
      <Table fz="sm" verticalSpacing={2} horizontalSpacing={6} mb="xs">
        <Table.Caption className="visually-hidden">What the plan takes</Table.Caption>
        <Table.Tbody>
          {Object.entries(rows).map(
            ([name, cost]) =>
              cost && (
                <Table.Tr key={name}>
                  <Table.Th scope="row" fw={400}>
                    {name}
                  </Table.Th>
                  <Table.Td className="right">{plural(cost.runs, "run")}</Table.Td>
                  <Table.Td className="right">
                    {cost.seconds == null ? "time unknown" : `${duration(cost.seconds)} on one worker`}
                  </Table.Td>
                </Table.Tr>
              ),
          )}
        </Table.Tbody>
      </Table>
      <Text size="sm" mb="xs">
        {plan.told}
      </Text>
      <Models preview={preview} />
    </>
  );
}

function Models({ preview: { runs, costs, warnings } }: { preview: Preview }) {
  const fields = (["model", "dataset"] as const).filter((name) => new Set(costs.map((cost) => cost[name])).size > 1);
  return (
    <>
      <Warnings
        texts={warnings.map(({ text, runs: concerned }) =>
          concerned === runs ? text : `${text} (${concerned} of ${plural(runs, "run")})`,
        )}
      />
      <section className="scrolls" tabIndex={0} aria-label="Size of the models">
        <Table fz="xs" verticalSpacing={2} horizontalSpacing={6}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>pooling</Table.Th>
              {fields.map((name) => (
                <Table.Th key={name}>{name}</Table.Th>
              ))}
              <Table.Th className="right" title="Parameters">
                Parameters
              </Table.Th>
              <Table.Th className="right" title="Multiply-accumulates of one image's forward pass">
                MACs
              </Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {costs.map((cost) => (
              <Table.Tr key={`${cost.model} ${cost.pooling} ${cost.dataset}`}>
                <Table.Th scope="row" fw={400}>
                  {cost.pooling}
                </Table.Th>
                {fields.map((name) => (
                  <Table.Td key={name}>{cost[name]}</Table.Td>
                ))}
                <Table.Td className="right">
                  {cost.parameters === null ? "depends on the classes" : integer(cost.parameters)}
                </Table.Td>
                <Table.Td className="right" title={integer(cost.macs)}>
                  {short.format(cost.macs)}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </section>
    </>
  );
}
