import { useQuery } from "@tanstack/react-query";

import { comparisonQuery, type Selection } from "../../api/queries";
import { useUrlParam } from "../shared/urlState";

export type Measure = NonNullable<Parameters<typeof comparisonQuery>[0]["measure"]>;

/** The comparison of the selected runs by the field, baseline and measure that the address names, if it does. */
export function useComparison(selection: Selection) {
  const group = useUrlParam("group")[0] ?? undefined;
  const baseline = useUrlParam("baseline")[0] ?? undefined;
  const measure = (useUrlParam("measure")[0] ?? undefined) as Measure | undefined;
  return useQuery(comparisonQuery({ ...selection, group, baseline, measure }));
}
