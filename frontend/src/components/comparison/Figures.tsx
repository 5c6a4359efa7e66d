import { Group, Paper, Tabs, Title, useComputedColorScheme } from "@mantine/core";
import { useQuery, type UseQueryOptions } from "@tanstack/react-query";

import type { Figure } from "../../api/client";
import {
  costQuery,
  differencesQuery,
  factorsQuery,
  finalsQuery,
  heatQuery,
  interactionQuery,
  reliabilityQuery,
  type Selection,
} from "../../api/queries";
import { EpochChoice, useEpoch } from "../shared/ConfusionMatrix";
import { ClassesPanel, ConfusionPanel } from "./ConfusionPanels";
import { AskedFigure } from "../shared/Figure";
import { Choice, oneOf } from "../shared/Choice";
import { useUrlParam } from "../shared/urlState";
import { CurvesPanel, type LevelRuns } from "./CurvesPanel";
import type { Measure } from "./useComparison";

const TABS = {
  curves: "Curves",
  interaction: "Interaction",
  heat: "Heat map",
  factors: "All factors",
  finals: "Final results",
  differences: "Differences",
  cost: "Cost",
  reliability: "Reliability",
  confusion: "Confusion",
  classes: "By class",
};

const COSTS = {
  seconds: "training time",
  kilowatt_hours: "energy",
  parameters: "parameters",
  images_per_second: "images per second",
};

type Props = {
  selection: Selection;
  group: string;
  baseline?: string;
  measure?: Measure;
  /** What else varies. */
  levels: LevelRuns[];
  /** How many fields vary, seeds apart. */
  varied: number;
};

/** All charts over the variants of the selected runs. Which one, its options and its zoom are in the address. */
export function Figures({ selection, group, baseline, measure, levels, varied }: Props) {
  const [shown, setShown] = useUrlParam("figure");
  const theme = useComputedColorScheme("light");
  const query = { ...selection, group, theme };
  const hasTwoFactors = group.split(",").length === 2;
  const possible: Record<string, boolean> = { interaction: hasTwoFactors, heat: hasTwoFactors, factors: varied > 2 };
  const tabs = Object.entries(TABS).filter(([tab]) => possible[tab] ?? true);
  const open = tabs.some(([tab]) => tab === shown) ? shown : "curves";
  return (
    <section aria-labelledby="figures">
      <Title order={2} id="figures" mt="xl" mb="xs">
        Figures
      </Title>
      <Tabs value={open} onChange={(tab) => setShown(tab === "curves" ? null : tab)} keepMounted={false}>
        <Tabs.List mb="sm">
          {tabs.map(([tab, title]) => (
            <Tabs.Tab key={tab} value={tab}>
              {title}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="curves">
          <CurvesPanel selection={selection} group={group} levels={levels} />
        </Tabs.Panel>
        <Tabs.Panel value="interaction">
          <Drawn query={interactionQuery({ ...query, measure })} label="Two factors at once" />
        </Tabs.Panel>
        <Tabs.Panel value="heat">
          <Drawn query={heatQuery({ ...query, measure })} label="Means over two factors" />
        </Tabs.Panel>
        <Tabs.Panel value="factors">
          <Drawn query={factorsQuery({ ...query, measure })} label="Results over all that varies" />
        </Tabs.Panel>
        <Tabs.Panel value="finals">
          <Drawn query={finalsQuery({ ...query, baseline, measure })} label="Final results" />
        </Tabs.Panel>
        <Tabs.Panel value="differences">
          <Drawn
            query={differencesQuery({ ...query, baseline, measure })}
            label="Differences to the baseline"
            empty="Differences appear when two variants have completed the same seed."
          />
        </Tabs.Panel>
        <Tabs.Panel value="cost">
          <Cost query={query} />
        </Tabs.Panel>
        <Tabs.Panel value="reliability">
          <Reliability query={query} />
        </Tabs.Panel>
        <Tabs.Panel value="confusion">
          <ConfusionPanel selection={selection} group={group} />
        </Tabs.Panel>
        <Tabs.Panel value="classes">
          <ClassesPanel selection={selection} group={group} baseline={baseline} />
        </Tabs.Panel>
      </Tabs>
    </section>
  );
}

type DrawnProps = { query: UseQueryOptions<Figure>; label: string; empty?: string };

function Drawn({ query, label, empty = "Results appear when a run is completed." }: DrawnProps) {
  return (
    <Paper p="xs">
      <AskedFigure asked={useQuery(query)} label={label} empty={empty} />
    </Paper>
  );
}

function Reliability({ query }: { query: Omit<Parameters<typeof reliabilityQuery>[0], "epoch"> & Selection }) {
  return (
    <>
      <Group mb="sm">
        <EpochChoice of="the answers" />
      </Group>
      <Drawn
        query={reliabilityQuery({ ...query, epoch: useEpoch() })}
        label="Right answers against their probability"
        empty="What was answered is known when a run is completed."
      />
    </>
  );
}

function Cost({ query }: { query: Omit<Parameters<typeof costQuery>[0], "x"> & Selection }) {
  const [param, setCost] = useUrlParam("cost");
  const x = oneOf(COSTS, param, "seconds");
  return (
    <>
      <Group mb="sm">
        <Choice
          label="Cost"
          choices={COSTS}
          value={x}
          onChange={(value) => setCost(value === "seconds" ? null : value)}
        />
      </Group>
      <Drawn query={costQuery({ ...query, x })} label="Results against cost" />
    </>
  );
}
