import { Button, SimpleGrid } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import type { Experiment } from "../../api/client";
import { glancesQuery } from "../../api/queries";
import { ExperimentCard } from "./ExperimentCard";

const SHOWN = 6;
const MORE = 24;

export function ExperimentList({ experiments }: { experiments: Experiment[] }) {
  const [most, setMost] = useState(SHOWN);
  const shown = experiments.slice(0, most);
  const left = experiments.length - shown.length;
  return (
    <>
      <Cards experiments={shown.slice(0, SHOWN)} />
      {Array.from({ length: Math.ceil((shown.length - SHOWN) / MORE) }, (_, part) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: parts are asked for one by one and stay where they are
        <Cards key={part} experiments={shown.slice(SHOWN + part * MORE, SHOWN + (part + 1) * MORE)} />
      ))}
      {left > 0 && (
        <Button variant="subtle" size="compact-sm" mt="xs" onClick={() => setMost(most + MORE)}>
          Show {Math.min(left, MORE)} more of {experiments.length} experiments
        </Button>
      )}
      {most > SHOWN && (
        <Button variant="subtle" size="compact-sm" mt="xs" onClick={() => setMost(SHOWN)}>
          Show the newest only
        </Button>
      )}
    </>
  );
}

/** Experiments whose answers are asked for together. */
function Cards({ experiments }: { experiments: Experiment[] }) {
  const { data, error } = useQuery(glancesQuery(experiments.map(({ id }) => id)));
  const found = new Map(data?.glances.map(({ experiment_id, glance }) => [experiment_id, glance]));
  return (
    <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }} spacing="sm" mb="sm">
      {experiments.map((experiment) => (
        <ExperimentCard key={experiment.id} experiment={experiment} glance={found.get(experiment.id)} error={error} />
      ))}
    </SimpleGrid>
  );
}
