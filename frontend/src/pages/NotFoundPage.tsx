import { Anchor, EmptyState, Title } from "@mantine/core";
import { Link } from "react-router";

export function NotFoundPage() {
  return (
    <>
      <title>Not found · CCT Board</title>
      <EmptyState
        py={80}
        title={<Title order={1}>There is no such page</Title>}
        description={
          <Anchor component={Link} to="/">
            Back to the board
          </Anchor>
        }
      />
    </>
  );
}
