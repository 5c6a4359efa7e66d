"""The connection to Redis, the keys below one prefix, and the script of all writes that must be atomic.

Keys: `runs` (sorted set of ids by creation), `run:<id>` (hash), `run:<id>:epochs` (stream, entry `<epoch>-0`, that of
an evaluation `0-1`), `run:<id>:log`, `:history`, `:lens` and `:confusion` (streams; the last holds the best epoch and
the newest alone), `run:<id>:control` (list the worker waits on), `queued` (sorted set: the queue), `shares` (hash:
whose turn it is), `paused`, `leases` (sorted set by expiry in ms), `swept_at`, `garbage` (set of deleted runs),
`experiments`, `experiment:<id>` (hash with counters), `experiment:<id>:runs`, `plans` (set of experiments with an
open plan), `looks` (capped stream of experiments whose plans have something new to go by), `once:<key>` (answered
idempotent request), `poolings` (hash: code of own poolings by full name), `events` (capped stream, for the live
view), `workers`, `worker:<name>` (hash).
"""

from importlib.resources import files
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, RedisError
from redis.retry import Retry

from app.settings import Settings
from app.store.plan import TRIED_AGAIN, TRIES_AGAIN

Scalar = str | int | float

LUA_FILES = ("common", "queue", "states", "create", "lease", "runs", "experiments", "archive")
"""The scripts' files in the order in which they use each other."""


class Database:
    """Safe to share between threads."""

    def __init__(self, settings: Settings, prefix: str) -> None:
        self.redis = redis.Redis.from_url(
            str(settings.redis_url),
            decode_responses=True,
            socket_connect_timeout=3,
            socket_timeout=10,
            # Once, for a connection that a restart of the database closed; callers decide how long to wait for it.
            retry=Retry(NoBackoff(), 1),
        )
        self.events_kept = settings.events_kept
        self.lease_ms = int(settings.lease_seconds * 1000)
        self._prefix = prefix
        folder = files("app.store") / "lua"
        operations = [(folder / f"{name}.lua").read_text(encoding="utf-8") for name in LUA_FILES]
        kinds = "".join(f'["{kind}"] = true, ' for kind in TRIED_AGAIN)
        constants = f"local tries_again, tried_again = {TRIES_AGAIN}, {{ {kinds}}}"
        dispatch = "return operations[ARGV[1]](unpack(ARGV, 3))"
        self._script = self.redis.register_script("\n".join([constants, *operations, dispatch]))

    def key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    def do(self, operation: str, *arguments: Scalar) -> Any:
        """The reply of an operation of `app/store/lua`."""
        return self._script(keys=[self._prefix], args=[operation, self.events_kept, *arguments])


def trouble(error: RedisError) -> str:
    """What is wrong with the database, for the log of a process that tries again later."""
    if isinstance(error, OutOfMemoryError):
        return "the database is full (its maxmemory)"
    return f"the database does not answer ({error})"
