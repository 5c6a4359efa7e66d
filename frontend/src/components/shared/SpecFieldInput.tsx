import { Autocomplete, MultiSelect, Select, TagsInput, TextInput } from "@mantine/core";

import { memo } from "react";

import { parseValue, type SpecField, type Value } from "../../api/spec";

const SUGGESTIONS = 8;

type Props = {
  field: SpecField;
  value: Value | undefined;
  onChange: (name: string, value: Value) => void;
  varies: boolean;
  error?: string;
};

/** One hyperparameter, drawn from its schema alone. Numbers may be written like 5e-4. A value that is no choice any more,
 * such as an own pooling's earlier code, stays one. Drawn anew only if something of it has changed: it is one of many. */
export const SpecFieldInput = memo(function SpecFieldInput({ field, value, onChange, varies, error }: Props) {
  const set = (chosen: Value) => onChange(field.name, chosen);
  const changed = value !== undefined && value !== field.default;
  const common = {
    label: field.name,
    description: field.description + (changed ? ` (default: ${field.default === "" ? "empty" : field.default})` : ""),
    disabled: varies,
    error,
    className: "spec-field",
    "data-changed": changed || undefined,
    inputWrapperOrder: ["label", "input", "description", "error"] as ("label" | "input" | "description" | "error")[],
  };
  if (field.enum) {
    return (
      <Select
        {...common}
        data={[...new Set([...field.enum, String(value ?? field.default)])]}
        value={String(value ?? field.default)}
        onChange={(chosen) => chosen && set(chosen)}
        allowDeselect={false}
        searchable={field.enum.length > 8}
      />
    );
  }
  if (field.type === "string") {
    return (
      <Autocomplete
        {...common}
        data={field.examples}
        limit={SUGGESTIONS}
        maxLength={field.maxLength}
        placeholder={String(field.default)}
        value={String(value ?? field.default)}
        onChange={set}
      />
    );
  }
  return (
    <TextInput
      {...common}
      type="number"
      step={field.type === "integer" ? 1 : "any"}
      min={field.minimum ?? field.exclusiveMinimum}
      max={field.maximum}
      placeholder={String(field.default)}
      value={value ?? field.default}
      onChange={(event) => set(parseValue(field, event.currentTarget.value))}
    />
  );
});

type AxisProps = { field: SpecField; values: Value[]; onChange: (values: Value[]) => void; error?: string };

/** The values of a hyperparameter that varies between the runs of an experiment. */
export function AxisInput({ field, values, onChange, error }: AxisProps) {
  const common = {
    label: `${field.name} values`,
    value: values.map(String),
    onChange: (chosen: string[]) => onChange(chosen.map((text) => parseValue(field, text))),
    error,
    clearable: true,
  };
  if (field.enum)
    return (
      <MultiSelect
        {...common}
        data={[...new Set([...field.enum, ...common.value])]}
        placeholder={values.length ? "" : "choose two or more"}
      />
    );
  return <TagsInput {...common} splitChars={[",", " "]} placeholder={values.length ? "" : "for example 0, 1, 2"} />;
}
