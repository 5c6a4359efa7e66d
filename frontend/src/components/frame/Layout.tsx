import {
  ActionIcon,
  Alert,
  Anchor,
  Button,
  Code,
  Container,
  Group,
  Loader,
  Menu,
  Text,
  useComputedColorScheme,
  useMantineColorScheme,
} from "@mantine/core";
import { notifications } from "@mantine/notifications";
import {
  IconApi,
  IconBell,
  IconBellOff,
  IconCpu,
  IconDotsVertical,
  IconFileImport,
  IconKeyboard,
  IconLayoutDashboard,
  IconLogout,
  IconMathFunction,
  IconMoon,
  IconPlus,
  IconSun,
  IconUser,
} from "@tabler/icons-react";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { Link, NavLink, Outlet, ScrollRestoration } from "react-router";

import { PREFIX } from "../../address";
import { api, body } from "../../api/client";
import { useLiveUpdates, type LiveStatus } from "../../api/live";
import { runsQuery, sessionQuery, workersQuery } from "../../api/queries";
import { setSession, useSharedSession } from "../../api/session";
import { plural, timeOfDay } from "../../format";
import { noticesAreOn, turnNoticesOff, turnNoticesOn } from "../../notices";
import { LoginPage } from "../../pages/LoginPage";
import { useShortcuts } from "./Shortcuts";
import { useYourName } from "./YourName";

/** Asks for a login where the board wants one, at whatever address; after it the page that was asked for appears. */
export function Layout() {
  const { data: session, isPending } = useQuery(sessionQuery);
  const queries = useQueryClient();
  useSharedSession();
  const loggedOut = session?.logged_in === false;
  useEffect(() => {
    // Nothing of the board stays in the memory of a browser that is shared.
    if (loggedOut) queries.removeQueries({ predicate: ({ queryKey: [kind] }) => kind !== "session" });
  }, [loggedOut, queries]);
  if (loggedOut) return <LoginPage />;
  if (isPending) return <Loading />;
  return <Board canLogOut={session?.token_needed ?? false} />;
}

export function Loading() {
  return <Loader role="status" aria-label="The board is loading" className="whole-page" />;
}

/** What surrounds every page, and the one place that listens to the server's events. */
function Board({ canLogOut }: { canLogOut: boolean }) {
  const status = useLiveUpdates();
  const shortcuts = useShortcuts();
  const yourName = useYourName();
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
                  <img src={`${PREFIX}/icon.svg`} alt="" width={22} height={22} />
                  CCT Board
                </Group>
              </Link>
              <Anchor component={NavLink} to="/board/poolings" size="sm" className="nav-link" visibleFrom="sm">
                Poolings
              </Anchor>
              <WorkersLink />
              <Anchor href={`${PREFIX}/docs`} size="sm" className="nav-link" visibleFrom="sm">
                API
              </Anchor>
            </Group>
            <Group gap="sm" wrap="nowrap">
              <LiveBadge status={status} />
              <Button component={Link} to="/board/new" size="xs" leftSection={<IconPlus size={14} />} visibleFrom="xs">
                New run
              </Button>
              <ActionIcon component={Link} to="/board/new" size="md" aria-label="New run" hiddenFrom="xs">
                <IconPlus size={16} />
              </ActionIcon>
              <HeaderMenu canLogOut={canLogOut} onShortcuts={shortcuts.open} onYourName={yourName.open} />
            </Group>
          </Group>
        </Container>
      </header>
      <Container size="xl" component="main" id="content" tabIndex={-1} py="lg">
        <Outlet />
        <NoWorkerWarning />
      </Container>
      {shortcuts.sheet}
      {yourName.question}
      <ScrollRestoration />
    </>
  );
}

function LiveBadge({ status }: { status: LiveStatus }) {
  const words = {
    live: "live",
    reconnecting: `reconnecting${status.state === "reconnecting" && status.why ? `: ${status.why}` : ""}`,
    stale: status.state === "stale" ? `stale since ${timeOfDay(status.since)}` : "",
  };
  return (
    <Text component="span" role="status" size="sm" className="state" data-state={status.state}>
      <span className="live-dot" aria-hidden />
      {words[status.state]}
    </Text>
  );
}

function WorkersLink() {
  const { data } = useQuery(workersQuery);
  const slots = data?.workers.length;
  // Each worker has a first slot.
  const workers = data?.workers.filter(({ slot }) => slot === 1).length;
  return (
    <NavLink to="/board/workers" className="nav-link">
      <IconCpu size={16} aria-hidden />
      {workers}
      <span className="word">
        {workers === 1 ? "worker" : "workers"}
        {workers !== slots && `, ${slots} slots`}
      </span>
    </NavLink>
  );
}

/** At the lower edge, where it moves nothing when it comes and goes. */
function NoWorkerWarning() {
  const { data: workers } = useQuery(workersQuery);
  const nobody = workers?.workers.length === 0;
  const { data: queued } = useQuery({
    ...runsQuery({ state: ["queued"], archived: "shown", limit: 1 }),
    enabled: nobody,
  });
  if (!nobody || !queued?.total) return null;
  return (
    <Alert
      variant="default"
      className="no-worker"
      p="sm"
      style={{ "--alert-color": "var(--warn)" }}
      title="No worker is connected"
    >
      {plural(queued.total, "run")} will wait until there is one: start it with <Code>cctboard worker</Code>.
    </Alert>
  );
}

function HeaderMenu(props: { canLogOut: boolean; onShortcuts: () => void; onYourName: () => void }) {
  const { canLogOut, onShortcuts, onYourName } = props;
  const { setColorScheme } = useMantineColorScheme();
  const other = useComputedColorScheme("light") === "light" ? "dark" : "light";
  const queries = useQueryClient();
  const logOut = async () => {
    await body(api.DELETE("/session"));
    setSession(queries, { token_needed: true, logged_in: false });
  };
  return (
    <Menu position="bottom-end" withArrow withInitialFocusPlaceholder={false}>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" aria-label="Menu">
          <IconDotsVertical size={18} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item component={Link} to="/" leftSection={<IconLayoutDashboard size={16} />}>
          Board
        </Menu.Item>
        <Menu.Item component={Link} to="/board/poolings" leftSection={<IconMathFunction size={16} />}>
          Poolings
        </Menu.Item>
        <Menu.Item component={Link} to="/board/import" leftSection={<IconFileImport size={16} />}>
          Import results
        </Menu.Item>
        <Menu.Item component={Link} to="/board/workers" leftSection={<IconCpu size={16} />}>
          Workers
        </Menu.Item>
        <Menu.Item component="a" href={`${PREFIX}/docs`} leftSection={<IconApi size={16} />}>
          API documentation
        </Menu.Item>
        <Menu.Divider />
        <Menu.Item onClick={onYourName} leftSection={<IconUser size={16} />}>
          Your name
        </Menu.Item>
        <Menu.Item onClick={onShortcuts} leftSection={<IconKeyboard size={16} />}>
          Keyboard shortcuts
        </Menu.Item>
        <Menu.Item
          onClick={() => setColorScheme(other)}
          leftSection={other === "dark" ? <IconMoon size={16} /> : <IconSun size={16} />}
        >
          Switch to {other} colours
        </Menu.Item>
        <NoticesItem />
        {canLogOut && (
          <Menu.Item onClick={() => void logOut()} leftSection={<IconLogout size={16} />}>
            Log out
          </Menu.Item>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}

function NoticesItem() {
  const explain = (error: Error) =>
    notifications.show({ color: "red", title: "No notifications", message: error.message });
  if (noticesAreOn()) {
    return (
      <Menu.Item onClick={turnNoticesOff} leftSection={<IconBellOff size={16} />}>
        Stop notifying me
      </Menu.Item>
    );
  }
  return (
    <Menu.Item onClick={() => void turnNoticesOn().catch(explain)} leftSection={<IconBell size={16} />}>
      Notify me
    </Menu.Item>
  );
}
