import { NativeSelect, NumberInput, SimpleGrid, Textarea } from "@mantine/core";

import type { DraftOfSearch } from "../../api/search";

const SAMPLERS = { tpe: "TPE: learns from the trials before", random: "random: the same for all", grid: "grid" };

type Props = { search: DraftOfSearch; onChange: (search: DraftOfSearch) => void; errors: Record<string, string> };

/** What is searched for each variant, how often, and by whom it is proposed. */
export function TuneFields({ search, onChange, errors }: Props) {
  return (
    <>
      <Textarea
        label="What is searched"
        description="One field a line: a range, such as lr=0.0001..0.01 log, or choices, such as dropout=0,0.1. On a grid a range says how many steps it has: lr=0.0001..0.01 log 4."
        autosize
        minRows={2}
        value={search.fields}
        onChange={({ currentTarget: { value } }) => onChange({ ...search, fields: value })}
        error={errors["tune.fields"]}
      />
      <SimpleGrid cols={{ base: 1, xs: 3 }} spacing="sm">
        <NumberInput
          label="Trials of each variant"
          min={2}
          max={200}
          allowDecimal={false}
          value={search.trials}
          onChange={(value) => onChange({ ...search, trials: Number(value) })}
          error={errors["tune.trials"]}
        />
        <NumberInput
          label="Fresh seeds to compare"
          min={2}
          max={50}
          allowDecimal={false}
          value={search.seeds}
          onChange={(value) => onChange({ ...search, seeds: Number(value) })}
          error={errors["tune.seeds"]}
        />
        <NativeSelect
          label="Proposed by"
          data={Object.entries(SAMPLERS).map(([value, label]) => ({ value, label }))}
          value={search.sampler}
          onChange={({ currentTarget: { value } }) => onChange({ ...search, sampler: value })}
        />
      </SimpleGrid>
    </>
  );
}
