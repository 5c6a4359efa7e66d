"""Subscribers of one process's event hub, over a real database."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from jsonschema_rs import validator_for

import app.web.events
from app.settings import Settings
from app.store.errands import Errands
from app.store.lease import Lease
from app.store.own_images import OwnImages
from app.store.pooling_checks import PoolingChecks
from app.store.rows import State
from app.store.run_store import RunStore
from app.web.events import HELLO, RESET, EventHub, _database_is
from cct.own_poolings import full_name
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.cct.test_own_poolings import SHARP
from tests.conftest import wait_for


def with_hub(settings: Settings, store: RunStore, check: Callable[[EventHub], Awaitable[None]]) -> None:
    async def run() -> None:
        hub = EventHub(settings, store)
        async with asyncio.timeout(20), hub.running():
            stream = hub.subscribe(None)
            await anext(stream)
            arrival = asyncio.ensure_future(anext(stream))
            while not arrival.done():  # from its first event on, the hub reads all
                store.tell("test", {"number": -1})
                await asyncio.sleep(0.02)
            store.tell("test", {"number": 0})
            await read(stream, 0)
            await check(hub)

    asyncio.run(run())


async def read(stream: AsyncIterator[bytes], until: int) -> list[int]:
    """The numbers of the events that arrive, up to this one."""
    numbers: list[int] = []
    while until not in numbers:
        lines = (await anext(stream)).decode().splitlines()
        numbers += [json.loads(line.removeprefix("data: "))["number"] for line in lines if line.startswith("data: ")]
    return numbers


def test_a_slow_subscriber_starts_over_and_holds_nobody_up(
    settings: Settings, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.web.events, "BACKLOG_BYTES", 10_000)

    async def check(hub: EventHub) -> None:
        slow, fast = hub.subscribe(None), hub.subscribe(None)
        assert [await anext(slow), await anext(fast)] == [HELLO, HELLO]
        for number in range(1, 31):
            store.tell("test", {"number": number, "text": "x" * 1_000})
            assert await read(fast, number) == [number]
        assert await anext(slow) == RESET.encoded
        store.tell("test", {"number": 31})
        assert await read(slow, 31) == [31]

    with_hub(settings, store, check)


def test_who_comes_back_gets_each_event_once(settings: Settings, store: RunStore) -> None:
    async def check(hub: EventHub) -> None:
        watching = hub.subscribe(None)
        await anext(watching)
        store.tell("test", {"number": 1})
        first = await anext(watching)
        last_id = first.decode().splitlines()[0].removeprefix("id: ")
        back = hub.subscribe(last_id)
        assert await anext(back) == HELLO
        # These are both missed and, as the subscription has begun, still to come.
        for number in (2, 3):
            store.tell("test", {"number": number})
            await read(watching, number)
        store.tell("test", {"number": 4})
        assert await read(back, 4) == [2, 3, 4]

    with_hub(settings, store, check)


def test_who_comes_back_after_very_much_starts_over(
    settings: Settings, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.web.events, "MOST_REPLAYED", 3)

    async def check(hub: EventHub) -> None:
        watching = hub.subscribe(None)
        await anext(watching)
        store.tell("test", {"number": 1})
        last_id = (await anext(watching)).decode().splitlines()[0].removeprefix("id: ")
        for number in (2, 3, 4):
            store.tell("test", {"number": number})
        await read(watching, 4)
        assert await read(await anew(hub, last_id), 4) == [2, 3, 4]
        store.tell("test", {"number": 5})
        await read(watching, 5)
        back = await anew(hub, last_id)
        assert await anext(back) == RESET.encoded
        store.tell("test", {"number": 6})
        assert await read(back, 6) == [6]

    async def anew(hub: EventHub, last_id: str) -> AsyncIterator[bytes]:
        stream = hub.subscribe(last_id)
        assert await anext(stream) == HELLO
        return stream

    with_hub(settings, store, check)


def test_an_event_that_cannot_be_read_does_not_end_the_view(settings: Settings, store: RunStore) -> None:
    async def check(hub: EventHub) -> None:
        watching = hub.subscribe(None)
        await anext(watching)
        store.tell("run", {"id": "abc", "state": "of a newer version"})
        store.tell("test", {"number": 1})
        assert await read(watching, 1) == [1]

    with_hub(settings, store, check)


def test_streams_end_when_the_server_stops(settings: Settings, store: RunStore) -> None:
    async def check(hub: EventHub) -> None:
        streams = [hub.subscribe(None) for _ in range(3)]
        for stream in streams:
            await anext(stream)
        waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0)
        hub.end_streams()
        for following in waiting:
            with contextlib.suppress(StopAsyncIteration):
                await following
                raise AssertionError("more came")

    with_hub(settings, store, check)


def test_each_event_is_what_the_document_says(
    client: TestClient, store: RunStore, settings: Settings, claim: Callable[[], Lease]
) -> None:
    document = client.get("/openapi.json").json()
    events = document["components"]["schemas"]["Events"]["properties"]
    fits = {kind: validator_for(schema | {"components": document["components"]}) for kind, schema in events.items()}
    experiment = store.create_experiment("e", {"dataset": "digits"}, {}, [RunSpec(dataset="digits")])
    [(first, _)] = cast(list[Any], store.redis.xrange(store.key("events"), count=1))
    store.pause(True)
    store.pause(False)
    lease = claim()
    lease.record_epoch(RECORD)
    lease.release(State.failed, "out of memory")
    store.heartbeat("w", device="cpu", version="1")
    OwnImages(store).ask(b"an image", [lease.run_id])
    OwnImages(store).show(Errands(store).take(0).subject, "digits", "data:")  # type: ignore[union-attr]
    settings.poolings_folder.mkdir()
    (settings.poolings_folder / "mine.py").write_text(SHARP)
    wait_for(lambda: PoolingChecks(store).found(full_name("sharp")))
    store.delete_experiment(experiment.id)
    told: dict[str, list[Any]] = {}
    with client.stream("GET", "/events", headers={"last-event-id": first}) as stream:
        lines = (line.partition(": ")[::2] for line in stream.iter_lines())
        for name, value in lines:
            if name == "event":
                told.setdefault(value, []).append(json.loads(next(lines)[1]))
            if {"worker", "deleted"} <= told.keys():
                break
    told |= {"database": [json.loads(_database_is(True).events[0].data)], "reset": [json.loads(RESET.events[0].data)]}
    assert told.keys() == events.keys()
    for kind, payloads in told.items():
        for payload in payloads:
            fits[kind].validate(payload)
    assert [news["what"] for news in told["news"]] == ["run_failed", "experiment_ended"]
