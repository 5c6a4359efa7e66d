import {
  Group,
  NativeSelect,
  Paper,
  SimpleGrid,
  Slider,
  Switch,
  Tabs,
  Text,
  Title,
  useComputedColorScheme,
} from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import {
  catalogQuery,
  costQuery,
  differencesQuery,
  finalsQuery,
  heatQuery,
  interactionQuery,
  reliabilityQuery,
  type CurvesQuery,
  type Selection,
} from "../../api/queries";
import { EpochChoice, useEpoch } from "../shared/ConfusionMatrix";
import { ClassesPanel, ConfusionPanel } from "./ConfusionPanels";
import { AskedFigure, Curves } from "../shared/Figure";
import { useUrlParam } from "../shared/urlState";
import type { Measure } from "./useComparison";

const MAIN = "val_top1";
const BESIDE = "val_loss";

const TABS = {
  curves: "Curves",
  interaction: "Interaction",
  heat: "Heat map",
  finals: "Final results",
  differences: "Differences",
  cost: "Cost",
  reliability: "Reliability",
  confusion: "Confusion",
  classes: "By class",
};

const AXES = { epoch: "by epoch", seconds: "by training time", images: "by images seen" };
const BANDS = { sd: "band: SD", ci: "band: 95 % CI", minmax: "band: min to max", none: "no band" };
const COSTS = { seconds: "training time", parameters: "parameters", images_per_second: "images per second" };

type Props = {
  selection: Selection;
  group: string;
  baseline?: string;
  measure?: Measure;
  /** What else varies, with the runs of each value. */
  levels: { level: string; runs: string[] }[];
};

/** All charts over the variants of the selected runs. Which one, its options and its zoom are in the address. */
export function Figures({ selection, group, baseline, measure, levels }: Props) {
  const [shown, setShown] = useUrlParam("figure");
  const theme = useComputedColorScheme("light");
  const query = { ...selection, group, theme };
  const hasTwoFactors = group.split(",").length === 2;
  const tabs = Object.entries(TABS).filter(([tab]) => !["interaction", "heat"].includes(tab) || hasTwoFactors);
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
          <Interaction query={{ ...query, measure }} />
        </Tabs.Panel>
        <Tabs.Panel value="heat">
          <Heat query={{ ...query, measure }} />
        </Tabs.Panel>
        <Tabs.Panel value="finals">
          <Finals query={{ ...query, baseline, measure }} />
        </Tabs.Panel>
        <Tabs.Panel value="differences">
          <Differences query={{ ...query, baseline, measure }} />
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

/** The chosen metric, and beside it the loss, or the result if the loss was chosen. */
function CurvesPanel({ selection, group, levels }: Pick<Props, "selection" | "group" | "levels">) {
  const { data: catalog } = useQuery(catalogQuery);
  const [metricParam, setMetric] = useUrlParam("metric", "zoom", "zoom2");
  const [xParam, setX] = useUrlParam("x", "zoom", "zoom2");
  const [bandParam, setBand] = useUrlParam("band");
  const [smoothing, setSmoothing] = useUrlParam("smoothing");
  const [log, setLog] = useUrlParam("log", "zoom", "zoom2");
  const [apart, setApart] = useUrlParam("apart", "zoom", "zoom2");
  const [zoom, onZoom] = useUrlParam("zoom");
  const [zoom2, onZoom2] = useUrlParam("zoom2");
  const metric = metricParam ?? MAIN;
  const x = oneOf(AXES, xParam, "epoch");
  const band = oneOf(BANDS, bandParam, "sd");
  const labelOf = (name: string) => catalog?.metrics.find((entry) => entry.name === name)?.label ?? name;
  const options: Omit<CurvesQuery, "metric" | "experiment" | "run"> = {
    group,
    x,
    band,
    smoothing: Number(smoothing ?? 0),
    log_y: log !== null,
  };
  const charts = [
    { metric, zoom, onZoom },
    { metric: metric === BESIDE ? MAIN : BESIDE, zoom: zoom2, onZoom: onZoom2 },
  ];
  return (
    <>
      <Group gap="sm" mb="sm">
        <NativeSelect
          size="xs"
          aria-label="Metric"
          data={(catalog?.metrics ?? []).map(({ name, label }) => ({ value: name, label }))}
          value={metric}
          onChange={({ currentTarget: { value } }) => setMetric(value === MAIN ? null : value)}
        />
        <Choice
          label="Horizontal axis"
          choices={AXES}
          value={x}
          onChange={(value) => setX(value === "epoch" ? null : value)}
        />
        <Choice
          label="Band"
          choices={BANDS}
          value={band}
          onChange={(value) => setBand(value === "sd" ? null : value)}
        />
        <Smoothing value={options.smoothing ?? 0} onChange={(value) => setSmoothing(value ? String(value) : null)} />
        <Switch
          size="xs"
          label="Logarithmic"
          checked={log !== null}
          onChange={({ currentTarget: { checked } }) => setLog(checked ? "1" : null)}
        />
        {levels.length > 1 && (
          <Switch
            size="xs"
            label="A chart for each value of what else varies"
            checked={apart !== null}
            onChange={({ currentTarget: { checked } }) => setApart(checked ? "1" : null)}
          />
        )}
      </Group>
      {apart !== null && levels.length > 1 ? (
        <SimpleGrid cols={{ base: 1, md: 2, lg: Math.min(3, levels.length) }} spacing="md">
          {levels.map(({ level, runs }) => (
            <Paper key={level} p="xs">
              <Text size="sm" fw={500} px="xs">
                {level}
              </Text>
              <Curves
                selection={{ run: runs }}
                metric={metric}
                {...options}
                label={`${labelOf(metric)}, ${level}`}
                zoom={zoom}
                onZoom={onZoom}
              />
            </Paper>
          ))}
        </SimpleGrid>
      ) : (
        <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
          {charts.map((chart) => (
            // Another metric or axis is another chart: no zoom and no old curves are taken over.
            <Paper key={`${chart.metric} ${x} ${log}`} p="xs">
              <Curves
                selection={selection}
                metric={chart.metric}
                {...options}
                label={labelOf(chart.metric)}
                zoom={chart.zoom}
                onZoom={chart.onZoom}
              />
            </Paper>
          ))}
        </SimpleGrid>
      )}
    </>
  );
}

/** Asks for a new figure only when the thumb is let go. */
function Smoothing({ value, onChange }: { value: number; onChange: (value: number) => void }) {
  const [shown, setShown] = useState(value);
  useEffect(() => setShown(value), [value]);
  return (
    <Group gap="xs" wrap="nowrap">
      <Text size="xs" component="span">
        Smoothing
      </Text>
      <Slider
        w={110}
        size="sm"
        min={0}
        max={0.95}
        step={0.05}
        thumbLabel="Smoothing"
        label={(weight) => weight.toFixed(2)}
        value={shown}
        onChange={setShown}
        onChangeEnd={onChange}
      />
    </Group>
  );
}

function Interaction({ query }: { query: Parameters<typeof interactionQuery>[0] }) {
  return (
    <Paper p="xs">
      <AskedFigure
        asked={useQuery(interactionQuery(query))}
        label="Two factors at once"
        empty="Results appear when a run is completed."
      />
    </Paper>
  );
}

function Heat({ query }: { query: Parameters<typeof heatQuery>[0] }) {
  return (
    <Paper p="xs">
      <AskedFigure
        asked={useQuery(heatQuery(query))}
        label="Means over two factors"
        empty="Results appear when a run is completed."
      />
    </Paper>
  );
}

function Finals({ query }: { query: Parameters<typeof finalsQuery>[0] }) {
  return (
    <Paper p="xs">
      <AskedFigure
        asked={useQuery(finalsQuery(query))}
        label="Final results"
        empty="Results appear when a run is completed."
      />
    </Paper>
  );
}

function Differences({ query }: { query: Parameters<typeof differencesQuery>[0] }) {
  return (
    <Paper p="xs">
      <AskedFigure
        asked={useQuery(differencesQuery(query))}
        label="Differences to the baseline"
        empty="Differences appear when two variants have completed the same seed."
      />
    </Paper>
  );
}

function Reliability({ query }: { query: Omit<Parameters<typeof reliabilityQuery>[0], "epoch"> & Selection }) {
  return (
    <>
      <Group mb="sm">
        <EpochChoice of="the answers" />
      </Group>
      <Paper p="xs">
        <AskedFigure
          asked={useQuery(reliabilityQuery({ ...query, epoch: useEpoch() }))}
          label="Right answers against their probability"
          empty="What was answered is known when a run is completed."
        />
      </Paper>
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
      <Paper p="xs">
        <AskedFigure
          asked={useQuery(costQuery({ ...query, x }))}
          label="Results against cost"
          empty="Results appear when a run is completed."
        />
      </Paper>
    </>
  );
}

type ChoiceProps<Key extends string> = {
  label: string;
  choices: Record<Key, string>;
  value: Key;
  onChange: (value: Key) => void;
};

function Choice<Key extends string>({ label, choices, value, onChange }: ChoiceProps<Key>) {
  return (
    <NativeSelect
      size="xs"
      aria-label={label}
      data={Object.entries<string>(choices).map(([key, text]) => ({ value: key, label: text }))}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value as Key)}
    />
  );
}

const oneOf = <Key extends string>(choices: Record<Key, string>, given: string | null, usual: Key): Key =>
  given !== null && given in choices ? (given as Key) : usual;
