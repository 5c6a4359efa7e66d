import { Anchor, EmptyState, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useSearchParams } from "react-router";

import { catalogQuery } from "../api/queries";
import { specFields } from "../api/spec";
import { ComparisonView } from "../components/comparison/ComparisonView";
import { plural } from "../format";

/** Hand-picked runs side by side: `?run=…&run=…`. */
export function ComparePage() {
  const [params] = useSearchParams();
  const { data: catalog } = useQuery(catalogQuery);
  const run = params.getAll("run");
  if (run.length === 0) return <NothingChosen />;
  const groups = catalog ? specFields(catalog).flatMap(({ name }) => (name === "seed" ? [] : name)) : [];
  return (
    <>
      <title>Compare · CCT Board</title>
      <Title order={1}>Compare {plural(run.length, "run")}</Title>
      <Text size="sm" mb="lg">
        <Anchor component={Link} to="/" inherit>
          Choose others on the board
        </Anchor>
      </Text>
      <ComparisonView selection={{ run }} groups={groups} title={`Comparison of ${plural(run.length, "run")}`} />
    </>
  );
}

function NothingChosen() {
  return (
    <>
      <title>Compare · CCT Board</title>
      <EmptyState
        py={80}
        title={<Title order={1}>No runs are chosen</Title>}
        description={
          <>
            Mark two or more in the list on{" "}
            <Anchor component={Link} to="/" inherit>
              the board
            </Anchor>
            , then compare them.
          </>
        }
      />
    </>
  );
}
