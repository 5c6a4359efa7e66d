import { notifyManager, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { ADDRESS } from "../address";
import { notice } from "../notices";
import type { Events } from "./client";
import { LiveCache } from "./liveCache";
import { sessionQuery } from "./queries";
import { EventStream, type StreamMessage } from "./stream";

const STALE_AFTER_MS = 10_000;
/** What comes within this time is shown at once: drawing a table of runs takes longer than many events take to come. */
const TOGETHER_MS = 50;

export type LiveStatus = { state: "live" } | { state: "reconnecting"; why?: string } | { state: "stale"; since: Date };

/** Keeps every cached query current from the server's events for as long as the calling component is mounted. */
export function useLiveUpdates(): LiveStatus {
  const queries = useQueryClient();
  const [status, setStatus] = useState<LiveStatus>({ state: "reconnecting" });

  useEffect(() => {
    const cache = new LiveCache(queries);
    let stale: ReturnType<typeof setTimeout> | undefined;

    const received: { [Kind in keyof Events]: (data: Events[Kind]) => void } = {
      run: (run) => cache.run(run),
      experiment: (experiment) => cache.experiment(experiment),
      epoch: (epoch) => cache.epoch(epoch),
      worker: (list) => cache.workers(list),
      queue: (queue) => cache.queue(queue),
      deleted: (what) => cache.deleted(what),
      own_image: (image) => cache.ownImage(image),
      poolings: () => cache.poolings(),
      pooling_check: (check) => cache.poolingCheck(check),
      news: (news) => void notice(news, queries),
      database: ({ reachable }) => {
        setStatus(reachable ? { state: "live" } : { state: "reconnecting", why: "database unreachable" });
        if (reachable) cache.everything();
      },
      reset: () => cache.everything(),
    };

    function hear(message: StreamMessage) {
      if (message.what === "event") {
        received[message.kind](JSON.parse(message.data) as never);
      } else if (message.what === "opened") {
        clearTimeout(stale);
        stale = undefined;
        setStatus({ state: "live" });
        // What changed before the connection stood is unknown.
        cache.everything();
      } else {
        setStatus((now) => (now.state === "stale" ? now : { state: "reconnecting" }));
        const since = new Date();
        stale ??= setTimeout(() => setStatus({ state: "stale", since }), STALE_AFTER_MS);
        // An answer that asks for a login shows the login page.
        if (message.refused) void queries.invalidateQueries(sessionQuery);
      }
    }

    let heard: StreamMessage[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;

    function show() {
      const messages = heard;
      heard = [];
      timer = undefined;
      notifyManager.batch(() => messages.forEach(hear));
    }

    const leave = follow((message) => {
      heard.push(message);
      timer ??= setTimeout(show, TOGETHER_MS);
    });
    return () => {
      leave();
      clearTimeout(timer);
      cache.close();
      clearTimeout(stale);
    };
  }, [queries]);

  return status;
}

/** Passes on what the server tells until the returned function is called: with all pages of the browser together, or by a
 * connection of this page's own where browsers cannot (Chrome on Android) or the worker's file is gone (after an update). */
function follow(hear: (message: StreamMessage) => void): () => void {
  const address = `${ADDRESS}/events`;
  let leave = () => {};
  const alone = () => {
    const stream = new EventStream(address, hear);
    leave = () => stream.close();
  };
  const together = () => {
    const worker = new SharedWorker(new URL("./stream.worker.ts", import.meta.url), { type: "module", name: address });
    worker.port.onmessage = ({ data }: MessageEvent<StreamMessage>) => hear(data);
    worker.onerror = alone;
    leave = () => {
      worker.onerror = null;
      worker.port.postMessage("leaving");
      worker.port.close();
    };
  };
  const enter = "SharedWorker" in window ? together : alone;
  // A page that is left may come back as it was; while it is away it hears nothing.
  const away = () => leave();
  const back = ({ persisted }: PageTransitionEvent) => persisted && enter();
  addEventListener("pagehide", away);
  addEventListener("pageshow", back);
  enter();
  return () => {
    removeEventListener("pagehide", away);
    removeEventListener("pageshow", back);
    leave();
  };
}
