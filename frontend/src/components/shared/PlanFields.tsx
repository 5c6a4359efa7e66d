import { SimpleGrid } from "@mantine/core";

import { planValue, type SpecField, type Value } from "../../api/spec";
import { SpecFieldInput } from "./SpecFieldInput";

type Props = {
  fields: SpecField[];
  plan: Record<string, Value>;
  onChange: (plan: Record<string, Value>) => void;
  errors?: Record<string, string>;
};

/** The fields of a plan, drawn from its schema. */
export function PlanFields({ fields, plan, onChange, errors = {} }: Props) {
  return (
    <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm" verticalSpacing="xs">
      {fields.map((field) => (
        <SpecFieldInput
          key={field.name}
          field={field}
          value={planValue(plan, field)}
          onChange={(name, value) => onChange({ ...plan, [name]: value })}
          varies={false}
          error={errors[`plan.${field.name}`]}
        />
      ))}
    </SimpleGrid>
  );
}
