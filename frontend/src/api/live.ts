import { useQueryClient, type Query, type QueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { notice, type News } from "../notices";
import type { EpochEvent, Experiment, QueueState, Run, RunList, Sparkline, WorkerList } from "./client";
import { queueQuery, sessionQuery, type Selection } from "./queries";

const REFETCH_DELAY_MS = 250;
const STALE_AFTER_MS = 10_000;
const REOPEN_AFTER_MS = 3_000;

export type LiveStatus = { state: "live" } | { state: "reconnecting"; why?: string } | { state: "stale"; since: Date };

type DeletedEvent = { run_id: string | null; experiment_id: string | null };

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
        if (source.readyState !== EventSource.CLOSED) return;
        // The answer was an error; one that asks for a login shows the login page.
        void queries.invalidateQueries(sessionQuery);
        reopen = window.setTimeout(open, REOPEN_AFTER_MS);
      });
      source.addEventListener("run", (event) => cache.run(JSON.parse(event.data) as Run));
      source.addEventListener("experiment", (event) => cache.experiment(JSON.parse(event.data) as Experiment));
      source.addEventListener("epoch", (event) => cache.epoch(JSON.parse(event.data) as EpochEvent));
      source.addEventListener("worker", (event) => cache.workers(JSON.parse(event.data) as WorkerList));
      source.addEventListener("queue", (event) => cache.queue(JSON.parse(event.data) as Pick<QueueState, "paused">));
      source.addEventListener("deleted", (event) => cache.deleted(JSON.parse(event.data) as DeletedEvent));
      source.addEventListener("own_image", (event) => cache.ownImage(JSON.parse(event.data) as { id: string }));
      source.addEventListener("news", (event) => void notice(JSON.parse(event.data) as News, queries));
      source.addEventListener("database", (event) => {
        const { reachable } = JSON.parse(event.data) as { reachable: boolean };
        setStatus(reachable ? { state: "live" } : { state: "reconnecting", why: "database unreachable" });
        if (reachable) void queries.invalidateQueries();
      });
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

/** The line up to and with the epoch; an event may arrive twice. */
function withPoint(line: Sparkline, epoch: number, top1: number): Sparkline {
  if (line.epochs.includes(epoch)) return line;
  return { ...line, epochs: [...line.epochs, epoch], val_top1: [...line.val_top1, top1] };
}

/** Writes events into the query cache. Rows are patched at once; what is derived from rows is refetched in batches. */
class LiveCache {
  private readonly kinds = new Map<string, string>();
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
    // A queued run's event may tell of another priority, which is in its history too.
    if (run.state === "queued") {
      this.refetch(({ queryKey: [kind, id] }) => kind === "queue" || (kind === "history" && id === run.id));
    }
    const kind = `${run.state} ${run.archived}`;
    if (this.kinds.get(run.id) === kind) return;
    // A new state changes which lists the run is in and who is compared.
    this.kinds.set(run.id, kind);
    this.refetchLists();
    this.refetch(({ queryKey: [kind, id] }) => kind === "history" && id === run.id);
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
    const { epoch, val_top1 } = event.record;
    this.queries.setQueriesData<{ sparklines: Sparkline[] }>(
      { queryKey: ["sparklines"] },
      (list) =>
        list && {
          sparklines: list.sparklines.map((line) =>
            line.run_id === event.run_id ? withPoint(line, epoch, val_top1) : line,
          ),
        },
    );
    this.refetchDerived(event.run_id, event.experiment_id);
  }

  workers(list: WorkerList) {
    this.queries.setQueryData(["workers"], list);
    this.refetch(({ queryKey: [kind] }) => kind === "queue");
  }

  queue({ paused }: Pick<QueueState, "paused">) {
    this.queries.setQueryData(queueQuery.queryKey, (queue) => queue && { ...queue, paused });
    this.refetch(({ queryKey: [kind] }) => kind === "queue");
  }

  deleted({ run_id: run, experiment_id: experiment }: DeletedEvent) {
    // Without its row, an open page asks again and shows that there is no such run or experiment any more.
    void this.queries.resetQueries({ queryKey: run ? ["run", run] : ["experiment", experiment], exact: true });
    this.refetchLists();
    if (run) this.refetchDerived(run, experiment);
  }

  ownImage(event: { id: string }) {
    this.refetch(({ queryKey: [kind, id] }) => kind === "own_image" && id === event.id);
  }

  close() {
    clearTimeout(this.timer);
    this.changed = [];
  }

  private refetchLists() {
    const lists = ["runs", "run groups", "experiments", "experiment", "queue"];
    this.refetch(({ queryKey: [kind] }) => lists.includes(kind as string));
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
