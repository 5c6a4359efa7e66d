import createClient from "openapi-fetch";

import { ADDRESS } from "../address";
import { author } from "./author";

import type { components, operations, paths } from "./schema";

type Schemas = components["schemas"];
export type Catalog = Schemas["Catalog"];
export type Comparison = Schemas["Comparison"];
export type Experiment = Schemas["Experiment"];
/** What the server tells of changes: the data of each kind of event. */
export type Events = Schemas["Events"];
export type Figure = Schemas["Figure"];
export type Glance = Schemas["Glance"];
export type ExperimentEdit = Schemas["ExperimentEdit"];
export type Lens = Schemas["Lens"];
export type Look = Schemas["Look"];
export type MoreRuns = Schemas["MoreRuns"];
export type OwnImage = Schemas["OwnImage"];
export type Planning = NonNullable<Experiment["planning"]>;
export type Pooling = Schemas["PoolingDetail"];
export type Preview = Schemas["Preview"];
export type Problem = Schemas["Problem"];
export type QueueState = Schemas["QueueState"];
export type Run = Schemas["Run"];
export type RunEdit = Schemas["RunEdit"];
export type RunSort = NonNullable<NonNullable<operations["list_runs_runs_get"]["parameters"]["query"]>["sort"]>;
export type RunGroup = Schemas["RunGroup"];
export type RunList = Schemas["RunList"];
export type Sparkline = Schemas["Sparkline"];
export type Session = Schemas["Session"];
export type State = Schemas["State"];
export type Stat = Schemas["Stat"];
export type VariantColor = Schemas["VariantColor"];
export type Worker = Schemas["Worker"];
export type WorkerList = Schemas["WorkerList"];

export const STATES: readonly State[] = ["queued", "running", "completed", "failed", "cancelled"];

/** What the API answered instead of success: its problem document (RFC 9457). */
export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

/** A variant's colour on pages of either theme, for CSS. */
export const inColor = ({ light, dark }: VariantColor) => `light-dark(${light}, ${dark})`;

/** Whether there is no such thing, or no longer: what was read of it before must not be shown then. */
export const isGone = (error: Error | null) => error instanceof ApiError && error.problem.status === 404;

export const api = createClient<paths>({ baseUrl: ADDRESS });

api.use({
  onRequest({ request }) {
    // Headers hold no more than ASCII.
    if (author()) request.headers.set("CCTBoard-User", encodeURIComponent(author()));
  },
});

/** The answer's body; throws `ApiError` for a problem and passes on what `fetch` throws when nobody answers. */
export async function body<T>(request: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await request;
  if (response.ok) return data as T;
  throw new ApiError(isProblem(error) ? error : unexpected(response));
}

function isProblem(error: unknown): error is Problem {
  return typeof error === "object" && error !== null && "detail" in error;
}

function unexpected({ status, statusText }: Response): Problem {
  return {
    type: "about:blank",
    title: statusText,
    status,
    detail: `The board answered ${status} ${statusText}`,
    errors: [],
  };
}
