"""Trains one run in a process of its own: `python -m worker.trainer RUN TOKEN SIGN_OF_LIFE [unrecorded]`.

The supervisor starts it, and may forbid it to record steps (`cct.recording`). It stores what it measures; the run's
state is the supervisor's to change, once this process has ended. The supervisor holds the other end of its standard
input: when that closes, the supervisor is gone and so is the reason to go on.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from app.settings import Settings
from app.store.run_store import RunStore
from cct.checkpoint import BEST
from cct.cpu import keep_large_blocks
from cct.events import Confusion, EpochRecord, Event, Facts, Look, Progress
from cct.recording import RecordingFailed
from cct.spec import RunSpec
from cct.step import Stopped
from cct.training import train
from cct.weights import export_safetensors
from worker.outbox import Outbox
from worker.supervisor import UNRECORDED, Exit


def main(run_id: str, token: str, sign_of_life: str, *options: str) -> int:
    """The process's exit code; see `Exit`."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    keep_large_blocks()
    settings = Settings()
    store = RunStore(settings)
    run = store.run(run_id)
    outbox = Outbox(store, store.lease(run_id, token))
    shown = 0.0

    def should_stop() -> bool:
        nonlocal shown
        if time.monotonic() - shown > 1:
            Path(sign_of_life).touch()
            shown = time.monotonic()
        return stop.is_set() or outbox.lease_lost.is_set()

    try:
        for event in train(
            run.spec,
            data_dir=settings.datasets_folder,
            checkpoint_dir=settings.checkpoints(run_id),
            may_record=UNRECORDED not in options,
            should_stop=should_stop,
        ):
            _tell(outbox, run.spec, event)
        checkpoints = settings.checkpoints(run_id)
        export_safetensors(checkpoints / BEST, checkpoints / "best.safetensors")  # the API has no torch to do it
        outbox.drain(give_up=stop)
    except Stopped:
        pass
    except Exception as error:
        # The boundary of a run: whatever went wrong is told on the board, the traceback goes to the run's log.
        traceback.print_exc()
        if isinstance(error, RecordingFailed) and run.spec.compile == "fastest":
            print("compile: the run goes on without recorded steps, in another process", file=sys.stderr, flush=True)
            os._exit(Exit.UNRECORDABLE)  # at once: what PyTorch would do at an ordinary end is not known
        outbox.describe(error=_reason(error))
        outbox.drain(give_up=stop)
        return Exit.FAILED
    if outbox.lease_lost.is_set():
        return Exit.LEASE_LOST
    return Exit.STOPPED if stop.is_set() else Exit.COMPLETED


def _end_with_supervisor() -> None:
    os.read(0, 1)  # not sys.stdin: a thread that holds its lock when the interpreter ends makes it abort
    os._exit(Exit.ORPHANED)


def _tell(outbox: Outbox, spec: RunSpec, event: Event) -> None:
    match event:
        case Facts():
            outbox.describe(
                device=event.device,
                parameters=event.parameters,
                mixes_batch=int(event.mixes_batch),
                provenance=json.dumps(event.provenance),
            )
            outbox.show(spec.source, event.images)
        case Progress():
            outbox.describe(step=event.step, steps=event.steps, epoch_seconds=event.seconds)
        case Look():
            outbox.look(event)
        case Confusion():
            outbox.confusion(event)
        case EpochRecord():
            outbox.record(event)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: use a smaller batch_size or model ({error})"
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
