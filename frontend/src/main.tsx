import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./app.css";
import "./content.css";
import "./phone.css";

import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createBrowserRouter, redirect } from "react-router";
import { RouterProvider } from "react-router/dom";

import { ADDRESS, PREFIX } from "./address";
import { ApiError } from "./api/client";
import { sessionQuery } from "./api/queries";
import { Layout, Loading } from "./components/frame/Layout";
import { BoardPage } from "./pages/BoardPage";
import { LostPage } from "./pages/LostPage";
import { NotFoundPage } from "./pages/NotFoundPage";
import { theme } from "./theme";

/** Whatever is refused for want of a login, the layout then shows the login page. */
function noticeLogout(error: Error) {
  if (!(error instanceof ApiError && error.problem.status === 401)) return;
  queries.setQueryData(sessionQuery.queryKey, { token_needed: true, logged_in: false });
}

// Events keep the cache current, so nothing is refetched on a timer or because the window got the focus.
const queries = new QueryClient({
  queryCache: new QueryCache({ onError: noticeLogout }),
  mutationCache: new MutationCache({ onError: noticeLogout }),
  defaultOptions: {
    queries: {
      refetchOnWindowFocus: false,
      retry: (failures, error) => !(error instanceof ApiError && error.problem.status < 500) && failures < 2,
    },
  },
});

// Not in the first load, but soon after: going there then needs no waiting, and works after the board was updated.
const pages = {
  NewRunPage: async () => ({ Component: (await import("./pages/NewRunPage")).NewRunPage }),
  ComparePage: async () => ({ Component: (await import("./pages/ComparePage")).ComparePage }),
  ExperimentPage: async () => ({ Component: (await import("./pages/ExperimentPage")).ExperimentPage }),
  RunPage: async () => ({ Component: (await import("./pages/RunPage")).RunPage }),
  ImportPage: async () => ({ Component: (await import("./pages/ImportPage")).ImportPage }),
  PoolingsPage: async () => ({ Component: (await import("./pages/PoolingsPage")).PoolingsPage }),
  PoolingPage: async () => ({ Component: (await import("./pages/PoolingPage")).PoolingPage }),
  WorkersPage: async () => ({ Component: (await import("./pages/WorkersPage")).WorkersPage }),
};
const SOON_MS = 2_000;
setTimeout(() => Object.values(pages).forEach((page) => void page().catch(() => undefined)), SOON_MS);

// A page of a version that is gone: the board was updated since this page was loaded. If it is away, nothing is better elsewhere.
addEventListener("vite:preloadError", () => {
  fetch(`${ADDRESS}/`).then(
    ({ ok }) => ok && location.reload(),
    () => undefined,
  );
});

const routes = [
  {
    Component: Layout,
    HydrateFallback: Loading,
    children: [
      {
        ErrorBoundary: LostPage,
        children: [
          { path: "/", Component: BoardPage },
          { path: "/board", loader: () => redirect("/") }, // what is left of a page's address that was cut short
          { path: "/board/new", lazy: pages.NewRunPage },
          { path: "/board/compare", lazy: pages.ComparePage },
          { path: "/board/experiments/:id", lazy: pages.ExperimentPage },
          { path: "/board/runs/:id", lazy: pages.RunPage },
          { path: "/board/import", lazy: pages.ImportPage },
          { path: "/board/poolings", lazy: pages.PoolingsPage },
          { path: "/board/poolings/:name", lazy: pages.PoolingPage },
          { path: "/board/workers", lazy: pages.WorkersPage },
          { path: "*", Component: NotFoundPage },
        ],
      },
    ],
  },
];
const router = createBrowserRouter(routes, { basename: `${PREFIX}/` });

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <MantineProvider theme={theme} defaultColorScheme="auto">
        <Notifications position="bottom-right" />
        <RouterProvider router={router} />
      </MantineProvider>
    </QueryClientProvider>
  </StrictMode>,
);
