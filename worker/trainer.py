"""Trains one run in a process of its own: `python -m worker.trainer SIGN_OF_LIFE`, a file descriptor.

The supervisor starts it, perhaps before there is a run, and writes `RUN TOKEN [unrecorded]` to its standard input;
the last forbids it to record steps (`cct.recording`). Until then it only imports, and never touches a GPU. It stores
what it measures; the run's state is the supervisor's to change, once this process has ended. The supervisor holds the
other end of its standard input: when that closes, the supervisor is gone and so is the reason to go on.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from redis.exceptions import RedisError

from app.errors import LeaseLost
from app.settings import Settings
from app.store.database import trouble
from app.store.lease import Lease
from app.store.rows import Run
from app.store.run_store import RunStore
from cct.answers import export_answers
from cct.checkpoint import BEST
from cct.cpu import keep_large_blocks
from cct.events import Confusion, EpochRecord, Event, Facts, FinalTest, Look, Progress, RunWarning
from cct.recording import RecordingFailed
from cct.spec import RunSpec
from cct.step import Stopped
from cct.training import NonFiniteLoss, train
from cct.trial import TRIED
from cct.weights import export_safetensors
from worker import attempt
from worker.outbox import RETRY_SECONDS, Outbox
from worker.supervisor import UNRECORDED, Exit

T = TypeVar("T")


class Patience:
    """Waits for a database that is away, and shows the supervisor that this process lives."""

    def __init__(self, sign_of_life: int) -> None:
        self.stop = threading.Event()
        """Set when this process is to end."""
        self._sign_of_life = sign_of_life
        self._shown = 0.0

    def show_life(self) -> None:
        """Once a second at most, so that it may be called after each step."""
        if time.monotonic() - self._shown > 1:
            os.utime(self._sign_of_life)
            self._shown = time.monotonic()

    def ask(self, question: Callable[[], T]) -> T:
        """The answer of a database. Raises `Stopped`."""
        while True:
            try:
                return question()
            except RedisError as error:
                print(f"training waits: {trouble(error)}", file=sys.stderr, flush=True)
            self.show_life()
            if self.stop.wait(RETRY_SECONDS):
                raise Stopped


def main(sign_of_life: str) -> int:
    """The process's exit code; see `Exit`."""
    if not (told := os.read(0, 4096).decode().split()):
        return Exit.ORPHANED
    run_id, token, *options = told
    _show_name(run_id)
    patience = Patience(int(sign_of_life))
    signal.signal(signal.SIGTERM, lambda *_: patience.stop.set())
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    keep_large_blocks()
    settings = Settings()
    store = RunStore(settings)
    outbox = Outbox(store, lease := store.lease(run_id, token))

    def should_stop() -> bool:
        patience.show_life()
        return patience.stop.is_set() or outbox.lease_lost.is_set()

    try:
        run = patience.ask(lambda: store.run(run_id))
        [recorded] = patience.ask(lambda: store.epochs([run_id]))
        folder = _own_folder(settings, run, lease, patience)
        warnings: list[RunWarning] = []
        for event in train(
            run.spec,
            data_dir=settings.datasets_folder,
            checkpoint_dir=folder,
            recorded=recorded,
            extends=run.extends_epoch,
            may_record=UNRECORDED not in options,
            may_test=not run.trial,
            should_stop=should_stop,
        ):
            _tell(outbox, run.spec, event, warnings)
        export_safetensors(folder / BEST, folder / "best.safetensors")  # the API has no torch to do it
        export_answers(folder)
        outbox.drain(should_stop)
    except Stopped:
        pass
    except LeaseLost:
        return Exit.LEASE_LOST
    except Exception as error:
        # The boundary of a run: whatever went wrong is told on the board, the traceback goes to the run's log.
        traceback.print_exc()
        if isinstance(error, RecordingFailed) and run.spec.compile in TRIED:
            print("compile: the run goes on without recorded steps, in another process", file=sys.stderr, flush=True)
            os._exit(Exit.UNRECORDABLE)  # at once: what PyTorch would do at an ordinary end is not known
        outbox.describe(error=_reason(error), failure=_kind(error))
        outbox.drain(should_stop)
        return Exit.FAILED
    if outbox.lease_lost.is_set():
        return Exit.LEASE_LOST
    return Exit.STOPPED if patience.stop.is_set() else Exit.COMPLETED


def _show_name(run_id: str) -> None:
    """Has `top` and `ps` tell which run this process trains, where they can."""
    if sys.platform == "linux":
        Path("/proc/self/comm").write_text(run_id)


def _own_folder(settings: Settings, run: Run, lease: Lease, patience: Patience) -> Path:
    """Where this attempt keeps its checkpoints, which are those of the one before. Raises `LeaseLost`, `Stopped`."""
    patience.ask(lease.check)  # what was read of the run before, the number of the attempt, is this one's
    folder = attempt.begin(settings.checkpoints(run.id), settings.run_folder(run.id), run.attempt)
    try:
        patience.ask(lease.check)
    except LeaseLost:  # so the run may have been deleted, and be back by the folder
        attempt.abandon(folder)
        raise
    attempt.supersede(folder)
    return folder


def _end_with_supervisor() -> None:
    os.read(0, 1)  # not sys.stdin: a thread that holds its lock when the interpreter ends makes it abort
    os._exit(Exit.ORPHANED)


def _tell(outbox: Outbox, spec: RunSpec, event: Event, warnings: list[RunWarning]) -> None:
    """`warnings` are all so far."""
    match event:
        case Facts():
            outbox.describe(
                device=event.device,
                parameters=event.parameters,
                mixes_batch=int(event.mixes_batch),
                provenance=json.dumps(event.provenance),
                majority_share=event.majority_share,
                duplicates=event.duplicates,
            )
            _warn(outbox, event.warnings, warnings)
            outbox.show(spec.source, event.images)
        case Progress():
            outbox.describe(step=event.step, steps=event.steps, epoch_seconds=event.seconds)
        case Look():
            outbox.look(event)
        case Confusion():
            outbox.confusion(event)
        case EpochRecord():
            outbox.record(event)
        case FinalTest():
            outbox.describe(
                test_top1=event.top1,
                test_top1_at_best=event.best_top1,
                test_balanced=event.balanced,
                test_nll=event.nll,
                test_ece=event.ece,
                test_images=event.images,
                test_sha256=event.sha256,
            )
        case RunWarning():
            _warn(outbox, [event], warnings)


def _warn(outbox: Outbox, new: Sequence[RunWarning], warnings: list[RunWarning]) -> None:
    warnings += new
    for warning in new:
        print(f"warning: {warning.text}", file=sys.stderr, flush=True)
    outbox.describe(warnings=json.dumps([asdict(warning) for warning in warnings]))


def _reason(error: Exception) -> str:
    """What is told on the board; what of a file's name is no text becomes an escape, or it could not be stored."""
    return _said(error).encode(errors="backslashreplace").decode()


def _kind(error: Exception) -> str:
    """One of `Run.failure`."""
    if isinstance(error, NonFiniteLoss):
        return "diverged"
    return "out of memory" if _is_memory(error) else "error"


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _said(error: Exception) -> str:
    if _is_memory(error):
        return f"out of memory: use a smaller batch_size or model ({error})"
    return str(error) or type(error).__name__


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: it takes PyTorch most of a second to leave in order what ends with the process
