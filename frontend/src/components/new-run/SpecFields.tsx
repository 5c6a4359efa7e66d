import { Paper, SimpleGrid, Text, Title } from "@mantine/core";
import { useCallback, useRef, useState, type ReactNode } from "react";

import type { Draft, SpecField, Value } from "../../api/spec";
import { plural } from "../../format";
import { SpecFieldInput } from "../shared/SpecFieldInput";
import { groupsOf } from "./fieldGroups";

type Props = {
  fields: SpecField[];
  values: Draft["values"];
  onChange: (name: string, value: Value) => void;
  varies: (name: string) => boolean;
  errors: Record<string, string>;
};

/** All fields of a spec in groups; those that are rarely changed are folded away unless they are changed or wrong. */
export function SpecFields({ fields, values, onChange, varies, errors }: Props) {
  const isChanged = ({ name, default: usual }: SpecField) => values[name] !== undefined && values[name] !== usual;
  const latest = useRef(onChange);
  latest.current = onChange;
  const set = useCallback((name: string, value: Value) => latest.current(name, value), []); // the same, for the inputs
  const inputs = (shown: SpecField[]) => (
    <SimpleGrid cols={{ base: 1, xs: 2, lg: 3 }} spacing="md" verticalSpacing="sm">
      {shown.map((field) => (
        <SpecFieldInput
          key={field.name}
          field={field}
          value={values[field.name]}
          onChange={set}
          varies={varies(field.name)}
          error={varies(field.name) ? undefined : errors[field.name]}
        />
      ))}
    </SimpleGrid>
  );
  return groupsOf(fields).map(({ title, usual, rare }) => {
    const changed = rare.filter(isChanged);
    const opened = changed.length > 0 || rare.some(({ name }) => name in errors);
    return (
      <Paper key={title} p="md" component="section" aria-labelledby={`fields-${title}`}>
        <Title order={2} id={`fields-${title}`} mb="sm">
          {title}
        </Title>
        {inputs(usual)}
        {rare.length > 0 && (
          <Folded what={plural(rare.length, "rarely used field")} changed={changed.length} opened={opened}>
            {inputs(rare)}
          </Folded>
        )}
      </Paper>
    );
  });
}

type FoldedProps = { what: string; changed: number; opened: boolean; children: ReactNode };

/** Stays open once it was: a field that is emptied again must not vanish under the cursor. */
function Folded({ what, changed, opened, children }: FoldedProps) {
  const [isOpen, setOpen] = useState(opened);
  if (opened && !isOpen) setOpen(true);
  return (
    <details className="more" open={isOpen} onToggle={({ currentTarget: { open } }) => setOpen(open)}>
      <summary>
        {what}
        {changed > 0 && (
          <Text span inherit fw={600} c="var(--active)">
            , {changed} changed
          </Text>
        )}
      </summary>
      <div className="folded">{children}</div>
    </details>
  );
}
