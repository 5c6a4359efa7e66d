import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./app.css";

import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createBrowserRouter } from "react-router";
import { RouterProvider } from "react-router/dom";

import { ApiError } from "./api/client";
import { sessionQuery } from "./api/queries";
import { Layout } from "./components/Layout";
import { BoardPage } from "./pages/BoardPage";
import { ComparePage } from "./pages/ComparePage";
import { ExperimentPage } from "./pages/ExperimentPage";
import { NewRunPage } from "./pages/NewRunPage";
import { NotFoundPage } from "./pages/NotFoundPage";
import { RunPage } from "./pages/RunPage";
import { WorkersPage } from "./pages/WorkersPage";
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

const router = createBrowserRouter([
  {
    Component: Layout,
    children: [
      { path: "/", Component: BoardPage },
      { path: "/board/new", Component: NewRunPage },
      { path: "/board/compare", Component: ComparePage },
      { path: "/board/experiments/:id", Component: ExperimentPage },
      { path: "/board/runs/:id", Component: RunPage },
      { path: "/board/workers", Component: WorkersPage },
      { path: "*", Component: NotFoundPage },
    ],
  },
]);

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
