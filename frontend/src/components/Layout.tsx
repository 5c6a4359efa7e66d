import {
  ActionIcon,
  Alert,
  Anchor,
  Button,
  Code,
  Container,
  Group,
  Popover,
  Stack,
  Text,
  UnstyledButton,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { IconCpu, IconMoon, IconPlus, IconSun } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, ScrollRestoration } from "react-router";

import { useLiveUpdates, type LiveStatus } from "../api/live";
import { runsQuery, workersQuery } from "../api/queries";
import { plural, timeOfDay } from "../format";

/** What surrounds every page, and the one place that listens to the server's events. */
export function Layout() {
  const status = useLiveUpdates();
  return (
    <>
      <a href="#content" className="skip-link">
        Skip to content
      </a>
      <header className="header">
        <Container size="xl" h={52}>
          <Group h="100%" justify="space-between" wrap="nowrap" gap="sm">
            <Group component="nav" aria-label="Main" gap="md" wrap="nowrap">
              <Link to="/" className="brand">
                <Group gap={8} wrap="nowrap">
                  <img src="/icon.svg" alt="" width={22} height={22} />
                  CCT Board
                </Group>
              </Link>
              <Anchor href="/docs" size="sm" c="dimmed" visibleFrom="sm">
                API
              </Anchor>
            </Group>
            <Group gap="sm" wrap="nowrap">
              <LiveBadge status={status} />
              <Workers />
              <ColorSchemeToggle />
              <Button component={Link} to="/board/new" size="xs" leftSection={<IconPlus size={14} />} visibleFrom="xs">
                New run
              </Button>
              <ActionIcon component={Link} to="/board/new" size="md" aria-label="New run" hiddenFrom="xs">
                <IconPlus size={16} />
              </ActionIcon>
            </Group>
          </Group>
        </Container>
      </header>
      <Container size="xl" component="main" id="content" py="lg">
        <NoWorkerWarning />
        <Outlet />
      </Container>
      <ScrollRestoration />
    </>
  );
}

function LiveBadge({ status }: { status: LiveStatus }) {
  return (
    <Text component="span" role="status" size="sm" className="state" data-state={status.state}>
      <span className="live-dot" aria-hidden />
      {status.state === "stale" ? `stale since ${timeOfDay(status.since)}` : status.state}
    </Text>
  );
}

function Workers() {
  const { data } = useQuery(workersQuery);
  if (!data) return null;
  return (
    <Popover position="bottom-end" withArrow>
      <Popover.Target>
        <UnstyledButton fz="sm" className="state">
          <IconCpu size={16} aria-hidden />
          {data.workers.length}
          <span className="word">{data.workers.length === 1 ? "worker" : "workers"}</span>
        </UnstyledButton>
      </Popover.Target>
      <Popover.Dropdown>
        {data.workers.length === 0 && (
          <Text size="sm">
            Nobody trains now. Start a worker with <Code>cctboard worker</Code>.
          </Text>
        )}
        <Stack gap="xs">
          {data.workers.map((worker) => (
            <Text key={worker.name} size="sm">
              <b>{worker.name}</b> on {worker.device}
              {": "}
              {worker.run_id ? <Link to={`/board/runs/${worker.run_id}`}>trains {worker.run_id}</Link> : "idle"}
            </Text>
          ))}
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}

function NoWorkerWarning() {
  const { data: workers } = useQuery(workersQuery);
  const nobody = workers?.workers.length === 0;
  const { data: queued } = useQuery({ ...runsQuery({ state: ["queued"], limit: 1 }), enabled: nobody });
  if (!nobody || !queued?.total) return null;
  return (
    <Alert variant="default" style={{ "--alert-color": "var(--warn)" }} title="No worker is connected" mb="lg">
      {plural(queued.total, "run")} wait in the queue. Start a worker with <Code>cctboard worker</Code>; it takes the
      first run by itself.
    </Alert>
  );
}

function ColorSchemeToggle() {
  const { setColorScheme } = useMantineColorScheme();
  const other = useComputedColorScheme("light") === "light" ? "dark" : "light";
  return (
    <ActionIcon
      variant="subtle"
      color="gray"
      onClick={() => setColorScheme(other)}
      aria-label={`Switch to ${other} colours`}
    >
      {other === "dark" ? <IconMoon size={18} /> : <IconSun size={18} />}
    </ActionIcon>
  );
}
