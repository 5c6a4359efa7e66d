"""Images of users' own that runs are to look at, on their way from the API to a worker and back.

They do not go through Celery: a worker's slots may all be training for hours. They are entries of a stream that a
thread of each worker reads as one consumer group: each goes to one worker, and to another if that has not told within
`REDELIVERED_MS` that it is done. Looking twice gives the same answer.

Keys: `own_images` (the stream of what waits), `own_image:<id>` (hash: the image until it is done, `runs`, `done`,
`error`, `image:<source>` as its models see it, `run:<id>` what that run says).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from redis.exceptions import ResponseError

from app.errors import Conflict, NotFound
from app.store.run_store import RunStore, new_id

KEPT_SECONDS = 3600
WAITING = 10
"""Images that may wait at a time."""
REDELIVERED_MS = 90_000
_GROUP = "workers"


class OwnImages:
    """The images and what was said of them; nothing is kept for longer than `KEPT_SECONDS`."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._redis = store.redis
        self._stream = store.key("own_images")

    def ask(self, image: bytes, run_ids: Sequence[str]) -> str:
        """Stores the image for a worker to take; returns its id. Raises `Conflict` if too many wait."""
        seconds, _ = self._redis.time()
        self._redis.xtrim(self._stream, minid=f"{(seconds - KEPT_SECONDS) * 1000}", approximate=False)
        if self._redis.xlen(self._stream) >= WAITING:
            raise Conflict(f"{WAITING} images wait for a worker already; start one, or try again later")
        image_id = new_id()
        fields = {"image": base64.b64encode(image).decode(), "runs": json.dumps(list(run_ids)), "done": 0}
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._key(image_id), mapping=cast(Any, fields))
            pipeline.expire(self._key(image_id), KEPT_SECONDS)
            pipeline.xadd(self._stream, {"id": image_id})
            pipeline.execute()
        return image_id

    def found(self, image_id: str) -> dict[str, str]:
        """The fields but for the image. Raises `NotFound`."""
        fields = cast(dict[str, str], self._redis.hgetall(self._key(image_id)))
        if "runs" not in fields:
            raise NotFound("image (they are kept for an hour)", image_id)
        return {name: value for name, value in fields.items() if name != "image"}

    # Of workers

    def take(self, wait_ms: int) -> tuple[str, str] | None:
        """The next image to look at, and the message that `finish` is to be told; None if none came."""
        with suppress(ResponseError):  # the group is there already
            self._redis.xgroup_create(self._stream, _GROUP, id="0", mkstream=True)
        [_, entries, *_] = self._redis.xautoclaim(self._stream, _GROUP, _GROUP, REDELIVERED_MS, count=1)
        if not entries:
            new = self._redis.xreadgroup(_GROUP, _GROUP, {self._stream: ">"}, count=1, block=wait_ms)
            entries = [entry for _, of_stream in cast(list[Any], new) for entry in of_stream]
        return (entries[0][1]["id"], entries[0][0]) if entries else None

    def image(self, image_id: str) -> tuple[bytes, list[str]] | None:
        """The file and the runs that are to look at it; None if that is done or too long ago."""
        image, runs = self._redis.hmget(self._key(image_id), "image", "runs")
        return (base64.b64decode(image), json.loads(runs)) if image and runs else None

    def show(self, image_id: str, source: str, url: str) -> None:
        """Stores the image as models of a dataset (`RunSpec.source`) see it."""
        self._write(image_id, **{f"image:{source}": url})

    def answer(self, image_id: str, run_id: str, said: Mapping[str, Any]) -> None:
        """Stores what a run says of the image."""
        self._write(image_id, **{f"run:{run_id}": json.dumps(said)})

    def finish(self, image_id: str, message: str, error: str = "") -> None:
        """All is said, or nothing more will be because of `error`; the file is forgotten."""
        self._write(image_id, done=1, error=error)
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hdel(self._key(image_id), "image")
            pipeline.xack(self._stream, _GROUP, message)
            pipeline.xdel(self._stream, message)
            pipeline.execute()

    def _write(self, image_id: str, **fields: str | int) -> None:
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._key(image_id), mapping=cast(Any, fields))
            pipeline.expire(self._key(image_id), KEPT_SECONDS)  # also if it had expired meanwhile
            pipeline.execute()
        self._store.tell("own_image", {"id": image_id})

    def _key(self, image_id: str) -> str:
        return self._store.key("own_image", image_id)
