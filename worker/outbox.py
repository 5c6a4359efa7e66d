"""What a trainer reports, delivered by a thread of its own: training goes on while the run store is away."""

import logging
import threading
import time
from collections import deque

from redis.exceptions import RedisError

from app.errors import LeaseLost
from app.store import Lease, Scalar
from cct.config import EpochRecord

RETRY_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Outbox:
    """Delivers epoch records in order, and of the fields that describe the run the newest values."""

    def __init__(self, lease: Lease) -> None:
        self.lease_lost = threading.Event()
        self._lease = lease
        self._records: deque[EpochRecord] = deque()
        self._fields: dict[str, Scalar] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._deliver, name="outbox", daemon=True).start()

    def describe(self, **fields: Scalar) -> None:
        with self._changed:
            self._fields.update(fields)
            self._changed.notify_all()

    def record(self, record: EpochRecord) -> None:
        with self._changed:
            self._records.append(record)
            self._changed.notify_all()

    def drain(self, give_up: threading.Event) -> None:
        """Waits until all is delivered, the lease is lost or `give_up` is set."""
        with self._changed:
            while (self._records or self._fields) and not (give_up.is_set() or self.lease_lost.is_set()):
                self._changed.wait(RETRY_SECONDS)

    def _deliver(self) -> None:
        while not self.lease_lost.is_set():
            with self._changed:
                while not (self._records or self._fields):
                    self._changed.wait()
                record, fields = self._records[0] if self._records else None, dict(self._fields)
            try:
                # Progress first: it belongs to the epoch that the record ends.
                if fields:
                    self._lease.describe(**fields)
                if record:
                    self._lease.record_epoch(record)
            except LeaseLost:
                self.lease_lost.set()
            except RedisError as error:
                logger.warning("the run store does not answer, will deliver later: %s", error)
                time.sleep(RETRY_SECONDS)
                continue
            with self._changed:
                if record:
                    self._records.popleft()
                self._fields = {name: value for name, value in self._fields.items() if fields.get(name) != value}
                self._changed.notify_all()
