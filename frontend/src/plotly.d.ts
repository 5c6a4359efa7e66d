/** The few functions used of the partial bundle, which comes without types. */
declare module "plotly.js-cartesian-dist-min" {
  interface Figure {
    data: object[];
    layout: Record<string, unknown>;
  }
  interface Axis {
    range: [number, number];
    autorange?: boolean;
  }
  /** What a figure was drawn into. */
  interface PlotlyElement extends HTMLElement {
    data: object[];
    layout: { xaxis: Axis; yaxis: Axis };
    on(event: "plotly_relayout", listener: (changes: object) => void): void;
  }
  const Plotly: {
    react(element: HTMLElement, data: object[], layout: object, config: object): Promise<PlotlyElement>;
    purge(element: HTMLElement): void;
    /** A data URL. */
    toImage(
      figure: { data: object[]; layout: object },
      options: { format: "svg"; width: number; height: number },
    ): Promise<string>;
    Plots: { resize(element: HTMLElement): Promise<void> };
  };
  export default Plotly;
  export type { Figure, PlotlyElement };
}
