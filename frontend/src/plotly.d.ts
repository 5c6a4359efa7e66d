/** The few functions used of the partial bundle, which comes without types. */
declare module "plotly.js-basic-dist-min" {
  interface Figure {
    data: object[];
    layout: Record<string, unknown>;
  }
  const Plotly: {
    react(element: HTMLElement, data: object[], layout: object, config: object): Promise<void>;
    purge(element: HTMLElement): void;
    Plots: { resize(element: HTMLElement): Promise<void> };
  };
  export default Plotly;
  export type { Figure };
}
