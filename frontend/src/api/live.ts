import { useQueryClient, type Query, type QueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import type { EpochEvent, Experiment, Run, RunList, State, WorkerList } from "./client";
import type { Selection } from "./queries";

const REFETCH_DELAY_MS = 250;
const STALE_AFTER_MS = 10_000;
const REOPEN_AFTER_MS = 3_000;

export type LiveStatus = { state: "live" | "reconnecting" } | { state: "stale"; since: Date };

/**
 * Keeps every cached query current from the server's events for as long as the calling component is mounted.
 * The browser reconnects by itself and continues after the last event; a refused connection is opened anew here.
 */
export function useLiveUpdates(): LiveStatus {
  const queries = useQueryClient();
  const [status, setStatus] = useState<LiveStatus>({ state: "reconnecting" });

  useEffect(() => {
    const cache = new LiveCache(queries);
    let source: EventSource;
    let reopen: number | undefined;
    let stale: number | undefined;

    function open() {
      source = new EventSource("/events");
      source.addEventListener("open", () => {
        clearTimeout(stale);
        stale = undefined;
        setStatus({ state: "live" });
        // What changed before the connection stood is unknown.
        void queries.invalidateQueries();
      });
      source.addEventListener("error", () => {
        setStatus((now) => (now.state === "stale" ? now : { state: "reconnecting" }));
        const since = new Date();
        stale ??= window.setTimeout(() => setStatus({ state: "stale", since }), STALE_AFTER_MS);
        if (source.readyState === EventSource.CLOSED) reopen = window.setTimeout(open, REOPEN_AFTER_MS);
      });
      source.addEventListener("run", (event) => cache.run(JSON.parse(event.data) as Run));
      source.addEventListener("experiment", (event) => cache.experiment(JSON.parse(event.data) as Experiment));
      source.addEventListener("epoch", (event) => cache.epoch(JSON.parse(event.data) as EpochEvent));
      source.addEventListener("worker", (event) => cache.workers(JSON.parse(event.data) as WorkerList));
      source.addEventListener("reset", () => void queries.invalidateQueries());
    }

    open();
    return () => {
      source.close();
      cache.close();
      clearTimeout(reopen);
      clearTimeout(stale);
    };
  }, [queries]);

  return status;
}

/** Writes events into the query cache. Rows are patched at once; what is derived from rows is refetched in batches. */
class LiveCache {
  private readonly states = new Map<string, State>();
  private changed: ((query: Query) => boolean)[] = [];
  private timer: number | undefined;
  private refetching = false;

  constructor(private readonly queries: QueryClient) {}

  run(run: Run) {
    this.queries.setQueryData<Run>(["run", run.id], (row) => row && run);
    this.queries.setQueriesData<RunList>(
      { queryKey: ["runs"] },
      (list) => list && { ...list, runs: list.runs.map((row) => (row.id === run.id ? run : row)) },
    );
    this.refetch(({ queryKey: [kind, id] }) => kind === "log" && id === run.id);
    if (this.states.get(run.id) === run.state) return;
    // A new state changes which lists the run is in and who is compared.
    this.states.set(run.id, run.state);
    this.refetch(({ queryKey: [kind] }) => kind === "runs" || kind === "experiments" || kind === "experiment");
    this.refetchDerived(run.id, run.experiment_id ?? null);
  }

  experiment(experiment: Experiment) {
    this.queries.setQueryData<Experiment>(["experiment", experiment.id], (row) => row && experiment);
    this.queries.setQueryData<{ experiments: Experiment[] }>(["experiments"], (list) => {
      if (!list) return list;
      const known = list.experiments.some(({ id }) => id === experiment.id);
      const experiments = list.experiments.map((row) => (row.id === experiment.id ? experiment : row));
      return { experiments: known ? experiments : [experiment, ...experiments] };
    });
  }

  epoch(event: EpochEvent) {
    this.refetchDerived(event.run_id, event.experiment_id);
  }

  workers(list: WorkerList) {
    this.queries.setQueryData(["workers"], list);
  }

  close() {
    clearTimeout(this.timer);
    this.changed = [];
  }

  private refetchDerived(run: string, experiment: string | null) {
    this.refetch(({ queryKey: [kind, query] }) => {
      if (kind !== "figure" && kind !== "comparison") return false;
      const selection = query as Selection;
      return "run" in selection ? selection.run.includes(run) : selection.experiment === experiment;
    });
  }

  private refetch(matches: (query: Query) => boolean) {
    this.changed.push(matches);
    if (!this.refetching) this.timer ??= window.setTimeout(() => void this.flush(), REFETCH_DELAY_MS);
  }

  // One round at a time: a refetch always starts after the event that asked for it, and never cancels another.
  private async flush() {
    const changed = this.changed;
    this.changed = [];
    this.timer = undefined;
    this.refetching = true;
    await this.queries.invalidateQueries({ predicate: (query) => changed.some((matches) => matches(query)) });
    this.refetching = false;
    if (this.changed.length > 0) this.timer = window.setTimeout(() => void this.flush(), REFETCH_DELAY_MS);
  }
}
