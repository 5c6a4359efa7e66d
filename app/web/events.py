"""The live view: one reader of the store's event stream per API process, any number of subscribers."""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import redis.asyncio
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Discriminator, TypeAdapter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.errors import Unreadable
from app.settings import Settings
from app.store.rows import Experiment, Run, Worker
from app.store.run_store import RunStore
from app.web.metrics import observe_event_delay
from cct.events import EpochRecord

WORKERS_EVERY_SECONDS = 2.0
BACKLOG_BYTES = 4_000_000
"""A subscriber that lags behind by more is told to start over."""
OPEN_FILES = 10_240
MOST_REPLAYED = 500
"""Events that a page has missed; after more, reading the state anew is less work for both sides."""
PING_SECONDS = 15.0
"""Proxies close connections on which nothing is sent."""

logger = logging.getLogger(__name__)


class WorkerList(BaseModel):
    workers: Sequence[Worker]


class Payload(BaseModel):
    """What an event of one kind carries, as JSON."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class EpochFinished(Payload):
    run_id: str
    experiment_id: str | None
    record: EpochRecord


class QueuePaused(Payload):
    paused: bool


class Deleted(Payload):
    """A run, or an experiment with all its runs."""

    run_id: str | None
    experiment_id: str | None


class OwnImageSeen(Payload):
    """Runs have said more of an image of the user's own."""

    id: str


class PoolingsChanged(Payload):
    """A file in the folder of own poolings was saved or removed."""


class PoolingChecked(Payload):
    """A worker has found out more about an own pooling."""

    name: str
    """The full one."""


class RunFailed(Payload):
    what: Literal["run_failed"]
    run_id: str
    error: str
    experiment_id: str | None
    name: str | None
    """The experiment's."""


class ExperimentEnded(Payload):
    what: Literal["experiment_ended"]
    experiment_id: str
    name: str
    completed: int
    failed: int
    cancelled: int


News = Annotated[RunFailed | ExperimentEnded, Discriminator("what")]
NEWS: TypeAdapter[RunFailed | ExperimentEnded] = TypeAdapter(News)


class DatabaseReachable(Payload):
    reachable: bool


class StartOver(Payload):
    pass


class Events(Payload):
    """Server-sent events by kind: `event` names one of these fields, `data` is JSON as the field says."""

    run: Run
    """The row after a change."""
    experiment: Experiment
    """The row after a change."""
    epoch: EpochFinished
    queue: QueuePaused
    deleted: Deleted
    worker: WorkerList
    """All of them, after one has come, gone, or taken another run."""
    own_image: OwnImageSeen
    poolings: PoolingsChanged
    pooling_check: PoolingChecked
    news: News
    """What users want to be told even if they do not look; the webhook tells it too."""
    database: DatabaseReachable
    """Once it is again, read everything again."""
    reset: StartOver
    """Too much was missed: read everything again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change as browsers receive it: `data` is JSON; `id` is the stream's, None for what is not replayed."""

    id: str | None
    kind: str
    data: str

    def encoded(self) -> str:
        """The event as the standard for server-sent events writes it."""
        return (f"id: {self.id}\n" if self.id else "") + f"event: {self.kind}\ndata: {self.data}\n\n"


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that came together, encoded once for all subscribers."""

    events: list[Event]
    encoded: bytes

    @classmethod
    def of(cls, *events: Event) -> "Batch":
        return cls(list(events), "".join(event.encoded() for event in events).encode())

    def after(self, order: tuple[int, int]) -> bytes:
        """Without events that were sent before."""
        first = self.events[0].id if self.events else None
        if first is None or _order(first) > order:
            return self.encoded
        return Batch.of(*(event for event in self.events if event.id is None or _order(event.id) > order)).encoded


RESET = Batch.of(Event(None, "reset", "{}"))
PING = Batch([], b": still here\n\n")
HELLO = b"retry: 1000\n: connected\n\n"


class EventHub:
    """Reads the event stream once; every subscriber follows what was read at its own pace."""

    def __init__(self, settings: Settings, store: RunStore) -> None:
        self._url = str(settings.redis_url)
        self._redis: Any = None
        self._store = store
        self._open = False
        self._reachable = True
        self._stream = store.key("events")
        self._batches: deque[Batch] = deque()
        """The newest, for all subscribers: of each of them only the number of batches it has seen is kept."""
        self._backlog = 0
        """Bytes in them."""
        self._published = 0
        """Batches so far."""
        self._news = asyncio.Event()
        """Set for a moment when there is something to send."""
        self._quiet_since = time.monotonic()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reads while the context is open."""
        self._open = True
        _allow_many_streams()
        connections = self._redis = redis.asyncio.Redis.from_url(
            self._url, decode_responses=True, socket_connect_timeout=3, socket_timeout=10, retry=Retry(NoBackoff(), 1)
        )
        tasks = [asyncio.create_task(self._read_events()), asyncio.create_task(self._watch_workers())]
        try:
            yield
        finally:
            # A cancellation that meets a socket's time-out may surface as that time-out; then the flag ends the loop.
            self._open = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await connections.aclose()

    async def subscribe(self, last_id: str | None) -> AsyncIterator[bytes]:
        """Events from now on; after `last_id`, if given: what was missed comes first, or `reset` if it is gone."""
        seen = self._published
        yield HELLO
        sent = (0, 0)
        if not self._reachable:
            # Nothing can be replayed now; the page reads everything again when it learns that the database is back.
            yield _database_is(reachable=False).encoded
        elif last_id is not None:
            missed = await self._missed(last_id)
            yield missed.encoded
            newest = missed.events[-1].id if missed.events else None
            sent = _order(newest) if newest else sent
        while self._open:
            behind = self._published - seen
            if behind > len(self._batches):
                seen = self._published
                yield RESET.encoded
            elif behind:
                seen += 1
                # An event that arrived between subscribing and reading what was missed is in both.
                yield self._batches[-behind].after(sent)
            else:
                await self._news.wait()

    def end_streams(self) -> None:
        """Ends all subscriptions, so that the server can stop; pages connect again."""
        self._open = False
        self._wake()

    async def _missed(self, last_id: str) -> Batch:
        try:
            after = _order(last_id)
        except ValueError:
            return RESET
        oldest = await self._redis.xrange(self._stream, count=1)
        if not oldest or after < _order(oldest[0][0]):
            return RESET
        missed = await self._redis.xrange(self._stream, min=f"({last_id}", count=MOST_REPLAYED + 1)
        return RESET if len(missed) > MOST_REPLAYED else _batch(missed)

    async def _read_events(self) -> None:
        position = "$"
        while self._open:
            self._ping_if_quiet()
            try:
                if position == "$":
                    newest = await self._redis.xrevrange(self._stream, count=1)
                    position = newest[0][0] if newest else "0-0"
                reply = await self._redis.xread({self._stream: position}, block=2_000, count=500)
            except RedisError as error:
                logger.warning("the event stream cannot be read, trying again: %s", error)
                self._tell_reachable(False)
                await asyncio.sleep(0.5)
                continue
            self._tell_reachable(True)
            for _, entries in reply:
                for entry_id, _ in entries:
                    observe_event_delay(time.time() - _order(entry_id)[0] / 1000)
                self._publish(_batch(entries))
                position = entries[-1][0]

    async def _watch_workers(self) -> None:
        """Workers vanish without a word, so their list is compared rather than listened to."""
        known: str | None = None
        while self._open:
            with contextlib.suppress(RedisError, Unreadable):
                workers = await run_in_threadpool(self._store.workers)
                names = json.dumps([[worker.name, worker.run_id] for worker in workers])
                if known is not None and names != known:
                    self._publish(Batch.of(Event(None, "worker", WorkerList(workers=workers).model_dump_json())))
                known = names
            await asyncio.sleep(WORKERS_EVERY_SECONDS)

    def _tell_reachable(self, reachable: bool) -> None:
        if reachable != self._reachable:
            self._reachable = reachable
            self._publish(_database_is(reachable))

    def _publish(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._published += 1
        self._backlog += len(batch.encoded)
        while self._backlog > BACKLOG_BYTES:
            self._backlog -= len(self._batches.popleft().encoded)
        self._quiet_since = time.monotonic()
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news.clear()

    def _ping_if_quiet(self) -> None:
        if time.monotonic() > self._quiet_since + PING_SECONDS:
            self._publish(PING)


def _allow_many_streams() -> None:
    """Each stream is an open file of this process, of which systems often allow 1,024 unless asked for more."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _database_is(reachable: bool) -> Batch:
    return Batch.of(Event(None, "database", DatabaseReachable(reachable=reachable).model_dump_json()))


def _order(event_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = event_id.partition("-")
    return int(milliseconds), int(sequence)


def _batch(entries: Sequence[tuple[str, dict[str, str]]]) -> Batch:
    """Without the rows that this version cannot read; who asks for them is told."""
    events = []
    for entry_id, entry in entries:
        try:
            events.append(_event(entry_id, entry))
        except Unreadable as error:
            logger.warning("an event is left out: %s", error)
    return Batch.of(*events)


def _event(entry_id: str, entry: dict[str, str]) -> Event:
    kind, data = entry["kind"], entry["data"]
    if kind == "run":
        data = Run.parsed(json.loads(data)).model_dump_json()
    elif kind == "experiment":
        data = Experiment.parsed(json.loads(data)).model_dump_json()
    elif kind == "news":  # the store writes its counts as text
        data = NEWS.dump_json(NEWS.validate_json(data)).decode()
    return Event(entry_id, kind, data)
