import { Button, Code, EmptyState, Paper, Text, Title } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconPlayerPlay } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "react-router";

import { ADDRESS } from "../address";
import { api, body } from "../api/client";
import { catalogQuery, experimentsQuery, runsQuery, sessionQuery } from "../api/queries";
import { Pending } from "../components/shared/Pending";
import { ExperimentList } from "../components/board/ExperimentList";
import { QueueBar } from "../components/board/QueueBar";
import { RunList } from "../components/board/RunList";
import { curlCommand } from "../components/shared/shellCommands";

export function BoardPage() {
  const { data: experiments, error: noExperiments } = useQuery(experimentsQuery);
  const { data: anyRun, error: noRuns } = useQuery(runsQuery({ limit: 1, archived: "shown" }));
  if (!experiments || !anyRun) return <Pending what="board" error={noExperiments ?? noRuns} h={400} />;
  return (
    <>
      <title>CCT Board</title>
      {anyRun.total === 0 ? (
        <EmptyBoard />
      ) : (
        <>
          <Title order={1} className="visually-hidden">
            Board
          </Title>
          {experiments.experiments.length > 0 && (
            <section aria-labelledby="experiments">
              <Title order={2} id="experiments" mb="sm">
                Experiments
              </Title>
              <ExperimentList experiments={experiments.experiments} />
            </section>
          )}
          <QueueBar />
          <RunList />
        </>
      )}
    </>
  );
}

function EmptyBoard() {
  const { data: catalog } = useQuery(catalogQuery);
  const { data: session } = useQuery(sessionQuery);
  const navigate = useNavigate();
  const demo = useMutation({
    mutationFn: () => body(api.POST("/experiments", { body: catalog!.demo })),
    onSuccess: ({ id }) => navigate(`/board/experiments/${id}`),
    onError: (error) => notifications.show({ color: "red", title: "Not queued", message: error.message }),
  });
  return (
    <Paper py={56} px="md">
      <EmptyState
        title={<Title order={1}>Nothing has been trained yet</Title>}
        description="The demo trains a small CCT on bundled images of digits with several poolings and seeds, and compares them live. It needs no download and no GPU."
      >
        <EmptyState.Actions className="centred">
          <Button
            leftSection={<IconPlayerPlay size={16} />}
            onClick={() => demo.mutate()}
            loading={demo.isPending}
            disabled={!catalog}
          >
            Run the demo experiment
          </Button>
          <Button component={Link} to="/board/new" variant="default">
            New run
          </Button>
        </EmptyState.Actions>
        <Text size="sm" c="dimmed" mt="lg">
          Or from a shell:
        </Text>
        <Code block className="command">
          {curlCommand(ADDRESS, "/runs", { dataset: "digits", epochs: 8 }, session?.token_needed ?? false)}
        </Code>
      </EmptyState>
    </Paper>
  );
}
