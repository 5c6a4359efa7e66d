import { keepPreviousData, type QueryKey, queryOptions } from "@tanstack/react-query";

import { api, body, type Run, type RunList, type RunSort } from "./client";
import { LIMITS } from "./limits";
import type { operations, paths } from "./schema";

/** The runs that a comparison or a figure is about: all of an experiment, or a hand-picked set. */
export type Selection = { experiment: string } | { run: string[] };

type GroupsQuery = operations["group_runs_runs_groups_get"]["parameters"]["query"];
export type GroupBy = GroupsQuery["by"];
/** Which runs a list is about. */
export type RunFilter = Omit<GroupsQuery, "by" | "split">;
type RunPage = RunFilter & { sort?: RunSort; descending?: boolean; limit?: number; offset?: number };

type FigureOptions<Path extends keyof paths> = paths[Path] extends { get: { parameters: { query?: infer Query } } }
  ? Omit<NonNullable<Query>, "experiment" | "run">
  : never;
export type CurvesQuery = Selection & FigureOptions<"/figures/curves">;

export const catalogQuery = queryOptions({
  queryKey: ["catalog"],
  queryFn: () => body(api.GET("/catalog")),
  staleTime: Infinity,
});

export const poolingQuery = (name: string) =>
  queryOptions({
    queryKey: ["pooling", name],
    queryFn: () => body(api.GET("/poolings/{name}", { params: { path: { name } } })),
  });

export const codeDifferenceQuery = (name: string, other: string) =>
  queryOptions({
    queryKey: ["pooling", name, other],
    queryFn: () => body(api.GET("/poolings/{name}/difference/{other}", { params: { path: { name, other } } })),
  });

export const sessionQuery = queryOptions({ queryKey: ["session"], queryFn: () => body(api.GET("/session")) });

/** The queue as a whole, and the places of these runs. */
export const queueQuery = (run: string[] = []) =>
  queryOptions({
    queryKey: ["queue", run],
    queryFn: () => body(api.GET("/queue", { params: { query: { run } } })),
    placeholderData: keepPreviousData,
  });

export const workersQuery = queryOptions({ queryKey: ["workers"], queryFn: () => body(api.GET("/workers")) });

export const experimentsQuery = queryOptions({
  queryKey: ["experiments"],
  queryFn: () => body(api.GET("/experiments")),
});

/** What experiments have found out, in short; asked for again when the state of one of their runs changes. */
export const glancesQuery = (ids: string[]) =>
  queryOptions({
    queryKey: ["glances", ids],
    queryFn: () => body(api.GET("/experiments/glances", { params: { query: { experiment: ids } } })),
    placeholderData: keepPreviousData,
  });

export const experimentQuery = (id: string) =>
  queryOptions({
    queryKey: ["experiment", id],
    queryFn: () => body(api.GET("/experiments/{experiment_id}", { params: { path: { experiment_id: id } } })),
  });

export const runsQuery = (page: RunPage) =>
  queryOptions({
    queryKey: ["runs", page],
    queryFn: () => body(api.GET("/runs", { params: { query: page } })),
    placeholderData: keepPreviousData,
  });

/** All runs that the filter lets through, newest first, however many there are. */
export async function allRuns(filter: RunFilter): Promise<RunList> {
  const found = new Map<string, Run>();
  for (let offset = 0; ; offset += LIMITS.runs_per_page) {
    const query = { ...filter, limit: LIMITS.runs_per_page, offset };
    const { runs, total } = await body(api.GET("/runs", { params: { query } }));
    for (const run of runs) found.set(run.id, run); // one that comes meanwhile moves another to the next page
    if (offset + runs.length >= total || runs.length === 0) return { runs: [...found.values()], total };
  }
}

export const allRunsQuery = (filter: RunFilter) =>
  queryOptions({ queryKey: ["runs", filter, "all"], queryFn: () => allRuns(filter) });

export const runGroupsQuery = (filter: RunFilter, by: GroupBy, split: string[]) =>
  queryOptions({
    queryKey: ["run groups", filter, by, split],
    queryFn: () => body(api.GET("/runs/groups", { params: { query: { ...filter, by, split } } })),
    placeholderData: keepPreviousData,
  });

/** The course of the top-1 of these runs; epochs that finish later are added by their events. */
export const sparklinesQuery = (ids: string[]) =>
  queryOptions({
    queryKey: ["sparklines", ids],
    queryFn: () => body(api.GET("/runs/sparklines", { params: { query: { run: ids } } })),
    placeholderData: keepPreviousData,
    enabled: ids.length > 0,
  });

export const runQuery = (id: string) =>
  queryOptions({
    queryKey: ["run", id],
    queryFn: () => body(api.GET("/runs/{run_id}", { params: { path: { run_id: id } } })),
  });

/** What an evaluation has measured, once it has. */
export const epochsQuery = (id: string) =>
  queryOptions({
    queryKey: ["epochs", id],
    queryFn: () => body(api.GET("/runs/{run_id}/epochs", { params: { path: { run_id: id } } })),
    staleTime: Infinity,
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

/** Without a group an experiment is compared by what it varies. */
export const comparisonQuery = (query: operations["compare_comparison_get"]["parameters"]["query"] & Selection) =>
  queryOptions({
    queryKey: ["comparison", query],
    queryFn: () => body(api.GET("/comparison", { params: { query } })),
    placeholderData: keepPreviousData,
  });

/** The selection comes first in the key: events of its runs make the figure be drawn anew. */
const figureQuery = <Query extends Selection, Figure>(query: Query, kind: string, draw: () => Promise<Figure>) =>
  queryOptions({
    queryKey: ["figure", query, kind] as QueryKey,
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

export const planFigureQuery = (query: NonNullable<operations["draw_plan_figures_plan_get"]["parameters"]["query"]>) =>
  figureQuery(query, "plan", () => body(api.GET("/figures/plan", { params: { query } })));

export const tuningQuery = (experiment_id: string) =>
  queryOptions({
    queryKey: ["comparison", { experiment: experiment_id }, "tuning"],
    queryFn: () => body(api.GET("/experiments/{experiment_id}/tuning", { params: { path: { experiment_id } } })),
  });

export const trialsQuery = (query: operations["draw_trials_figures_trials_get"]["parameters"]["query"]) =>
  figureQuery(query, "trials", () => body(api.GET("/figures/trials", { params: { query } })));

export const parallelQuery = (query: operations["draw_parallel_figures_parallel_get"]["parameters"]["query"]) =>
  figureQuery(query, "parallel", () => body(api.GET("/figures/parallel", { params: { query } })));

export const reliabilityQuery = (query: Selection & FigureOptions<"/figures/reliability">) =>
  figureQuery(query, "reliability", () => body(api.GET("/figures/reliability", { params: { query } })));

export const interactionQuery = (query: Selection & FigureOptions<"/figures/interaction">) =>
  figureQuery(query, "interaction", () => body(api.GET("/figures/interaction", { params: { query } })));

export const heatQuery = (query: Selection & FigureOptions<"/figures/heat">) =>
  figureQuery(query, "heat", () => body(api.GET("/figures/heat", { params: { query } })));

export const factorsQuery = (query: Selection & FigureOptions<"/figures/factors">) =>
  figureQuery(query, "factors", () => body(api.GET("/figures/factors", { params: { query } })));

export const costQuery = (query: Selection & FigureOptions<"/figures/cost">) =>
  figureQuery(query, "cost", () => body(api.GET("/figures/cost", { params: { query } })));

export const confusionQuery = (query: Selection & FigureOptions<"/figures/confusion">) =>
  figureQuery(query, "confusion", () => body(api.GET("/figures/confusion", { params: { query } })));

export const classesQuery = (query: Selection & FigureOptions<"/figures/classes">) =>
  figureQuery(query, "classes", () => body(api.GET("/figures/classes", { params: { query } })));

export const systemQuery = (id: string, theme: "light" | "dark") =>
  queryOptions({
    queryKey: ["figure", { run: [id] }, "system", theme],
    queryFn: () => body(api.GET("/figures/system", { params: { query: { run: id, theme } } })),
    structuralSharing: false,
  });

/** Anew for each epoch and state: that is when files change. */
export const filesQuery = ({ id, epoch, final_top1, state }: Run) =>
  queryOptions({
    queryKey: ["files", id, epoch, final_top1, state],
    queryFn: () => body(api.GET("/runs/{run_id}/files", { params: { path: { run_id: id } } })),
    placeholderData: keepPreviousData,
  });

export const ownImageQuery = (id: string) =>
  queryOptions({
    queryKey: ["own_image", id],
    queryFn: () => body(api.GET("/lens/images/{image_id}", { params: { path: { image_id: id } } })),
  });

export type ExperimentRequest = NonNullable<
  paths["/experiments/preview"]["post"]["requestBody"]
>["content"]["application/json"];

export const previewQuery = (request: ExperimentRequest) =>
  queryOptions({
    queryKey: ["preview", request],
    queryFn: () => body(api.POST("/experiments/preview", { body: request })),
    placeholderData: keepPreviousData,
  });
