import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";

import { ADDRESS } from "../address";
import type { Session } from "./client";
import { sessionQuery } from "./queries";

const CHANNEL = `session ${ADDRESS}`;

/** Whether somebody is logged in changes for all pages of this browser. */
export function setSession(queries: QueryClient, session: Session) {
  queries.setQueryData(sessionQuery.queryKey, session);
  const others = new BroadcastChannel(CHANNEL);
  others.postMessage(null);
  others.close();
}

/** Asks again who is logged in when another page has logged in or out. */
export function useSharedSession() {
  const queries = useQueryClient();
  useEffect(() => {
    const others = new BroadcastChannel(CHANNEL);
    others.onmessage = () => void queries.invalidateQueries(sessionQuery);
    return () => others.close();
  }, [queries]);
}
