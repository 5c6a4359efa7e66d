import { Button, Group, Paper, SimpleGrid, Text } from "@mantine/core";
import { useState } from "react";
import { Link } from "react-router";

import type { Experiment } from "../../api/client";
import { moment } from "../../format";
import { ExperimentProgress } from "../shared/ExperimentFacts";

const SHOWN = 6;

export function ExperimentList({ experiments }: { experiments: Experiment[] }) {
  const [all, setAll] = useState(false);
  return (
    <>
      <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }} spacing="sm">
        {experiments.slice(0, all ? undefined : SHOWN).map((experiment) => (
          <Paper key={experiment.id} p="sm" component="article">
            <Group justify="space-between" wrap="nowrap" gap="xs">
              <Text
                component={Link}
                to={`/board/experiments/${experiment.id}`}
                fw={600}
                size="sm"
                truncate
                className="row-link"
              >
                {experiment.name}
              </Text>
              <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>
                {moment(experiment.created_at)}
              </Text>
            </Group>
            <ExperimentProgress experiment={experiment} />
          </Paper>
        ))}
      </SimpleGrid>
      {experiments.length > SHOWN && (
        <Button variant="subtle" size="compact-sm" mt="xs" onClick={() => setAll(!all)} aria-expanded={all}>
          {all ? "Show the newest only" : `Show all ${experiments.length} experiments`}
        </Button>
      )}
    </>
  );
}
