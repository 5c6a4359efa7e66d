import { Button, Modal, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useState } from "react";

import { author, setAuthor } from "../../api/author";
import { LIMITS } from "../../api/limits";

/** The question who uses this browser, and what opens it. */
export function useYourName() {
  const [opened, question] = useDisclosure();
  return {
    open: question.open,
    question: (
      <Modal opened={opened} onClose={question.close} title="Who you are" closeButtonProps={{ "aria-label": "Close" }}>
        <Name done={question.close} />
      </Modal>
    ),
  };
}

function Name({ done }: { done: () => void }) {
  const [name, setName] = useState(author);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        setAuthor(name);
        done();
      }}
    >
      <TextInput
        label="Your name"
        description="People who share this board see it with the runs that you queue and the notes that you write from now on."
        autoComplete="name"
        data-autofocus
        maxLength={LIMITS.author_length}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <Button type="submit" mt="md">
        Save
      </Button>
    </form>
  );
}
