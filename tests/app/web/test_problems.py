"""What a client is told when the database is full, or holds what this version cannot read."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app.store.run_store import RunStore
from tests.app.store.test_store import SPEC


@pytest.fixture
def full(store: RunStore) -> Iterator[RunStore]:
    """A store with a run, whose database takes nothing more."""
    store.create_runs([SPEC])
    store.redis.config_set("maxmemory", 1)
    yield store
    store.redis.config_set("maxmemory", 0)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/runs", {}),
        ("POST", "/experiments", {"axes": {"seed": [0, 1]}}),
        ("PATCH", "/runs/{run}", {"note": "full"}),
        ("POST", "/queue/pause", None),
        ("GET", "/readyz", None),
    ],
)
def test_a_full_database_is_named(client: TestClient, full: RunStore, method: str, path: str, body: object) -> None:
    [run] = full.runs()
    refused = client.request(method, path.format(run=run.id), json=body)
    assert (refused.status_code, refused.json()["title"]) == (503, "Database full")
    assert "delete runs that you no longer need, or give the database more memory" in refused.json()["detail"]
    assert full.runs() == [run]


def test_a_full_database_is_read_and_makes_room(client: TestClient, full: RunStore) -> None:
    [run] = full.runs()
    assert client.get(f"/runs/{run.id}").status_code == client.get("/healthz").status_code == 200
    assert client.delete(f"/runs/{run.id}").status_code == 204
    full.redis.config_set("maxmemory", 0)
    assert client.get("/readyz").status_code == 200
    assert client.post("/runs", json={}).status_code == 201


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spec", "{"),
        ("spec", "[1]"),
        ("spec", '{"epochs": "many"}'),
        ("spec", '{"a_later_field": 1}'),
        ("state", "resting"),
        ("epoch", "x"),
        ("tags", "1"),
    ],
)
def test_a_row_that_cannot_be_read_is_the_boards_error(
    client: TestClient, store: RunStore, field: str, value: str
) -> None:
    damaged, sound = store.create_runs([SPEC, SPEC])
    store.redis.hset(store.key("run", damaged.id), field, value)
    store.redis.delete(store.key("events"))
    for path in (f"/runs/{damaged.id}", "/runs", f"/comparison?run={damaged.id}"):
        refused = client.get(path)
        assert (refused.status_code, refused.json()["title"]) == (500, "Unreadable row"), path
        assert f"cannot read the stored run '{damaged.id}' ({field}" in refused.json()["detail"]
        assert f"`cctboard delete {damaged.id}`" in refused.json()["detail"]
    assert client.get(f"/runs/{sound.id}").status_code == 200
    assert client.delete(f"/runs/{damaged.id}").status_code == 204
    assert [run["id"] for run in client.get("/runs").json()["runs"]] == [sound.id]


def test_an_experiment_or_a_worker_that_cannot_be_read_is_named(client: TestClient, store: RunStore) -> None:
    experiment = store.create_experiment("E", {}, {}, [SPEC]).id
    store.redis.hset(store.key("experiment", experiment), "axes", "?")
    store.heartbeat("strange", device="cpu", version="9", slot="first")
    for path, name in (
        (f"/experiments/{experiment}", experiment),
        ("/experiments", experiment),
        ("/workers", "strange"),
    ):
        refused = client.get(path)
        assert (refused.status_code, refused.json()["title"]) == (500, "Unreadable row"), path
        assert f"'{name}'" in refused.json()["detail"]
