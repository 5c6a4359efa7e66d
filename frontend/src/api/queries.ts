import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { api, body, type RunSort, type State } from "./client";
import type { paths } from "./schema";

/** The runs that a comparison or a figure is about: all of an experiment, or a hand-picked set. */
export type Selection = { experiment: string } | { run: string[] };

export type RunFilter = {
  state?: State[];
  experiment?: string;
  text?: string;
  sort?: RunSort;
  descending?: boolean;
  limit?: number;
  offset?: number;
};

type FigureOptions<Path extends keyof paths> = paths[Path] extends { get: { parameters: { query?: infer Query } } }
  ? Omit<NonNullable<Query>, "experiment" | "run">
  : never;
export type CurvesQuery = Selection & FigureOptions<"/figures/curves">;

export const catalogQuery = queryOptions({
  queryKey: ["catalog"],
  queryFn: () => body(api.GET("/catalog")),
  staleTime: Infinity,
});

export const sessionQuery = queryOptions({ queryKey: ["session"], queryFn: () => body(api.GET("/session")) });

export const queueQuery = queryOptions({ queryKey: ["queue"], queryFn: () => body(api.GET("/queue")) });

export const workersQuery = queryOptions({ queryKey: ["workers"], queryFn: () => body(api.GET("/workers")) });

export const experimentsQuery = queryOptions({
  queryKey: ["experiments"],
  queryFn: () => body(api.GET("/experiments")),
});

export const experimentQuery = (id: string) =>
  queryOptions({
    queryKey: ["experiment", id],
    queryFn: () => body(api.GET("/experiments/{experiment_id}", { params: { path: { experiment_id: id } } })),
  });

export const runsQuery = (filter: RunFilter) =>
  queryOptions({
    queryKey: ["runs", filter],
    queryFn: () => body(api.GET("/runs", { params: { query: filter } })),
    placeholderData: keepPreviousData,
  });

export const runQuery = (id: string) =>
  queryOptions({
    queryKey: ["run", id],
    queryFn: () => body(api.GET("/runs/{run_id}", { params: { path: { run_id: id } } })),
  });

export const logQuery = (id: string) =>
  queryOptions({
    queryKey: ["log", id],
    queryFn: () => body(api.GET("/runs/{run_id}/log", { params: { path: { run_id: id } } })),
  });

export const historyQuery = (id: string) =>
  queryOptions({
    queryKey: ["history", id],
    queryFn: () => body(api.GET("/runs/{run_id}/history", { params: { path: { run_id: id } } })),
  });

export const comparisonQuery = (query: Selection & { group: string; baseline?: string }) =>
  queryOptions({
    queryKey: ["comparison", query],
    queryFn: () => body(api.GET("/comparison", { params: { query } })),
    placeholderData: keepPreviousData,
  });

/** The selection comes first in the key: events of its runs make the figure be drawn anew. */
const figureQuery = <Query extends Selection, Figure>(query: Query, kind: string, draw: () => Promise<Figure>) =>
  queryOptions({
    queryKey: ["figure", query, kind],
    queryFn: draw,
    placeholderData: keepPreviousData,
    structuralSharing: false,
  });

export const curvesQuery = (query: CurvesQuery) =>
  figureQuery(query, "curves", () => body(api.GET("/figures/curves", { params: { query } })));

export const finalsQuery = (query: Selection & FigureOptions<"/figures/finals">) =>
  figureQuery(query, "finals", () => body(api.GET("/figures/finals", { params: { query } })));

export const differencesQuery = (query: Selection & FigureOptions<"/figures/differences">) =>
  figureQuery(query, "differences", () => body(api.GET("/figures/differences", { params: { query } })));

export const costQuery = (query: Selection & FigureOptions<"/figures/cost">) =>
  figureQuery(query, "cost", () => body(api.GET("/figures/cost", { params: { query } })));

export type ExperimentRequest = NonNullable<paths["/experiments/preview"]["post"]["requestBody"]>["content"]["application/json"];

export const previewQuery = (request: ExperimentRequest) =>
  queryOptions({
    queryKey: ["preview", request],
    queryFn: () => body(api.POST("/experiments/preview", { body: request })),
    placeholderData: keepPreviousData,
  });
