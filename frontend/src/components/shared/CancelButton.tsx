import { IconX } from "@tabler/icons-react";

import { onExperiment, onRun } from "../../api/actions";
import { ConfirmButton } from "./ConfirmButton";

type Props = { what: "run" | "experiment"; id: string; compact?: boolean };

/** Asks once, then cancels; what was measured is kept. */
export function CancelButton({ what, id, compact }: Props) {
  return (
    <ConfirmButton
      label={compact ? `Cancel ${what} ${id}` : `Cancel ${what}`}
      icon={IconX}
      question={`${what === "run" ? "Stop this run?" : "Stop all unfinished runs?"} Measured epochs are kept.`}
      yes="Yes, cancel"
      no="Keep going"
      failed="Not cancelled"
      change={(): Promise<unknown> => (what === "run" ? onRun.cancel(id) : onExperiment.cancel(id))}
      compact={compact}
    />
  );
}
