"""Trains runs in fresh processes and watches over them: lease, cancellation, graceful stop, crash, stall, log.

A fresh process, not a fork: CUDA starts cleanly, all its memory is gone when the run ends, and a crash of native code
cannot take the worker down.
"""

import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from redis.exceptions import RedisError

from app.errors import LeaseLost
from app.limits import LOG_LINES
from app.settings import Settings
from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from cct.machine import OPENMP, cores

POLL_SECONDS = 0.5
UNRECORDED = "unrecorded"
"""Tells a trainer not to record steps."""

logger = logging.getLogger(__name__)


class Exit(IntEnum):
    """How a trainer process ended, apart from crashes."""

    COMPLETED = 0
    FAILED = 9
    """Training raised an error; the run's `error` says which."""
    STOPPED = 10
    """Told to stop; the last epoch's checkpoint is on disk."""
    LEASE_LOST = 11
    ORPHANED = 12
    """The supervisor is gone."""
    UNRECORDABLE = 13
    """A step could not be recorded, which the run's spec did not ask for; a trainer that does not try can go on."""


@dataclass
class Slot:
    """A place for one run; as `worker` it is what the board shows."""

    worker: str
    number: int
    run_id: str | None = None
    trainer: int | None = None
    """Process id."""


class Supervisor:
    """One worker's training, as many runs at a time as it has slots."""

    def __init__(self, settings: Settings, store: RunStore, worker: str, slots: int = 1) -> None:
        numbers = range(1, slots + 1)
        self.slots = [Slot(worker if slots == 1 else f"{worker}.{number:02}", number) for number in numbers]
        self.stopping = threading.Event()
        self._settings = settings
        self._store = store
        self._environment = trainer_environment(slots)
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in self.slots:
            self._free.put(slot)

    def stop(self) -> None:
        """Hands the current runs back to the queue and takes no other."""
        self.stopping.set()

    def train_next(self) -> None:
        """Trains the first run of the queue until it is finished, cancelled, lost or handed back."""
        slot = self._free.get()
        try:
            self._train_next(slot)
        finally:
            self._free.put(slot)

    def _train_next(self, slot: Slot) -> None:
        if self.stopping.is_set():
            return
        try:
            lease = self._store.claim(slot.worker)
        except RedisError as error:
            logger.warning("the run store does not answer, the next sweep tries again: %s", error)
            return
        if lease is None:
            return
        slot.run_id = lease.run_id
        try:
            self._train(lease, slot)
        except LeaseLost:
            logger.warning("run %s belongs to another worker now", lease.run_id)
        finally:
            slot.run_id = slot.trainer = None

    def _train(self, lease: Lease, slot: Slot) -> None:
        logger.info("training run %s", lease.run_id)
        watch, code = self._run_trainer(lease, slot)
        if code == Exit.UNRECORDABLE and not (watch.cancelled or watch.lease_lost or self.stopping.is_set()):
            watch, code = self._run_trainer(lease, slot, UNRECORDED)
        match code:
            case _ if watch.lease_lost:
                raise LeaseLost(lease.run_id)
            case Exit.COMPLETED:
                self._end(lease, State.completed)
            case Exit.FAILED:
                self._end(lease, State.failed)
            case Exit.LEASE_LOST:
                raise LeaseLost(lease.run_id)
            case _ if watch.cancelled:
                self._end(lease, State.cancelled)
            case _ if self.stopping.is_set():
                self._end(lease, State.queued)
            case _ if watch.stalled:
                self._end(lease, None, f"training made no step for {self._settings.stall_seconds:g} s")
            case _:
                self._end(lease, None, _crash(code))

    def _run_trainer(self, lease: Lease, slot: Slot, *options: str) -> tuple["_Watch", int]:
        """What was seen of a trainer, and its exit code."""
        with (
            tempfile.NamedTemporaryFile(prefix="cctboard-") as sign_of_life,
            subprocess.Popen(
                [sys.executable, "-m", "worker.trainer", lease.run_id, lease.token, sign_of_life.name, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment,
            ) as process,
        ):
            slot.trainer = process.pid
            watch = _Watch(self._settings, lease, process, Path(sign_of_life.name), self.stopping)
            return watch, watch.run()

    def _end(self, lease: Lease, state: State | None, why: str = "") -> None:
        """Tells the store what became of the run, None: it was lost; waits for a store that is away."""
        while True:
            try:
                if state:
                    lease.release(state)
                else:
                    lease.lose(why)
                return
            except RedisError as error:
                logger.warning("run %s ended, but the run store does not answer: %s", lease.run_id, error)
                if self.stopping.wait(POLL_SECONDS):
                    return  # the lease will expire


def trainer_environment(slots: int) -> dict[str, str]:
    """With several slots each trainer gets its share of the worker's threads; trainers that compete are slower."""
    if slots == 1:
        return OPENMP | os.environ
    threads = int(os.environ.get("OMP_NUM_THREADS", cores()))
    return OPENMP | os.environ | {"OMP_NUM_THREADS": str(max(1, threads // slots))}


class _Watch:
    """Renews the lease while the trainer lives, and stops the trainer when the user or the worker says so."""

    def __init__(
        self,
        settings: Settings,
        lease: Lease,
        process: subprocess.Popen[bytes],
        sign_of_life: Path,
        stopping: threading.Event,
    ) -> None:
        self.cancelled = False
        self.lease_lost = False
        self.stalled = False
        self._settings = settings
        self._lease = lease
        self._process = process
        self._sign_of_life = sign_of_life
        self._stopping = stopping
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._renew_at = 0.0

    def run(self) -> int:
        """Returns the trainer's exit code once it has ended."""
        reader = threading.Thread(target=self._read_log, name=f"log-{self._lease.run_id}")
        reader.start()
        kill_at: float | None = None
        while self._process.poll() is None:
            self._talk_to_store()
            self.stalled = time.time() - self._sign_of_life.stat().st_mtime > self._settings.stall_seconds
            if self.lease_lost or self.stalled:
                self._signal(signal.SIGKILL)
            elif kill_at is None and (self.cancelled or self._stopping.is_set()):
                self._signal(signal.SIGTERM)
                kill_at = time.monotonic() + self._settings.stop_grace_seconds
            elif kill_at is not None and time.monotonic() >= kill_at:
                self._signal(signal.SIGKILL)
        reader.join()
        with suppress(RedisError, LeaseLost):
            self._pass_on_log()
        return self._process.returncode

    def _talk_to_store(self) -> None:
        try:
            if time.monotonic() >= self._renew_at:
                self._lease.renew()
                self._renew_at = time.monotonic() + self._settings.lease_seconds / 3
            self._pass_on_log()
            self.cancelled |= self._lease.cancel_requested(timeout=POLL_SECONDS)
        except LeaseLost:
            self.lease_lost = True
        except RedisError as error:
            logger.warning("run %s: the run store does not answer: %s", self._lease.run_id, error)
            time.sleep(POLL_SECONDS)

    def _read_log(self) -> None:
        """What the trainer prints is a sign of life too: a download has no steps."""
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            self._lines.append(raw.decode(errors="replace").rstrip())
            self._sign_of_life.touch()

    def _pass_on_log(self) -> None:
        while lines := list(self._lines)[:100]:
            self._lease.log(lines)
            for _ in lines:
                self._lines.popleft()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _crash(code: int) -> str:
    if code >= 0:
        return f"the trainer process ended with exit code {code}"
    hint = " (the system may be out of memory)" if code == -signal.SIGKILL else ""
    return f"the trainer process was killed by {signal.Signals(-code).name}{hint}"
