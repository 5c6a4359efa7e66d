import { NativeSelect } from "@mantine/core";

import type { Experiment } from "../../api/client";

type Props = { experiments: Experiment[]; value: string; onChange: (id: string) => void };

/** Where a result is to stand. Plans and searches count on nothing but their own runs. */
export function SelectExperiment({ experiments, value, onChange }: Props) {
  const open = experiments.filter(({ plan, tune }) => !plan && !tune);
  return (
    <NativeSelect
      label="experiment"
      data={[{ value: "", label: "a new one" }, ...open.map(({ id, name }) => ({ value: id, label: name }))]}
      value={value}
      onChange={({ currentTarget }) => onChange(currentTarget.value)}
    />
  );
}
