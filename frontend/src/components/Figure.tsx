import { Center, Loader, Text, useComputedColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef } from "react";

import type { Figure as PlotlyFigure } from "../api/client";
import { curvesQuery, type Selection } from "../api/queries";
import { ErrorAlert } from "./ErrorAlert";

const CONFIG = {
  responsive: true,
  displaylogo: false,
  // Would offer to upload the figure to Plotly's servers.
  showSendToCloud: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};

const plotly = () => import("plotly.js-basic-dist-min").then((module) => module.default);

/** Draws a figure made by the server. Zoom and hidden traces survive new data, see the layout's `uirevision`. */
export function Figure({ figure, label }: { figure: PlotlyFigure; label: string }) {
  const element = useRef<HTMLElement>(null);

  useEffect(() => {
    let outdated = false;
    void plotly().then(({ react }) => {
      // Plotly writes into what it is given; the query cache keeps the original.
      const { data, layout } = structuredClone(figure);
      if (!outdated) void react(element.current!, data, layout, CONFIG);
    });
    return () => {
      outdated = true;
    };
  }, [figure]);

  useEffect(() => {
    const drawn = element.current!;
    return () => void plotly().then(({ purge }) => purge(drawn));
  }, []);

  return <figure ref={element} className="figure" aria-label={label} />;
}

/** A metric per epoch of the selected runs. */
export function Curves({ selection, metric, group, label }: CurvesProps) {
  const theme = useComputedColorScheme("light");
  const { data, error } = useQuery(curvesQuery({ ...selection, metric, group, theme }));
  if (error && !data) return <ErrorAlert title={`${label} cannot be drawn`} message={error.message} />;
  if (!data) {
    return (
      <Center className="figure">
        <Loader size="sm" aria-label={`${label} is loading`} />
      </Center>
    );
  }
  if (data.data.length === 0) {
    return (
      <Center className="figure">
        <Text size="sm" c="dimmed">
          Curves appear when the first epoch is finished.
        </Text>
      </Center>
    );
  }
  return <Figure figure={data} label={label} />;
}

type CurvesProps = { selection: Selection; metric: string; group: string; label: string };
