import { useQuery } from "@tanstack/react-query";

import { comparisonQuery, type Selection } from "../../api/queries";
import { useUrlParam } from "../shared/urlState";

/** The comparison of the selected runs by the field and with the baseline that the address names, if it does. */
export function useComparison(selection: Selection) {
  const group = useUrlParam("group")[0] ?? undefined;
  const baseline = useUrlParam("baseline")[0] ?? undefined;
  return useQuery(comparisonQuery({ ...selection, group, baseline }));
}
