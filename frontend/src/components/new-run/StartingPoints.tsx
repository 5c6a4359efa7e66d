import { Button, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import type { Catalog } from "../../api/client";
import { experimentsQuery, runsQuery } from "../../api/queries";
import { cloned, formPath, type Value } from "../../api/spec";

/** The pooling study on CIFAR-10, with as many seeds as a p below 0.05 can come from. */
const HISTORIC = {
  name: "Softmax in the pooling step",
  spec: { dataset: "cifar10" },
  axes: { pooling: ["seqpool", "seqpool_softmax_tokens", "seqpool_softmax_batch"], seed: [0, 1, 2, 3, 4] },
};
const PAPER = "paper-cifar-300";

/** What most people want to begin with: each fills the form. */
export function StartingPoints({ catalog }: { catalog: Catalog }) {
  const { data: newest } = useQuery(runsQuery({ limit: 1, archived: "shown" }));
  const { data: known } = useQuery(experimentsQuery);
  const { demo, recipes } = catalog;
  const last = newest?.runs[0];
  const asked = last?.experiment_id && known?.experiments.find(({ id }) => id === last.experiment_id);
  const points: [string, string][] = [
    ["Demo on digits", formPath(demo.spec, demo.axes, demo.name)],
    ["Historic study", formPath(HISTORIC.spec, HISTORIC.axes, HISTORIC.name)],
    ...recipes
      .filter(({ name }) => name === PAPER)
      .map(({ name }): [string, string] => ["Recipe of the paper", formPath({ recipe: name })]),
    ["Empty", "/board/new"],
  ];
  return (
    <Group gap="xs" mb="md" component="nav" aria-label="Starting points">
      <Text size="sm" c="dimmed">
        Start from
      </Text>
      {points.map(([label, to]) => (
        <Button key={label} component={Link} to={to} size="compact-sm" variant="default">
          {label}
        </Button>
      ))}
      {/* It keeps its place while what was asked last is unknown, so that nothing moves. */}
      {last && known ? (
        <Button
          component={Link}
          to={asked ? cloned(asked) : formPath(last.spec as Record<string, Value>)}
          size="compact-sm"
          variant="default"
        >
          As last time
        </Button>
      ) : (
        <Button disabled size="compact-sm" variant="default">
          As last time
        </Button>
      )}
    </Group>
  );
}
