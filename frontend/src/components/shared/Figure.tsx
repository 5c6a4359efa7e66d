import { ActionIcon, Center, Group, Loader, Text, Tooltip, useComputedColorScheme } from "@mantine/core";
import { useFullscreenElement } from "@mantine/hooks";
import { IconDownload, IconMaximize } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { PlotlyElement } from "plotly.js-cartesian-dist-min";
import { useEffect, useRef } from "react";

import { ApiError, type Figure as PlotlyFigure } from "../../api/client";
import { curvesQuery, type CurvesQuery } from "../../api/queries";
import { save } from "../../save";
import { ErrorAlert } from "./ErrorAlert";

const CONFIG = {
  responsive: true,
  displaylogo: false,
  // Would offer to upload the figure to Plotly's servers.
  showSendToCloud: false,
};
// Out of a zoom that came with the address there is only this way; rows of variants have their own fixed range.
const TO_ALL = { ...CONFIG, doubleClick: "autosize", modeBarButtonsToRemove: ["select2d", "lasso2d", "resetScale2d"] };
const TO_START = { ...CONFIG, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

/** Ranges as `x0,x1,y0,y1`, as Plotly counts them (logarithms on logarithmic axes); empty where all is shown. */
type Zoom = { zoom: string | null; onZoom: (zoom: string | null) => void };

type Looks = {
  /** Whether it has a legend, where it needs one; without it, one appears where the figure stands alone. */
  legend?: boolean;
} & Partial<Zoom>;
type FigureProps = { figure: PlotlyFigure; label: string } & Looks;

const plotly = () => import("plotly.js-cartesian-dist-min").then((module) => module.default);

/** Draws a figure made by the server. Zoom and hidden traces survive new data, see the layout's `uirevision`. */
export function Figure({ figure, label, zoom, onZoom, legend = true }: FigureProps) {
  const element = useRef<HTMLElement>(null);
  const { ref: frame, toggle, fullscreen } = useFullscreenElement<HTMLDivElement>();
  const props = useRef({ zoom, onZoom });
  props.current = { zoom, onZoom };

  const zoomable = onZoom !== undefined;
  useEffect(() => {
    let outdated = false;
    void plotly().then(async ({ react }) => {
      if (outdated) return;
      // Plotly writes into what it is given; the query cache keeps the original.
      const { data, layout } = structuredClone(figure) as { data: object[]; layout: Record<string, unknown> };
      const first = !element.current!.classList.contains("js-plotly-plot");
      // Each time: Plotly keeps only a zoom that was made with the pointer, not one that it was given.
      if (props.current.zoom) zoomIn(layout, props.current.zoom);
      if (!legend && !fullscreen) layout.showlegend = false;
      if (fullscreen) delete layout.height;
      const drawn = await react(element.current!, data, layout, zoomable ? TO_ALL : TO_START);
      if (!first) return;
      drawn.on("plotly_relayout", (changes) => {
        if (Object.keys(changes).some((key) => /^[xy]axis/.test(key))) props.current.onZoom?.(zoomOf(drawn));
      });
    });
    return () => {
      outdated = true;
    };
  }, [figure, zoomable, legend, fullscreen]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: Plotly sees a window that gets another size, but not an element
  useEffect(() => {
    const drawn = element.current!;
    if (drawn.classList.contains("js-plotly-plot")) void plotly().then(({ Plots }) => Plots.resize(drawn));
  }, [fullscreen]);

  useEffect(() => {
    const drawn = element.current!;
    return () => void plotly().then(({ purge }) => purge(drawn));
  }, []);

  const height = (figure.layout as { height?: number }).height;
  return (
    <div className="with-save" ref={frame}>
      <figure ref={element} className="figure" style={{ height: fullscreen ? undefined : height }} aria-label={label} />
      <Group className="save" gap={2}>
        {document.fullscreenEnabled && (
          <FigureButton
            label={fullscreen ? `Leave full screen` : `Show ${label} on the full screen`}
            onClick={() => void toggle()}
          >
            <IconMaximize size={15} aria-hidden />
          </FigureButton>
        )}
        <FigureButton
          label={`Save ${label} as SVG`}
          onClick={() => void saveAsSvg(element.current as PlotlyElement, label)}
        >
          <IconDownload size={15} aria-hidden />
        </FigureButton>
      </Group>
    </div>
  );
}

function FigureButton({ label, onClick, children }: { label: string; onClick: () => void; children: React.ReactNode }) {
  return (
    <Tooltip label={label} withinPortal={false}>
      <ActionIcon variant="subtle" color="gray" size="sm" aria-label={label} onClick={onClick}>
        {children}
      </ActionIcon>
    </Tooltip>
  );
}

function zoomIn(layout: object, zoom: string) {
  const [x0, x1, y0, y1] = zoom.split(",").map((end) => (end === "" ? NaN : Number(end))) as [
    number,
    number,
    number,
    number,
  ];
  const axes = layout as Record<"xaxis" | "yaxis", object>;
  if (Number.isFinite(x0 + x1)) Object.assign(axes.xaxis, { range: [x0, x1], autorange: false });
  if (Number.isFinite(y0 + y1)) Object.assign(axes.yaxis, { range: [y0, y1], autorange: false });
}

function zoomOf({ layout: { xaxis, yaxis } }: PlotlyElement): string | null {
  const ends = [xaxis, yaxis].flatMap(({ autorange, range }) =>
    autorange ? ["", ""] : range.map((end) => String(Number(end.toPrecision(5)))),
  );
  return ends.every((end) => end === "") ? null : ends.join(",");
}

/** As it is shown now, on the colour of the page: the ink is light in the dark theme. */
async function saveAsSvg(drawn: PlotlyElement, label: string) {
  const { toImage } = await plotly();
  const { offsetWidth: width, offsetHeight: height, data, layout } = drawn;
  const paper_bgcolor = getComputedStyle(drawn.closest(".mantine-Paper-root")!).backgroundColor;
  const url = await toImage(
    { data, layout: { ...layout, paper_bgcolor, showlegend: undefined } },
    { format: "svg", width, height },
  );
  save(`${label}.svg`, decodeURIComponent(url.slice(url.indexOf(",") + 1)), "image/svg+xml");
}

type Asked = { data: PlotlyFigure | undefined; error: Error | null };
type AskedProps = { asked: Asked; label: string; empty: string } & Looks;

/** A figure as soon as the server has drawn it; `empty` says when there will be something to see. */
export function AskedFigure({ asked, label, empty, ...looks }: AskedProps) {
  const { data, error } = asked;
  if (error instanceof ApiError && error.problem.status === 409) return <NotYet>{error.message}</NotYet>;
  if (error && !data) return <ErrorAlert title={`${label} cannot be drawn`} message={error.message} />;
  if (!data) {
    return (
      <Center className="figure">
        <Loader size="sm" role="status" aria-label={`${label} is loading`} />
      </Center>
    );
  }
  if (data.data.length === 0) return <NotYet>{empty}</NotYet>;
  return <Figure figure={data} label={label} {...looks} />;
}

function NotYet({ children }: { children: string }) {
  return (
    <Center className="figure">
      <Text size="sm" c="dimmed">
        {children}
      </Text>
    </Center>
  );
}

type CurvesProps = { query: CurvesQuery; label: string } & Looks;

/** The query of a figure of curves, in the colours of the page. */
export const useCurves = (query: CurvesQuery) => curvesQuery({ ...query, theme: useComputedColorScheme("light") });

/** A metric in the course of training. */
export function Curves({ query, label, ...looks }: CurvesProps) {
  return (
    <AskedFigure
      asked={useQuery(useCurves(query))}
      label={label}
      empty="Curves appear when the first epoch is finished."
      {...looks}
    />
  );
}
