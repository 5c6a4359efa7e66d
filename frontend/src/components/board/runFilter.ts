import type { RunSort, State } from "../../api/client";
import type { GroupBy, RunFilter } from "../../api/queries";

/** Values that a list can be narrowed to, each a parameter of the address and of the API. */
export const VALUES = ["pooling", "model", "dataset", "tag"] as const;

export const GROUPINGS: { value: GroupBy; label: string }[] = [
  { value: "pooling", label: "by pooling" },
  { value: "model", label: "by model" },
  { value: "dataset", label: "by dataset" },
  { value: "experiment", label: "by experiment" },
  { value: "tag", label: "by tag" },
];

/** What the page's address asks for. An empty value means runs that have none. */
export function filterOf(params: URLSearchParams): RunFilter {
  const values = [...VALUES, "experiment", "text"].map((name) => [name, params.get(name) ?? undefined]);
  return {
    ...(Object.fromEntries(values) as Pick<RunFilter, (typeof VALUES)[number]>),
    state: params.get("state")?.split(" ") as State[] | undefined,
    archived: (params.get("archived") ?? undefined) as RunFilter["archived"],
  };
}

export function sortingOf(params: URLSearchParams): { id: RunSort; desc: boolean }[] {
  const sort = params.get("sort");
  return sort ? [{ id: sort.replace(/^-/, "") as RunSort, desc: sort.startsWith("-") }] : [];
}
