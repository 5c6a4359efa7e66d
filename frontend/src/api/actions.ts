import { notifications } from "@mantine/notifications";
import { useMutation, useQueryClient } from "@tanstack/react-query";

import { plural } from "../format";
import type { Value } from "./spec";
import { api, body, type ExperimentEdit, type MoreRuns, type Run, type RunEdit } from "./client";

const AT_ONCE = 5;

/** Fresh seeds on which claims are tried. */
export const CONFIRMING = 3;

/** What users do to a run, by its id. */
export const onRun = {
  cancel: (id: string) => body(api.POST("/runs/{run_id}/cancel", run(id))),
  retry: (id: string) => body(api.POST("/runs/{run_id}/retry", run(id))),
  delete: (id: string) => body(api.DELETE("/runs/{run_id}", run(id))),
  extend: (id: string, epochs: number) => body(api.POST("/runs/{run_id}/extend", { ...run(id), body: { epochs } })),
  /** Sends what was changed of them only, so that what others change meanwhile stays. */
  retag: ({ id, tags }: Run, changed: string[]) =>
    onRun.edit(id, {
      add_tags: changed.filter((tag) => !tags.includes(tag)),
      remove_tags: tags.filter((tag) => !changed.includes(tag)),
    }),
  edit: (id: string, edit: RunEdit) => body(api.PATCH("/runs/{run_id}", { ...run(id), body: edit })),
};

export const onExperiment = {
  cancel: (id: string) => body(api.POST("/experiments/{experiment_id}/cancel", experiment(id))),
  addRuns: (id: string, more: MoreRuns) =>
    body(api.POST("/experiments/{experiment_id}/runs", { ...experiment(id), body: more })),
  retry: (id: string) => body(api.POST("/experiments/{experiment_id}/retry", experiment(id))),
  /** A new experiment that asks the same with a plan, on new seeds; what is left out of the plan has its default. */
  plan: (id: string, plan: Record<string, Value>) =>
    body(api.POST("/experiments/{experiment_id}/plan", { ...experiment(id), body: plan as never })),
  /** A new experiment that tries on fresh seeds what the plan has claimed. */
  confirm: (id: string) =>
    body(api.POST("/experiments/{experiment_id}/confirm", { ...experiment(id), body: { seeds: CONFIRMING } })),
  delete: (id: string) => body(api.DELETE("/experiments/{experiment_id}", experiment(id))),
  edit: (id: string, edit: ExperimentEdit) =>
    body(api.PATCH("/experiments/{experiment_id}", { ...experiment(id), body: edit })),
};

export const onPooling = {
  check: (name: string) => body(api.POST("/poolings/{name}/check", { params: { path: { name } } })),
};

export const onQueue = {
  pause: () => body(api.POST("/queue/pause")),
  resume: () => body(api.POST("/queue/resume")),
};

const run = (run_id: string) => ({ params: { path: { run_id } } });
const experiment = (experiment_id: string) => ({ params: { path: { experiment_id } } });

/** A change of the board: afterwards everything is read again; a refusal is shown under the given title. */
export function useAction<T = void>(failed: string, change: (given: T) => Promise<unknown>, done?: () => void) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: change,
    onSuccess: done,
    onError: (error) => notifications.show({ color: "red", title: failed, message: error.message }),
    onSettled: () => queries.invalidateQueries(),
  });
}

/** Does the same to many runs, a few at once. Throws what the first refusal said, after all were tried. */
export async function toEach(ids: string[], change: (id: string) => Promise<unknown>): Promise<void> {
  const waiting = [...ids];
  const refusals: Error[] = [];
  async function work() {
    for (let id = waiting.shift(); id; id = waiting.shift()) {
      await change(id).catch((error: Error) => refusals.push(error));
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const [first] = refusals;
  if (first) throw new Error(`${plural(refusals.length, "run")} of ${ids.length} stayed as before: ${first.message}`);
}
