import { Skeleton } from "@mantine/core";

import { isGone } from "../../api/client";
import { ErrorAlert } from "./ErrorAlert";

type Props = {
  what: string;
  error: Error | null;
  /** Pixels, about as high as what will stand there. */
  h: number;
};

/** What stands where something is still read, or why it cannot be. */
export function Pending({ what, error, h }: Props) {
  if (!error) return <Skeleton h={h} mb="sm" />;
  return (
    <ErrorAlert
      title={isGone(error) ? `No such ${what} here` : `The ${what} cannot be shown`}
      message={error.message}
    />
  );
}
