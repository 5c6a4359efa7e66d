import { NativeSelect } from "@mantine/core";

type ChoiceProps<Key extends string> = {
  label: string;
  choices: Record<Key, string>;
  value: Key;
  onChange: (value: Key) => void;
};

/** One of a few, each in words. */
export function Choice<Key extends string>({ label, choices, value, onChange }: ChoiceProps<Key>) {
  return (
    <NativeSelect
      size="xs"
      aria-label={label}
      data={Object.entries<string>(choices).map(([key, text]) => ({ value: key, label: text }))}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value as Key)}
    />
  );
}

export const oneOf = <Key extends string>(choices: Record<Key, string>, given: string | null, usual: Key): Key =>
  given !== null && given in choices ? (given as Key) : usual;
