import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, test } from "vitest";

import type { Events, Experiment, Run, RunList, Sparkline } from "./client";
import { LiveCache } from "./liveCache";

let queries: QueryClient;
let cache: LiveCache;
let stop: (() => void)[];

beforeEach(() => {
  queries = new QueryClient();
  cache = new LiveCache(queries);
  stop = [];
});

afterEach(() => {
  for (const each of stop) each();
  cache.close();
  queries.clear();
});

const run = (id: string, more: Partial<Run> = {}) =>
  ({ id, experiment_id: "e", state: "running", archived: false, step: 0, ...more }) as Run;

const epoch = (run_id: string, epoch: number, val_top1: number) =>
  ({ run_id, experiment_id: "e", record: { epoch, val_top1 } }) as Events["epoch"];

/** A query that a page shows: how often it was asked, each time for `takes` ms. What it answers is known when it is asked. */
function shown(key: unknown[], takes = 0, answers: () => unknown = () => ({ runs: [] })) {
  const asked = { times: 0, atOnce: 0, mostAtOnce: 0 };
  const observer = new QueryObserver(queries, {
    queryKey: key,
    queryFn: async () => {
      asked.times += 1;
      asked.atOnce += 1;
      asked.mostAtOnce = Math.max(asked.mostAtOnce, asked.atOnce);
      const answer = answers();
      await pause(takes);
      asked.atOnce -= 1;
      return answer;
    },
    staleTime: Infinity,
  });
  stop.push(observer.subscribe(() => {}));
  return asked;
}

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Long enough for a round of refetches. */
const ROUND_MS = 350;

test("a run's row changes in every list that has it, and nowhere else", () => {
  const others = run("b");
  queries.setQueryData<RunList>(["runs", { limit: 50 }], { runs: [run("a"), others], total: 2 });
  queries.setQueryData(["run", "a"], run("a"));
  cache.run(run("a", { step: 7 }));
  cache.run(run("never shown", { step: 7 }));
  const list = queries.getQueryData<RunList>(["runs", { limit: 50 }])!;
  expect(list.runs.map(({ step }) => step)).toEqual([7, 0]);
  expect(list.runs[1]).toBe(others);
  expect(queries.getQueryData<Run>(["run", "a"])?.step).toBe(7);
  expect(queries.getQueryData(["run", "never shown"])).toBeUndefined();
});

test("lists are asked for again when a run has another state, not at each of its steps", async () => {
  const list = shown(["runs", {}]);
  const comparison = shown(["comparison", { experiment: "e", group: "pooling" }]);
  const elsewhere = shown(["comparison", { experiment: "another", group: "pooling" }]);
  await pause(10);
  cache.run(run("a"));
  await pause(ROUND_MS);
  expect([list.times, comparison.times, elsewhere.times]).toEqual([2, 2, 1]);
  cache.run(run("a", { step: 1 }));
  cache.run(run("a", { step: 2 }));
  await pause(ROUND_MS);
  expect([list.times, comparison.times]).toEqual([2, 2]);
  cache.run(run("a", { state: "completed" }));
  await pause(ROUND_MS);
  expect([list.times, comparison.times, elsewhere.times]).toEqual([3, 3, 1]);
});

test("an epoch adds one point to its curve, even if it is told twice", () => {
  const line: Sparkline = { run_id: "a", epochs: [1], val_top1: [50] };
  queries.setQueryData(["sparklines", ["a"]], { sparklines: [line] });
  cache.epoch(epoch("a", 2, 60));
  cache.epoch(epoch("a", 2, 60));
  cache.epoch(epoch("b", 3, 70));
  expect(queries.getQueryData(["sparklines", ["a"]])).toEqual({
    sparklines: [{ run_id: "a", epochs: [1, 2], val_top1: [50, 60] }],
  });
});

test("many events make few refetches, one at a time, and the last event is never missed", async () => {
  const figure = shown(["figure", { run: ["a"] }, "curves"], 200);
  await pause(250);
  const before = figure.times;
  for (let number = 1; number <= 30; number++) {
    cache.epoch(epoch("a", number, 50));
    await pause(20);
  }
  const asked = figure.times;
  expect(asked - before).toBeLessThan(10);
  await pause(2 * ROUND_MS + 200);
  expect(figure.times).toBeGreaterThan(before);
  expect(figure.mostAtOnce).toBe(1);
  const settled = figure.times;
  cache.epoch(epoch("a", 31, 50));
  await pause(ROUND_MS);
  expect(figure.times).toBe(settled + 1);
});

/** A page of the run "a", whose answers take long enough for an event to come before them. */
function slowPage(takes = 60, now = { state: "queued" }) {
  const page = shown(["run", "a"], takes, () => run("a", now as Partial<Run>));
  return { page, now, shows: () => queries.getQueryData<Run>(["run", "a"])?.state };
}

test("a first answer that is older than an event is asked for again", async () => {
  const { page, now, shows } = slowPage();
  await pause(20);
  now.state = "cancelled";
  cache.run(run("a", { state: "cancelled" }));
  await pause(80);
  expect(shows()).toBe("queued");
  await pause(2 * ROUND_MS);
  expect([shows(), page.times]).toEqual(["cancelled", 2]);
});

test("a later answer that is older than an event is asked for again", async () => {
  const { now, shows } = slowPage();
  await pause(80);
  void queries.invalidateQueries();
  await pause(20);
  now.state = "cancelled";
  cache.run(run("a", { state: "cancelled" }));
  expect(shows()).toBe("cancelled");
  await pause(2 * ROUND_MS);
  expect(shows()).toBe("cancelled");
});

test("so is one of a page that was left before it came, once the page is shown again", async () => {
  const { now, shows } = slowPage(400);
  await pause(450);
  void queries.invalidateQueries();
  await pause(20);
  for (const each of stop) each();
  now.state = "cancelled";
  cache.run(run("a", { state: "cancelled" }));
  await pause(450 + ROUND_MS);
  expect(shows()).toBe("queued");
  slowPage(20, now);
  await pause(50);
  expect(shows()).toBe("cancelled");
});

test("after a time without events a first answer under way is asked for again, too", async () => {
  const { page, now, shows } = slowPage();
  await pause(20);
  now.state = "cancelled";
  cache.everything();
  await pause(2 * ROUND_MS);
  expect([shows(), page.times]).toEqual(["cancelled", 2]);
});

test("a deleted run's page asks again, and so do the lists", async () => {
  const page = shown(["run", "a"]);
  const list = shown(["runs", {}]);
  const other = shown(["run", "b"]);
  await pause(10);
  cache.deleted({ run_id: "a", experiment_id: "e" });
  await pause(ROUND_MS);
  expect([page.times, list.times, other.times]).toEqual([2, 2, 1]);
});

test("an experiment that is new comes first, one that is known is replaced where it stands", () => {
  const experiment = (id: string, name: string) => ({ id, name }) as Experiment;
  queries.setQueryData(["experiments"], { experiments: [experiment("a", "first")] });
  cache.experiment(experiment("b", "second"));
  cache.experiment(experiment("a", "renamed"));
  expect(queries.getQueryData(["experiments"])).toEqual({
    experiments: [experiment("b", "second"), experiment("a", "renamed")],
  });
});

test("verdicts and figures are asked for again when a plan has decided, not at each count of its runs", async () => {
  const planned = (running: number, plan_state: string) => ({ id: "e", running, plan_state }) as Experiment;
  queries.setQueryData(["experiment", "e"], planned(1, "open"));
  const comparison = shown(["comparison", { experiment: "e" }]);
  const figure = shown(["figure", { experiment: "e", variant: "a" }, "plan"]);
  const elsewhere = shown(["figure", { experiment: "another" }, "plan"]);
  const glances = shown(["glances", ["d", "e"]]);
  await pause(10);
  cache.experiment(planned(0, "open"));
  await pause(ROUND_MS);
  expect([comparison.times, figure.times, glances.times]).toEqual([1, 1, 1]);
  cache.experiment(planned(0, "ended"));
  await pause(ROUND_MS);
  expect(glances.times).toBe(2);
  expect([comparison.times, figure.times, elsewhere.times]).toEqual([2, 2, 1]);
});

test("a check of a pooling concerns its page by either name, a saved file all of them and what can be chosen", async () => {
  const [full, bare, other, catalog] = ["mine@1f2e3d4c", "mine", "gem"]
    .map((name) => shown(["pooling", name]))
    .concat(shown(["catalog"]));
  await pause(10);
  cache.poolingCheck({ name: "mine@1f2e3d4c" });
  await pause(ROUND_MS);
  expect([full!.times, bare!.times, other!.times, catalog!.times]).toEqual([2, 2, 1, 1]);
  cache.poolings();
  await pause(ROUND_MS);
  expect([full!.times, bare!.times, other!.times, catalog!.times]).toEqual([3, 3, 2, 2]);
});

test("after it is closed nothing is asked for", async () => {
  const list = shown(["runs", {}]);
  await pause(10);
  cache.run(run("a"));
  cache.close();
  await pause(ROUND_MS);
  expect(list.times).toBe(1);
});
