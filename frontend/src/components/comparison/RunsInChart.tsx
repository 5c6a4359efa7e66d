import { Anchor, Button, Checkbox, Group, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "react-router";

import type { CurvesQuery } from "../../api/queries";
import { useCurves } from "../shared/Figure";
import { strandsOf, type Strand } from "./strands";

type Props = { query: CurvesQuery; hide: string; onHide: (hide: string) => void };

/** The legend of the curves: variants and their runs, each with a box that shows or hides it. */
export function RunsInChart({ query, hide, onHide }: Props) {
  const [hidden, setHidden] = useState<string[]>([]); // boxes answer at once, the address and the chart follow
  useEffect(() => setHidden(hide.split(",").filter(Boolean)), [hide]);
  const { data: figure } = useQuery(useCurves(query));
  const { strands, published } = strandsOf(figure?.data ?? []);
  const showAllBut = (runs: string[]) => {
    setHidden(runs);
    onHide(runs.join(","));
  };
  const set = (runs: Strand["runs"], isShown: boolean) => {
    const ids = runs.map(({ id }) => id);
    showAllBut([...hidden.filter((id) => !ids.includes(id)), ...(isShown ? [] : ids)]);
  };
  if (strands.length === 0) return null;
  return (
    <section className="runs-in-chart" aria-label="Runs in the chart">
      <Group justify="space-between" mb={4} mih="1.5rem">
        <Text size="xs" fw={600}>
          Runs
        </Text>
        {hidden.length > 0 && (
          <Button size="compact-xs" variant="subtle" onClick={() => showAllBut([])}>
            Show all
          </Button>
        )}
      </Group>
      <ul>
        {strands.map((strand) => {
          const { name, color, dash, runs } = strand;
          const shown = runs.filter(({ id }) => !hidden.includes(id)).length;
          return (
            <li key={name}>
              <Group gap={4} wrap="nowrap" justify="space-between">
                <Checkbox
                  size="xs"
                  checked={shown === runs.length}
                  indeterminate={shown > 0 && shown < runs.length}
                  onChange={() => set(runs, shown < runs.length)}
                  label={
                    <Group gap={6} wrap="nowrap">
                      <Stroke color={color} dash={dash} />
                      {name}
                    </Group>
                  }
                />
                {strands.length > 1 && (
                  <Button
                    size="compact-xs"
                    variant="subtle"
                    color="gray"
                    fw={400}
                    aria-label={`Only ${name}`}
                    onClick={() =>
                      showAllBut(strands.flatMap((each) => (each === strand ? [] : each.runs)).map(({ id }) => id))
                    }
                  >
                    only
                  </Button>
                )}
              </Group>
              <details>
                <summary>{runs.length === 1 ? "1 seed" : `${runs.length} seeds`}</summary>
                <ul>
                  {runs.map(({ id, seed }) => (
                    <li key={id}>
                      <Group gap={6} wrap="nowrap">
                        <Checkbox
                          size="xs"
                          aria-label={`Show ${name}, seed ${seed}`}
                          checked={!hidden.includes(id)}
                          onChange={() => set([{ id, seed }], hidden.includes(id))}
                        />
                        <Anchor size="xs" component={Link} to={`/board/runs/${id}`}>
                          seed {seed}
                        </Anchor>
                      </Group>
                    </li>
                  ))}
                </ul>
              </details>
            </li>
          );
        })}
        {published.map(({ name, color }) => (
          <li key={name}>
            <Group gap={6} wrap="nowrap">
              <Stroke color={color} dash="dash" />
              {name}
            </Group>
          </li>
        ))}
      </ul>
    </section>
  );
}

const DASHES: Record<string, string> = { dash: "6 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "10 4" };

/** A piece of the curve. */
function Stroke({ color, dash }: { color: string; dash: string }) {
  return (
    <svg width={22} height={8} aria-hidden className="stroke">
      <line x1={0} x2={22} y1={4} y2={4} stroke={color} strokeWidth={2.5} strokeDasharray={DASHES[dash]} />
    </svg>
  );
}
