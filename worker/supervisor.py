"""Trains one run in a fresh process and watches over it: lease, cancellation, graceful stop, crash, log.

A fresh process, not a fork: CUDA starts cleanly, all its memory is gone when the run ends, and a crash of native code
cannot take the worker down.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from enum import IntEnum

from redis.exceptions import RedisError

from app.errors import LeaseLost
from app.settings import Settings
from app.store import Lease, RunStore, State

POLL_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Exit(IntEnum):
    """How a trainer process ended, apart from crashes."""

    COMPLETED = 0
    FAILED = 9
    """Training raised an error; the run's `error` says which."""
    STOPPED = 10
    """Told to stop; the last epoch's checkpoint is on disk."""
    LEASE_LOST = 11


class Supervisor:
    """One worker's training, one run at a time."""

    def __init__(self, settings: Settings, store: RunStore, worker: str) -> None:
        self.worker = worker
        self.run_id: str | None = None
        self.stopping = threading.Event()
        self._settings = settings
        self._store = store

    def stop(self) -> None:
        """Hands the current run back to the queue and takes no other."""
        self.stopping.set()

    def train_next(self) -> None:
        """Trains the first run of the queue until it is finished, cancelled, lost or handed back."""
        if self.stopping.is_set() or (lease := self._store.claim(self.worker)) is None:
            return
        self.run_id = lease.run_id
        try:
            self._train(lease)
        except LeaseLost:
            logger.warning("run %s belongs to another worker now", lease.run_id)
        finally:
            self.run_id = None

    def _train(self, lease: Lease) -> None:
        logger.info("training run %s", lease.run_id)
        command = [sys.executable, "-m", "worker.trainer", lease.run_id, lease.token]
        # Threads that wait sleep instead of spinning: where the CPU is shared, spinning slows training several times.
        environment = {"OMP_WAIT_POLICY": "passive"} | os.environ
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            watch = _Watch(self._settings, lease, process, self.stopping)
            watcher = threading.Thread(target=watch.run, name=f"watch-{lease.run_id}")
            watcher.start()
            last_lines = _pass_on_log(process, lease)
            process.wait()
            watcher.join()
        match process.returncode:
            case Exit.COMPLETED:
                lease.release(State.completed)
            case Exit.FAILED:
                lease.release(State.failed)
            case Exit.LEASE_LOST:
                raise LeaseLost(lease.run_id)
            case _ if watch.cancelled:
                lease.release(State.cancelled)
            case _ if self.stopping.is_set():
                lease.release(State.queued)
            case code:
                lease.release(State.failed, _crash(code, last_lines))


class _Watch:
    """Renews the lease while the trainer lives, and stops the trainer when the user or the worker says so."""

    def __init__(
        self, settings: Settings, lease: Lease, process: subprocess.Popen[bytes], stopping: threading.Event
    ) -> None:
        self.cancelled = False
        self._settings = settings
        self._lease = lease
        self._process = process
        self._stopping = stopping

    def run(self) -> None:
        renew_at = 0.0
        kill_at: float | None = None
        while self._process.poll() is None:
            try:
                if time.monotonic() >= renew_at:
                    self._lease.renew()
                    renew_at = time.monotonic() + self._settings.lease_seconds / 3
                self.cancelled |= self._lease.cancel_requested(timeout=POLL_SECONDS)
            except LeaseLost:
                self._signal(signal.SIGKILL)
                return
            except RedisError as error:
                logger.warning("run %s: the run store does not answer: %s", self._lease.run_id, error)
                time.sleep(POLL_SECONDS)
            if kill_at is None and (self.cancelled or self._stopping.is_set()):
                self._signal(signal.SIGTERM)
                kill_at = time.monotonic() + self._settings.stop_grace_seconds
            elif kill_at is not None and time.monotonic() >= kill_at:
                self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _pass_on_log(process: subprocess.Popen[bytes], lease: Lease) -> list[str]:
    """Writes what the trainer prints to the run's log until it closes its output; returns the last lines."""
    assert process.stdout is not None
    last: list[str] = []
    for raw in process.stdout:
        line = raw.decode(errors="replace").rstrip()
        last = [*last, line][-5:]
        with suppress(RedisError, LeaseLost):
            lease.log([line])
    return last


def _crash(code: int, last_lines: list[str]) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    hint = " (the system may be out of memory)" if code == -signal.SIGKILL else ""
    said = f"; it last printed: {' / '.join(last_lines)}" if last_lines else ""
    return f"the trainer process {how}{hint}{said}"
