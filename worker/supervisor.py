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
from app.store.board import check_folder
from app.store.database import trouble
from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore, new_token
from cct.machine import OPENMP, cores

POLL_SECONDS = 0.5
LONGEST_TICK = 2.0
"""Seconds: between two looks at a trainer that are further apart, the supervisor was asleep, and so was the trainer."""
OUTPUT_SECONDS = 1.0
"""How long a trainer's output is read after its end: something that it started may never close it."""
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
        """Trains the first run of the queue until it is finished, cancelled, lost or handed back.

        Raises `OtherFolder`, and takes no run, if the data folder is not that of the board in the database.
        """
        slot = self._free.get()
        try:
            if lease := self._claim(slot.worker):
                slot.run_id = lease.run_id
                self._train(lease, slot)
        except LeaseLost as error:
            logger.warning("run %s belongs to another worker now", error)
        finally:
            slot.run_id = slot.trainer = None
            self._free.put(slot)

    def _claim(self, worker: str) -> Lease | None:
        """Waits for a database that is away: it may have given a run to this worker with its last breath."""
        token = new_token()
        while not self.stopping.is_set():
            try:
                check_folder(self._store, self._settings.data)
                return self._store.claim(worker, token)
            except RedisError as error:
                logger.warning("cannot ask for work, trying again: %s", trouble(error))
                self.stopping.wait(POLL_SECONDS)
        return None

    def _train(self, lease: Lease, slot: Slot) -> None:
        logger.info("training run %s", lease.run_id)
        try:
            watch = self._watch_trainer(lease, slot)
            if watch.code == Exit.UNRECORDABLE and not (watch.cancelled or watch.lease_lost or self.stopping.is_set()):
                watch = self._watch_trainer(lease, slot, UNRECORDED)
        except OSError as error:
            self._end(lease, None, f"the trainer could not be started and watched ({error})")
            return
        match watch.code:
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
                self._end(lease, None, _crash(watch.code))

    def _watch_trainer(self, lease: Lease, slot: Slot, *options: str) -> "_Watch":
        """Starts a trainer; returns what was seen of it once it has ended. Raises `OSError` if it cannot be started."""
        with tempfile.NamedTemporaryFile(prefix="cctboard-") as sign_of_life:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker.trainer", lease.run_id, lease.token, sign_of_life.name, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment,
            )
            slot.trainer = process.pid
            watch = _Watch(self._settings, lease, process, Path(sign_of_life.name), self.stopping)
            assert process.stdin is not None
            with process.stdin:  # by which the trainer sees whether this process is alive
                watch.run()
            return watch

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
                logger.warning("run %s ended, but %s", lease.run_id, trouble(error))
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
        self.code = 0
        """The exit code of the trainer that has ended."""
        self.cancelled = False
        self.lease_lost = False
        self.stalled = False
        self._settings = settings
        self._lease = lease
        self._process = process
        self._sign_of_life = sign_of_life
        self._stopping = stopping
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._printed = 0
        self._renew_at = 0.0

    def run(self) -> None:
        """Follows the trainer until it has ended."""
        reader = threading.Thread(target=self._read_log, name=f"log-{self._lease.run_id}", daemon=True)
        reader.start()
        looked_at, last_sign = time.monotonic(), (0, 0)
        silent = stopped_for = 0.0  # seconds in which this process was awake
        try:
            while self._process.poll() is None:
                self._talk_to_store()
                awake = min(time.monotonic() - looked_at, LONGEST_TICK)
                looked_at = time.monotonic()
                sign = self._printed, self._sign_of_life.stat().st_mtime_ns
                silent, last_sign = silent + awake if sign == last_sign else 0.0, sign
                self.stalled = silent > self._settings.stall_seconds
                if self.lease_lost or self.stalled or stopped_for > self._settings.stop_grace_seconds:
                    self._signal(signal.SIGKILL)
                elif self.cancelled or self._stopping.is_set():
                    if not stopped_for:
                        self._signal(signal.SIGTERM)
                    stopped_for += awake
        finally:
            self._signal(signal.SIGKILL)  # with what it has started, which could hold its output
            self.code = self._process.wait()
        reader.join(OUTPUT_SECONDS)
        with suppress(RedisError, LeaseLost):
            self._pass_on_log()

    def _talk_to_store(self) -> None:
        try:
            if time.monotonic() >= self._renew_at:
                self.cancelled |= self._lease.renew()
                self._renew_at = time.monotonic() + self._settings.lease_seconds / 3
            self._pass_on_log()
            if self._lease.wait(POLL_SECONDS):
                self._renew_at = 0.0
        except LeaseLost:
            self.lease_lost = True
        except RedisError as error:
            logger.warning("run %s: %s", self._lease.run_id, trouble(error))
            time.sleep(POLL_SECONDS)

    def _read_log(self) -> None:
        """What the trainer prints is a sign of life too: a download has no steps."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for raw in output:
                self._lines.append(raw.decode(errors="replace").rstrip())
                self._printed += 1

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
