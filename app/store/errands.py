"""What workers do beside training, in seconds: show an image to runs, try a pooling.

Errands do not go through Celery: a worker's slots may all be training for hours. They are entries of a stream that a
thread of each worker reads as one consumer group: each goes to one worker, and to another if that has not told within
`REDELIVERED_MS` that it is done. Doing one twice gives the same.

Key: `errands` (the stream of what waits).
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

from redis.exceptions import ResponseError

from app.errors import Conflict
from app.store.run_store import RunStore

KEPT_SECONDS = 3600
"""How long an errand may wait."""
WAITING = 10
"""How many may wait at a time."""
REDELIVERED_MS = 90_000
_GROUP = "workers"

Kind = Literal["own_image", "pooling_check"]


@dataclass(frozen=True, slots=True)
class Errand:
    kind: Kind
    subject: str
    """The id of the image, or of the check."""
    message: str
    """For `Errands.done`."""


class Errands:
    def __init__(self, store: RunStore) -> None:
        self._redis = store.redis
        self._stream = store.key("errands")

    def ask(self, kind: Kind, subject: str) -> None:
        """Raises `Conflict` if too many wait."""
        seconds, _ = self._redis.time()
        self._redis.xtrim(self._stream, minid=f"{(seconds - KEPT_SECONDS) * 1000}", approximate=False)
        if self._redis.xlen(self._stream) >= WAITING:
            raise Conflict(f"{WAITING} images or checks wait for a worker already; start one, or try again later")
        self._redis.xadd(self._stream, {"kind": kind, "subject": subject})

    def take(self, wait_ms: int) -> Errand | None:
        """The next one to do; None if none came."""
        with suppress(ResponseError):  # the group is there already
            self._redis.xgroup_create(self._stream, _GROUP, id="0", mkstream=True)
        [_, entries, *_] = self._redis.xautoclaim(self._stream, _GROUP, _GROUP, REDELIVERED_MS, count=1)
        if not entries:
            new = self._redis.xreadgroup(_GROUP, _GROUP, {self._stream: ">"}, count=1, block=wait_ms)
            entries = [entry for _, of_stream in cast(list[Any], new) for entry in of_stream]
        return Errand(entries[0][1]["kind"], entries[0][1]["subject"], entries[0][0]) if entries else None

    def done(self, errand: Errand) -> None:
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xack(self._stream, _GROUP, errand.message)
            pipeline.xdel(self._stream, errand.message)
            pipeline.execute()
