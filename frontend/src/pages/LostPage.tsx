import { Button, EmptyState, Title } from "@mantine/core";

/** In place of a page that is not to be had: its file was not loaded, or it failed. */
export function LostPage() {
  return (
    <>
      <title>Not loaded · CCT Board</title>
      <EmptyState
        py={80}
        title={<Title order={1}>This page could not be loaded</Title>}
        description="The board may be away for a moment."
      >
        <Button onClick={() => location.reload()}>Try again</Button>
      </EmptyState>
    </>
  );
}
