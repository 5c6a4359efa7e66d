"""Trains one run in a process of its own: `python -m worker.trainer RUN TOKEN`, started by the supervisor.

It records what it measures; the run's state is the supervisor's to change, once this process has ended.
"""

import signal
import sys
import threading
import traceback

from app.errors import LeaseLost
from app.settings import Settings
from app.store import Lease, RunStore
from cct.train import Facts, Progress, Stopped, train
from worker.supervisor import Exit


def main(run_id: str, token: str) -> int:
    """The process's exit code; see `Exit`."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = Settings()
    store = RunStore(settings)
    lease = Lease(store, run_id, token)
    run = store.run(run_id)
    try:
        records = train(
            run.spec,
            data_dir=settings.datasets_folder,
            checkpoint_dir=settings.checkpoints(run_id),
            should_stop=stop.is_set,
            on_start=lambda facts: _describe_facts(lease, facts),
            on_progress=lambda progress: _describe_progress(lease, progress),
        )
        for record in records:
            lease.record_epoch(record)
    except Stopped:
        return Exit.STOPPED
    except LeaseLost:
        return Exit.LEASE_LOST
    except Exception as error:
        # The boundary of a run: whatever went wrong is told on the board, the traceback goes to the run's log.
        traceback.print_exc()
        lease.describe(error=_reason(error))
        return Exit.FAILED
    return Exit.COMPLETED


def _describe_facts(lease: Lease, facts: Facts) -> None:
    lease.describe(device=facts.device, parameters=facts.parameters, mixes_batch=int(facts.mixes_batch))


def _describe_progress(lease: Lease, progress: Progress) -> None:
    lease.describe(step=progress.step, steps=progress.steps, epoch_seconds=progress.seconds)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: use a smaller batch_size or model ({error})"
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
