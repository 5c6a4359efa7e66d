import type { Query, QueryClient } from "@tanstack/react-query";

import type { Events, Experiment, QueueState, Run, RunList, Sparkline, WorkerList } from "./client";
import type { Selection } from "./queries";

const REFETCH_DELAY_MS = 250;

/** The line up to and with the epoch; an event may arrive twice. */
function withPoint(line: Sparkline, epoch: number, top1: number): Sparkline {
  if (line.epochs.includes(epoch)) return line;
  return { ...line, epochs: [...line.epochs, epoch], val_top1: [...line.val_top1, top1] };
}

const planOf = ({ plan_state, planning, max_seeds, exploratory }: Experiment) => [
  plan_state,
  planning,
  max_seeds,
  exploratory,
];

/** Writes events into the query cache. Rows are patched at once; what is derived from rows is refetched in batches. */
export class LiveCache {
  private readonly kinds = new Map<string, string>();
  private changed: ((query: Query) => boolean)[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private refetching = false;
  private closed = false;

  constructor(private readonly queries: QueryClient) {}

  run(run: Run) {
    this.patch<Run>(["run", run.id], () => run);
    this.patch<RunList>(["runs"], (list) => ({
      ...list,
      runs: list.runs.map((row) => (row.id === run.id ? run : row)),
    }));
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
    this.refetchGlance(run.experiment_id);
  }

  experiment(experiment: Experiment) {
    const known =
      this.queries.getQueryData<Experiment>(["experiment", experiment.id]) ??
      this.queries
        .getQueryData<{ experiments: Experiment[] }>(["experiments"])
        ?.experiments.find(({ id }) => id === experiment.id);
    // What its plan has decided is in the verdicts and figures, too.
    if (known && JSON.stringify(planOf(known)) !== JSON.stringify(planOf(experiment))) {
      this.refetchExperiment(experiment.id);
    }
    this.patch<Experiment>(["experiment", experiment.id], () => experiment);
    this.patch<{ experiments: Experiment[] }>(["experiments"], (list) => {
      const known = list.experiments.some(({ id }) => id === experiment.id);
      const experiments = list.experiments.map((row) => (row.id === experiment.id ? experiment : row));
      return { experiments: known ? experiments : [experiment, ...experiments] };
    });
  }

  epoch(event: Events["epoch"]) {
    const { epoch, val_top1 } = event.record;
    this.patch<{ sparklines: Sparkline[] }>(["sparklines"], (list) => ({
      sparklines: list.sparklines.map((line) =>
        line.run_id === event.run_id ? withPoint(line, epoch, val_top1) : line,
      ),
    }));
    this.refetchDerived(event.run_id, event.experiment_id);
  }

  workers(list: WorkerList) {
    this.patch<WorkerList>(["workers"], () => list);
    this.refetch(({ queryKey: [kind] }) => kind === "queue");
  }

  queue({ paused }: Events["queue"]) {
    this.patch<QueueState>(["queue"], (queue) => ({ ...queue, paused }));
    this.refetch(({ queryKey: [kind] }) => kind === "queue");
  }

  deleted({ run_id: run, experiment_id: experiment }: Events["deleted"]) {
    // Without its row, an open page asks again and shows that there is no such run or experiment any more.
    void this.queries.resetQueries({ queryKey: run ? ["run", run] : ["experiment", experiment], exact: true });
    this.refetchLists();
    if (run) this.refetchDerived(run, experiment);
    this.refetchGlance(experiment);
  }

  ownImage(event: Events["own_image"]) {
    this.refetch(({ queryKey: [kind, id] }) => kind === "own_image" && id === event.id);
  }

  poolings() {
    this.refetch(({ queryKey: [kind] }) => kind === "catalog" || kind === "pooling");
  }

  poolingCheck({ name }: Events["pooling_check"]) {
    // A name alone stands for its newest code.
    this.refetch(({ queryKey: [kind, asked] }) => kind === "pooling" && name.startsWith(String(asked)));
  }

  /** After a time without events, in which anything may have changed. */
  everything() {
    void this.askAgain(() => true);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.changed = [];
  }

  /** What the event says is shown at once. An answer under way may be older than it, and is asked for again. */
  private patch<T>(queryKey: unknown[], update: (shown: T) => T) {
    this.queries.setQueriesData<T>({ queryKey }, (shown) => shown && update(shown));
    for (const asked of this.queries.getQueryCache().findAll({ queryKey, fetchStatus: "fetching" })) {
      this.refetch((query) => query === asked);
    }
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

  private refetchGlance(experiment: string | null | undefined) {
    this.refetch(({ queryKey: [kind, ids] }) => kind === "glances" && (ids as unknown[]).includes(experiment));
  }

  private refetchExperiment(id: string) {
    this.refetchGlance(id);
    this.refetch(
      ({ queryKey: [kind, query] }) =>
        (kind === "figure" || kind === "comparison") && (query as { experiment?: string }).experiment === id,
    );
  }

  private refetch(matches: (query: Query) => boolean) {
    if (this.closed) return;
    this.changed.push(matches);
    if (!this.refetching) this.timer ??= setTimeout(() => void this.flush(), REFETCH_DELAY_MS);
  }

  // One round at a time: a refetch always starts after the event that asked for it, and never cancels another.
  private async flush() {
    const changed = this.changed;
    this.changed = [];
    this.timer = undefined;
    this.refetching = true;
    await this.askAgain((query) => changed.some((matches) => matches(query)));
    this.refetching = false;
    if (this.changed.length > 0) this.timer = setTimeout(() => void this.flush(), REFETCH_DELAY_MS);
  }

  /** TanStack Query lets an answer under way count as the new one if it is the first, or of a page that was left. It may
   * be the old one, so these are asked for once more after it. */
  private async askAgain(predicate: (query: Query) => boolean) {
    for (const asked of this.queries.getQueryCache().findAll({ predicate, fetchStatus: "fetching" })) {
      if (asked.state.data === undefined || !asked.isActive()) {
        asked.promise?.then(() => this.refetch((query) => query === asked)).catch(() => {});
      }
    }
    await this.queries.invalidateQueries({ predicate });
  }
}
