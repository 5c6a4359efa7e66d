"""A thread that follows a stream of the database."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

LOOK_SECONDS = 1
"""How long a follower waits for entries at a time, and after the database did not answer."""

Entry = tuple[str, dict[str, str]]
"""Id and fields."""


class Follower:
    """Works in a thread for as long as its context is open; subclasses say how in `_work`."""

    def __init__(self, redis: Redis, stream: str) -> None:
        self._redis: Any = redis
        self._stream = stream
        self._stopping = threading.Event()
        self._waiting: int | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        # A daemon: what it waits for beside the stream must not keep the API from stopping.
        thread = threading.Thread(target=self._work, name=type(self).__name__.lower(), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            if self._waiting is not None:
                with suppress(RedisError):
                    self._redis.client_unblock(self._waiting)
            thread.join(2 * LOOK_SECONDS)

    def _work(self) -> None:
        """Until `_stopping` is set."""
        raise NotImplementedError

    def _entries(self, after: str, count: int) -> list[Entry]:
        """So many at most; none if none has come for a while, or at once when the context closes."""
        with self._redis.client() as connection:
            self._waiting = connection.client_id()
            try:
                if self._stopping.is_set():
                    return []
                reply = connection.xread({self._stream: after}, block=LOOK_SECONDS * 1_000, count=count)
                return [entry for _, entries in reply for entry in entries]
            finally:
                self._waiting = None
