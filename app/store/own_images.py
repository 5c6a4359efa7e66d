"""Images of users' own that runs are to look at, on their way from the API to a worker and back.

Looking is an errand (`app.store.errands`).

Key: `own_image:<id>` (hash: the image until it is done, `runs`, `done`, `error`, `image:<source>` as its models see it,
`run:<id>` what that run says).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from app.errors import NotFound
from app.store.errands import KEPT_SECONDS, Errands
from app.store.run_store import RunStore, new_id


class OwnImages:
    """The images and what was said of them; nothing is kept for longer than `KEPT_SECONDS`."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._redis = store.redis

    def ask(self, image: bytes, run_ids: Sequence[str]) -> str:
        """Stores the image for a worker to take; returns its id. Raises `Conflict` if too many wait."""
        image_id = new_id()
        fields = {"image": base64.b64encode(image).decode(), "runs": json.dumps(list(run_ids)), "done": 0}
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._key(image_id), mapping=cast(Any, fields))
            pipeline.expire(self._key(image_id), KEPT_SECONDS)
            pipeline.execute()
        Errands(self._store).ask("own_image", image_id)
        return image_id

    def found(self, image_id: str) -> dict[str, str]:
        """The fields but for the image. Raises `NotFound`."""
        fields = cast(dict[str, str], self._redis.hgetall(self._key(image_id)))
        if "runs" not in fields:
            raise NotFound("image (they are kept for an hour)", image_id)
        return {name: value for name, value in fields.items() if name != "image"}

    # Of workers

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

    def finish(self, image_id: str, error: str = "") -> None:
        """All is said, or nothing more will be because of `error`; the file is forgotten."""
        self._write(image_id, done=1, error=error)
        self._redis.hdel(self._key(image_id), "image")

    def _write(self, image_id: str, **fields: str | int) -> None:
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(self._key(image_id), mapping=cast(Any, fields))
            pipeline.expire(self._key(image_id), KEPT_SECONDS)  # also if it had expired meanwhile
            pipeline.execute()
        self._store.tell("own_image", {"id": image_id})

    def _key(self, image_id: str) -> str:
        return self._store.key("own_image", image_id)
