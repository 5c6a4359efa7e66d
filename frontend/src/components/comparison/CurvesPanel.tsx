import { Group, NativeSelect, Paper, SimpleGrid, Slider, Stack, Switch, Text, useMatches } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { catalogQuery, type CurvesQuery, type Selection } from "../../api/queries";
import { Choice, oneOf } from "../shared/Choice";
import { Curves } from "../shared/Figure";
import { useUrlParam } from "../shared/urlState";
import { RunsInChart } from "./RunsInChart";

const MAIN = "val_top1";
const AXES = { epoch: "by epoch", seconds: "by training time", images: "by images seen" };
const BANDS = { sd: "band: SD", ci: "band: 95 % CI", minmax: "band: min to max", none: "no band" };
const HOVERS = { point: "hover: nearest curve", epoch: "hover: all at that place" };

/** A value of what else varies, with its runs. */
export type LevelRuns = { level: string; runs: string[] };

type Props = { selection: Selection; group: string; levels: LevelRuns[] };

/** A metric in the course of training; beside it its settings and the runs, each of which can be hidden. */
export function CurvesPanel({ selection, group, levels }: Props) {
  const { data: catalog } = useQuery(catalogQuery);
  const [metricParam, setMetric] = useUrlParam("metric", "zoom");
  const [xParam, setX] = useUrlParam("x", "zoom");
  const [bandParam, setBand] = useUrlParam("band");
  const [smoothing, setSmoothing] = useUrlParam("smoothing");
  const [log, setLog] = useUrlParam("log", "zoom");
  const [hover, setHover] = useUrlParam("hover");
  const [apart, setApart] = useUrlParam("apart", "zoom");
  const [hide, setHide] = useUrlParam("hide");
  const [zoom, onZoom] = useUrlParam("zoom");
  const metric = metricParam ?? MAIN;
  const x = oneOf(AXES, xParam, "epoch");
  const band = oneOf(BANDS, bandParam, "sd");
  const areApart = apart !== null && levels.length > 1;
  const label = catalog?.metrics.find(({ name }) => name === metric)?.label ?? metric;
  const query: CurvesQuery = {
    ...selection,
    metric,
    group,
    x,
    band,
    smoothing: Number(smoothing ?? 0),
    log_y: log !== null,
    crosshair: hover === "epoch",
    hidden: hide?.split(",") ?? [],
  };
  const large = { ...query, named_ends: useMatches({ base: false, md: true }) };
  return (
    <div className="beside">
      {areApart ? (
        <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
          {levels.map(({ level, runs }) => (
            <Paper key={level} p="xs">
              <Text size="sm" fw={500} px="xs">
                {level}
              </Text>
              <Curves
                query={{ ...query, experiment: undefined, run: runs, hidden: [] }}
                label={`${label}, ${level}`}
                zoom={zoom}
                onZoom={onZoom}
              />
            </Paper>
          ))}
        </SimpleGrid>
      ) : (
        // Another metric or axis is another chart: no zoom and no old curves are taken over.
        <Paper key={`${metric} ${x} ${log}`} p="xs" className="large">
          <Curves query={large} label={label} zoom={zoom} onZoom={onZoom} legend={false} />
        </Paper>
      )}
      <Stack gap="sm">
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
        <Choice
          label="Hover"
          choices={HOVERS}
          value={oneOf(HOVERS, hover, "point")}
          onChange={(value) => setHover(value === "point" ? null : value)}
        />
        <Smoothing value={query.smoothing ?? 0} onChange={(value) => setSmoothing(value ? String(value) : null)} />
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
        {!areApart && <RunsInChart query={large} hide={hide ?? ""} onHide={setHide} />}
      </Stack>
    </div>
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
        flex={1}
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
