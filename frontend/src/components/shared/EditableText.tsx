import { ActionIcon, Button, Group, Textarea, TextInput } from "@mantine/core";
import { IconPencil } from "@tabler/icons-react";
import { useRef, useState } from "react";

import { useAction } from "../../api/actions";

type Props = {
  /** What is edited, for example "Name of the experiment". */
  label: string;
  value: string;
  maxLength: number;
  multiline?: boolean;
  required?: boolean;
  save: (value: string) => Promise<unknown>;
  /** How it looks while it is not edited. */
  children: React.ReactNode;
};

/** Text that is edited where it stands: Enter saves (with Ctrl if there are several lines), Escape leaves it as it was. */
export function EditableText({ label, value, maxLength, multiline, required, save, children }: Props) {
  const [draft, setDraft] = useState<string | null>(null);
  const pencil = useRef<HTMLButtonElement>(null);
  const close = () => {
    setDraft(null);
    // The field that had the focus is gone.
    requestAnimationFrame(() => pencil.current?.focus());
  };
  const action = useAction(`${label} not saved`, save, close);

  if (draft === null) {
    return (
      <Group gap={4} wrap="nowrap" align="flex-start">
        {children}
        <ActionIcon
          ref={pencil}
          variant="subtle"
          color="gray"
          size="sm"
          aria-label={`Edit: ${label}`}
          onClick={() => setDraft(value)}
        >
          <IconPencil size={15} aria-hidden />
        </ActionIcon>
      </Group>
    );
  }
  const field = {
    "aria-label": label,
    value: draft,
    maxLength,
    required,
    autoFocus: true,
    flex: "1 1 16rem",
    onChange: (event: React.ChangeEvent<HTMLInputElement | HTMLTextAreaElement>) => setDraft(event.currentTarget.value),
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        action.mutate(draft.trim());
      }}
      onKeyDown={(event) => {
        if (event.key === "Escape") close();
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.currentTarget.requestSubmit();
      }}
    >
      <Group gap="xs" align="flex-start">
        {multiline ? <Textarea {...field} autosize minRows={2} maxRows={12} /> : <TextInput {...field} />}
        <Button size="xs" type="submit" loading={action.isPending}>
          Save
        </Button>
        <Button size="xs" variant="default" onClick={close}>
          Discard
        </Button>
      </Group>
    </form>
  );
}
