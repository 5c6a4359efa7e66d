import time

from app.store.run_store import RunStore
from app.web.follower import Follower


class Notes(Follower):
    """What it has read, and how often it waited."""

    def __init__(self, store: RunStore) -> None:
        super().__init__(store.redis, store.key("notes"))
        self.read: list[dict[str, str]] = []
        self.waits = 0

    def _work(self) -> None:
        position = "0"
        while not self._stopping.is_set():
            self.waits += 1
            for entry_id, fields in self._entries(position, count=10):
                position = entry_id
                self.read.append(fields)


def test_entries_come_at_once_and_the_wait_for_more_ends_with_the_context(store: RunStore) -> None:
    notes, started = Notes(store), time.monotonic()
    with notes.running():
        time.sleep(0.1)  # it waits
        store.redis.xadd(store.key("notes"), {"text": "first"})
        time.sleep(0.1)
        assert notes.read == [{"text": "first"}]
        assert notes.waits == 2
    assert time.monotonic() - started < 0.9  # less than one wait
