import { Badge, Code, Group, List, Paper, Table, Text, Title, Tooltip } from "@mantine/core";

import type { Comparison, VariantColor } from "../../api/client";
import { plural } from "../../format";
import { Variant } from "../shared/RunFacts";
import { Warnings } from "../shared/Warnings";

/** What came out, in words; what may be wrong with it; how it was found. */
export function Answer({ comparison, mark }: { comparison: Comparison; mark?: React.ReactNode }) {
  const { variants, baseline, answer, effects, fairness, doubts, method, importance } = comparison;
  const provisional = variants.some((row) => row.provisional);
  return (
    <Paper p="md" component="section" aria-labelledby="answer">
      <Group gap="xs" mb={6}>
        <Title order={2} id="answer">
          Answer
        </Title>
        {provisional && <Mark label="provisional" why="What is still open may change until its runs are done." />}
        {mark}
      </Group>
      <Text className="answer">{answer || "Nothing to compare: there is only one variant."}</Text>
      {effects.length > 0 && (
        <List listStyleType="none" spacing={2} size="sm" mt="xs" aria-label="Effects of both factors">
          {effects.map(({ text }) => (
            <List.Item key={text}>{text}</List.Item>
          ))}
        </List>
      )}
      {variants.length > 1 && effects.length === 0 && (
        <List listStyleType="none" spacing={2} size="sm" mt="xs">
          {variants
            .filter(({ variant }) => variant !== baseline)
            .map(({ variant, color, verdict }) => (
              <List.Item key={variant}>
                <Verdict variant={variant} color={color} verdict={verdict} />
              </List.Item>
            ))}
        </List>
      )}
      {Object.keys(importance).length > 0 && (
        <Text size="sm" mt="xs">
          Of what results differ in, {shares(importance)} (analysis of variance).
        </Text>
      )}
      <Warnings
        texts={doubts.map(
          ({ text, variants: concerned, runs }) => `${text} (${concerned.join(", ")}: ${plural(runs.length, "run")})`,
        )}
      />
      {fairness.length > 0 && <Fairness fairness={fairness} />}
      <details className="more">
        <summary>How verdicts are reached</summary>
        <Text size="sm" maw="75ch">
          {method}
        </Text>
      </details>
    </Paper>
  );
}

const shares = (importance: Comparison["importance"]) =>
  Object.entries(importance)
    .map(([name, share]) => `${Math.round(100 * share)} % are due to ${name.replaceAll("_", " ")}`)
    .join(", ");

/** A word that qualifies an answer. */
export function Mark({ label, why }: { label: string; why: string }) {
  return (
    <Tooltip label={why}>
      <Badge variant="outline" color="gray" size="sm" tt="none" tabIndex={0} className="provisional">
        {label}
      </Badge>
    </Tooltip>
  );
}

/** The sentence, after the variant's name if the sentence does not begin with it. */
function Verdict({ variant, color, verdict }: { variant: string; color: VariantColor; verdict: string }) {
  if (!verdict.startsWith(`${variant} `)) {
    return (
      <>
        <Variant name={variant} color={color} />: {verdict}
      </>
    );
  }
  return (
    <>
      <Variant name={variant} color={color} />
      {verdict.slice(variant.length)}
    </>
  );
}

/** In what the runs differ besides variant and seed, and which variants have which value. */
function Fairness({ fairness }: { fairness: Comparison["fairness"] }) {
  return (
    <div className="unfair" role="note" aria-label="The runs differ in more than variant and seed">
      <Text size="sm" fw={600}>
        The runs differ in more than variant and seed; a difference in results may come from there.
      </Text>
      <section className="scrolls" tabIndex={0} aria-label="What differs">
        <Table fz="sm" withRowBorders={false}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Field</Table.Th>
              <Table.Th>Value</Table.Th>
              <Table.Th>Variants</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {fairness.flatMap(({ field, settings }) =>
              settings.map(({ value, variants, runs }, position) => (
                <Table.Tr key={`${field} ${value}`}>
                  {position === 0 && (
                    <Table.Th scope="rowgroup" rowSpan={settings.length} fw={500}>
                      {field}
                    </Table.Th>
                  )}
                  <Table.Td>
                    <Code className="value">{value}</Code>
                  </Table.Td>
                  <Table.Td>
                    {variants.join(", ")}{" "}
                    <Text span inherit c="dimmed">
                      ({plural(runs.length, "run")})
                    </Text>
                  </Table.Td>
                </Table.Tr>
              )),
            )}
          </Table.Tbody>
        </Table>
      </section>
    </div>
  );
}
