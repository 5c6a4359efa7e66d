import { useDebouncedCallback } from "@mantine/hooks";
import { useEffect, useState } from "react";
import { NavigationType, useLocation, useNavigation, useNavigationType, useSearchParams } from "react-router";

const WRITTEN_AFTER_MS = 250;

/** A query parameter of the page's address, null when absent; setting it clears those named in `resets`. */
export function useUrlParam(name: string, ...resets: string[]): [string | null, (value: string | null) => void] {
  const [params, setParams] = useSearchParams();
  const leaving = useNavigation().state === "loading";
  const set = (value: string | null) => {
    // A link was followed meanwhile, to a page that is still loading: writing would keep it from coming.
    if (leaving) return;
    setParams(
      () => {
        // The address itself: what was rendered may lag behind it, and would undo the change before.
        const next = new URLSearchParams(location.search);
        if (value) next.set(name, value);
        else next.delete(name);
        for (const other of resets) next.delete(other);
        return next;
      },
      { replace: true, preventScrollReset: true, flushSync: true },
    );
  };
  return [params.get(name), set];
}

/** A query parameter that is typed: shown at once, written to the address when the user pauses. */
export function useUrlText(name: string, ...resets: string[]): [string, (text: string) => void] {
  const [param, setParam] = useUrlParam(name, ...resets);
  const [typed, setTyped] = useState(param ?? "");
  const write = useDebouncedCallback(setParam, WRITTEN_AFTER_MS);
  const arrival = useArrival();
  // biome-ignore lint/correctness/useExhaustiveDependencies: what the page itself writes into the address was typed here
  useEffect(() => {
    write.cancel();
    setTyped(param ?? "");
  }, [arrival]);
  return [
    typed,
    (text) => {
      setTyped(text);
      write(text);
    },
  ];
}

/** Another value whenever a link, or going back or forward, has led to the address; the same while the page writes it. */
export function useArrival(): string {
  const { key } = useLocation();
  const written = useNavigationType() === NavigationType.Replace;
  const [arrival, setArrival] = useState(key);
  if (!written && arrival !== key) setArrival(key);
  return arrival;
}
