import { IconTrash } from "@tabler/icons-react";

import { onRun, toEach } from "../../api/actions";
import { plural } from "../../format";
import { ConfirmButton } from "./ConfirmButton";

/** Deletes runs after asking; the question says how many and that nothing of them is kept. */
export function DeleteButton({ ids, done }: { ids: string[]; done: () => void }) {
  const runs = plural(ids.length, "run");
  return (
    <ConfirmButton
      label="Delete"
      icon={IconTrash}
      question={`Delete ${runs}? Their results, logs and checkpoints are removed for good.`}
      yes={`Yes, delete ${runs}`}
      no="Keep"
      failed="Not all deleted"
      change={() => toEach(ids, onRun.delete)}
      done={done}
    />
  );
}
