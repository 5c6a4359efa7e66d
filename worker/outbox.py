"""What a trainer reports, delivered by a thread of its own: training goes on while the run store is away."""

import logging
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from redis.exceptions import RedisError

from app.errors import LeaseLost
from app.store.database import Scalar, trouble
from app.store.lease import Lease
from app.store.run_store import RunStore
from cct.events import Confusion, EpochRecord, Image, Look, Text

RETRY_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Outbox:
    """Delivers what was measured in order, and of the fields that describe the run the newest values."""

    def __init__(self, store: RunStore, lease: Lease) -> None:
        self.lease_lost = threading.Event()
        self._store = store
        self._lease = lease
        self._measured: deque[Callable[[], object]] = deque()
        self._fields: dict[str, Scalar] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._deliver, name="outbox", daemon=True).start()

    def describe(self, **fields: Scalar) -> None:
        with self._changed:
            self._fields.update(fields)
            self._changed.notify_all()

    def record(self, record: EpochRecord) -> None:
        self._add(partial(self._lease.record_epoch, record))

    def look(self, look: Look) -> None:
        self._add(partial(self._lease.record_look, look.epoch, asdict(look)))

    def confusion(self, confusion: Confusion) -> None:
        self._add(partial(self._lease.record_confusion, confusion.epoch, confusion.counts))

    def show(self, source: str, images: Sequence[Image | Text]) -> None:
        self._add(partial(self._store.set_images, source, [asdict(image) for image in images]))

    def _add(self, delivery: Callable[[], object]) -> None:
        with self._changed:
            self._measured.append(delivery)
            self._changed.notify_all()

    def drain(self, should_stop: Callable[[], bool]) -> None:
        """Waits until all is delivered, or `should_stop`, which is asked again and again, says so."""
        with self._changed:
            while (self._measured or self._fields) and not should_stop():
                self._changed.wait(RETRY_SECONDS)

    def _deliver(self) -> None:
        try:
            self._deliver_all()
        except BaseException:  # nothing that this process measures would ever arrive
            traceback.print_exc()
            os._exit(1)

    def _deliver_all(self) -> None:
        while not self.lease_lost.is_set():
            with self._changed:
                while not (self._measured or self._fields):
                    self._changed.wait()
                first, fields = self._measured[0] if self._measured else None, dict(self._fields)
            try:
                # Progress first: it belongs to the epoch that the record ends.
                if fields:
                    self._lease.describe(**fields)
                if first:
                    first()
            except LeaseLost:
                self.lease_lost.set()
            except RedisError as error:
                logger.warning("what was measured is delivered later: %s", trouble(error))
                time.sleep(RETRY_SECONDS)
                continue
            with self._changed:
                if first:
                    self._measured.popleft()
                self._fields = {name: value for name, value in self._fields.items() if fields.get(name) != value}
                self._changed.notify_all()
