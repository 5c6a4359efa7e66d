import { Anchor, EmptyState } from "@mantine/core";
import { Link } from "react-router";

export function NotFoundPage() {
  return (
    <>
      <title>Not found · CCT Board</title>
      <EmptyState py={80} title="There is no such page" description={<Anchor component={Link} to="/">Back to the board</Anchor>} />
    </>
  );
}
