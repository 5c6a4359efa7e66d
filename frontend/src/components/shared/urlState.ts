import { useSearchParams } from "react-router";

/** A query parameter of the page's address, null when absent; setting it clears those named in `resets`. */
export function useUrlParam(name: string, ...resets: string[]): [string | null, (value: string | null) => void] {
  const [params, setParams] = useSearchParams();
  const set = (value: string | null) =>
    setParams(
      () => {
        // The address itself: what was rendered may lag behind it, and would undo the change before.
        const next = new URLSearchParams(location.search);
        if (value) next.set(name, value);
        else next.delete(name);
        for (const other of resets) next.delete(other);
        return next;
      },
      { replace: true, preventScrollReset: true },
    );
  return [params.get(name), set];
}
