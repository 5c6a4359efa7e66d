"""Trains runs in fresh processes and watches over them: lease, cancellation, graceful stop, crash, stall, log.

A fresh process, not a fork: CUDA starts cleanly, all its memory is gone when the run ends, and a crash of native code
cannot take the worker down. It may have been started ahead (`worker.process.Spare`), but trains one run only.
"""

import logging
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

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
from worker.process import Spare, Trainer
from worker.vitals import Meter

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
    spare: Spare
    run_id: str | None = None
    trainer: int | None = None
    """Process id."""


class Supervisor:
    """One worker's training, as many runs at a time as it has slots."""

    def __init__(self, settings: Settings, store: RunStore, worker: str, slots: int = 1) -> None:
        environment = trainer_environment(slots)
        self.slots = [
            Slot(worker if slots == 1 else f"{worker}.{number:02}", number, Spare(environment))
            for number in range(1, slots + 1)
        ]
        self.stopping = threading.Event()
        self._settings = settings
        self._store = store
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in self.slots:
            self._free.put(slot)

    def stop(self) -> None:
        """Hands the current runs back to the queue and takes no other."""
        self.stopping.set()
        for slot in self.slots:
            slot.spare.close()

    def train_next(self) -> bool:
        """Trains the first run of the queue until it is finished, cancelled, lost or handed back.

        Returns whether there was one. Raises `OtherFolder`, and takes no run, if the data folder is not that of the
        board in the database.
        """
        slot = self._free.get()
        try:
            if (lease := self._claim(slot.worker)) is None:
                return False
            slot.run_id = lease.run_id
            self._train(lease, slot)
        except LeaseLost as error:
            logger.warning("run %s belongs to another worker now", error)
        finally:
            slot.run_id = slot.trainer = None
            self._free.put(slot)
        return True

    def keep_ready(self) -> None:
        """Has a trainer wait for each slot that may soon have another run. Raises `RedisError`."""
        are_waiting = self._store.queued() and not self._store.paused()
        for slot in self.slots:
            if slot.run_id is None or are_waiting:
                try:
                    slot.spare.prepare()
                except OSError as error:
                    logger.warning("no trainer waits for the next run: %s", error)

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
        """Has a trainer train it; returns what was seen of that once it has ended. Raises `OSError` if none starts."""
        with slot.spare.take() as trainer:
            trainer.train(lease.run_id, lease.token, *options)
            slot.trainer = trainer.process.pid
            with suppress(RedisError):
                self.keep_ready()  # what the next run's trainer imports is imported meanwhile
            watch = _Watch(self._settings, lease, trainer, self.stopping, self._running)
            watch.run()
            return watch

    def _running(self) -> int:
        return sum(slot.run_id is not None for slot in self.slots)

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
        trainer: Trainer,
        stopping: threading.Event,
        running: Callable[[], int],
    ) -> None:
        """`running` tells how many runs the worker trains at the same time."""
        self.code = 0
        """The exit code of the trainer that has ended."""
        self.cancelled = False
        self.lease_lost = False
        self.stalled = False
        self._settings = settings
        self._lease = lease
        self._trainer = trainer
        self._stopping = stopping
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._printed = 0
        self._renew_at = 0.0
        self._meter = Meter(trainer.process.pid, running)

    def run(self) -> None:
        """Follows the trainer until it has ended."""
        run_id, process, news = self._lease.run_id, self._trainer.process, self._trainer.news
        reader = threading.Thread(target=self._read_log, name=f"log-{run_id}", daemon=True)
        reader.start()
        threading.Thread(target=self._listen, name=f"listener-{run_id}", daemon=True).start()
        looked_at, last_sign = time.monotonic(), (0, 0)
        silent = stopped_for = 0.0  # seconds in which this process was awake
        while process.poll() is None:
            self._talk_to_store()
            awake = min(time.monotonic() - looked_at, LONGEST_TICK)
            looked_at = time.monotonic()
            sign = self._printed, self._trainer.shown_life()
            silent, last_sign = silent + awake if sign == last_sign else 0.0, sign
            self.stalled = silent > self._settings.stall_seconds
            if self.lease_lost or self.stalled or stopped_for > self._settings.stop_grace_seconds:
                self._trainer.signal(signal.SIGKILL)
            elif self.cancelled or self._stopping.is_set():
                if not stopped_for:
                    self._trainer.signal(signal.SIGTERM)
                stopped_for += awake
            news.wait(POLL_SECONDS)
            news.clear()
        self.code = process.returncode
        self._trainer.signal(signal.SIGKILL)  # what it has started, which could hold its output
        reader.join(OUTPUT_SECONDS)
        with suppress(RedisError, LeaseLost):
            self._pass_on_log()
            self._pass_on_reading()

    def _talk_to_store(self) -> None:
        try:
            if time.monotonic() >= self._renew_at:
                self.cancelled |= self._lease.renew()
                self._renew_at = time.monotonic() + self._settings.lease_seconds / 3
            self._pass_on_log()
            if self._meter.is_due():
                self._pass_on_reading()
        except LeaseLost:
            self.lease_lost = True
        except RedisError as error:
            logger.warning("run %s: %s", self._lease.run_id, trouble(error))

    def _listen(self) -> None:
        """Has the lease renewed, which tells what the user wants, as soon as the user has done something."""
        while self._trainer.process.returncode is None:
            try:
                if self._lease.wait(POLL_SECONDS):
                    self._renew_at = 0.0
                    self._trainer.news.set()
            except RedisError:
                time.sleep(POLL_SECONDS)

    def _read_log(self) -> None:
        """What the trainer prints is a sign of life too: a download has no steps."""
        assert self._trainer.process.stdout is not None
        with self._trainer.process.stdout as output:
            for raw in output:
                self._lines.append(raw.decode(errors="replace").rstrip())
                self._printed += 1

    def _pass_on_reading(self) -> None:
        reading = self._meter.read()
        self._lease.measure(reading.used, reading.facts)
        self._meter.keep(reading)

    def _pass_on_log(self) -> None:
        while lines := list(self._lines)[:100]:
            self._lease.log(lines)
            for _ in lines:
                self._lines.popleft()


def _crash(code: int) -> str:
    if code >= 0:
        return f"the trainer process ended with exit code {code}"
    hint = " (the system may be out of memory)" if code == -signal.SIGKILL else ""
    return f"the trainer process was killed by {signal.Signals(-code).name}{hint}"
