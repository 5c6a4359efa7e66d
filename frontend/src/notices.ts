import type { QueryClient } from "@tanstack/react-query";

import { PREFIX } from "./address";
import type { Events } from "./api/client";
import { comparisonQuery } from "./api/queries";

const CHOICE = "notices";

/** Whether the user wants notifications of the system, and the browser still allows them. */
export const noticesAreOn = () =>
  localStorage.getItem(CHOICE) === "on" && "Notification" in window && Notification.permission === "granted";

export const turnNoticesOff = () => localStorage.removeItem(CHOICE);

/** Asks the browser for permission and shows a first notification. Throws what the user has to do if that fails. */
export async function turnNoticesOn() {
  if (!window.isSecureContext || !("Notification" in window)) {
    throw new Error("Browsers allow it only over HTTPS or on localhost; CCTBOARD_WEBHOOK tells a chat service instead");
  }
  if ((await Notification.requestPermission()) !== "granted") {
    throw new Error("The browser does not allow it; change the permission beside the address of this page");
  }
  localStorage.setItem(CHOICE, "on");
  show("CCT Board", "You will be told here when an experiment has ended or a run has failed", "/");
}

/** Shows the news if the user wants them. Of several open pages the newest replaces what the others showed. */
export async function notice(news: Events["news"], queries: QueryClient) {
  if (!noticesAreOn()) return;
  const experiment = news.experiment_id && `/board/experiments/${news.experiment_id}`;
  if (news.what === "run_failed") {
    show(
      `A run${news.name ? ` of ${news.name}` : ""} has failed`,
      news.error,
      `/board/runs/${news.run_id}`,
      experiment,
    );
    return;
  }
  const counts = `${news.completed} completed, ${news.failed} failed`;
  const comparison = comparisonQuery({ experiment: news.experiment_id });
  const found = await queries.fetchQuery(comparison).catch(() => ({ answer: counts }));
  show(`${news.name} has ended`, found.answer, `/board/experiments/${news.experiment_id}`);
}

/** One at a time about the same thing; a click leads to its page. */
function show(title: string, body: string, path: string, about: string | null = path) {
  const shown = new Notification(title, { body, tag: about ?? path, icon: `${PREFIX}/icon.svg` });
  shown.addEventListener("click", () => {
    window.focus();
    location.assign(PREFIX + path);
  });
}
