"""The list of runs: current whoever changes it, narrowed, grouped, with sparklines, and without what is archived."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from app.store.archive import backup, restore
from app.store.lease import Lease
from app.store.rows import Run, State
from app.store.run_store import RunStore
from app.web.main import create_app
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD

Claim = Callable[[], Lease]


def queue_runs(store: RunStore, count: int) -> list[Run]:
    return store.create_runs([RunSpec(dataset="digits", epochs=3, seed=seed) for seed in range(count)])


def complete(lease: Lease, *top1: float) -> None:
    for epoch, value in enumerate(top1, start=1):
        lease.record_epoch(replace(RECORD, epoch=epoch, val_top1=value))
    lease.release(State.completed)


@pytest.fixture
def elsewhere(settings: Settings, store: RunStore) -> RunStore:
    """The store of another process."""
    return RunStore(settings)


@pytest.fixture
def site_with_files(settings: Settings, store: RunStore, tmp_path: Path) -> Iterator[TestClient]:
    """The API with a dashboard of two files."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<title>Board</title>")
    (tmp_path / "assets" / "index-1a2b.js").write_text("// a script\n" * 1000)
    with TestClient(create_app(settings, store, dashboard=tmp_path)) as client:
        yield client


def test_what_another_process_writes_is_seen_at_once(store: RunStore, elsewhere: RunStore, claim: Claim) -> None:
    assert elsewhere.runs() == []
    first, second, third = queue_runs(store, 3)
    assert [run.id for run in elsewhere.runs()] == [third.id, second.id, first.id]
    lease = claim()
    lease.describe(device="a GPU")
    lease.record_epoch(RECORD)
    store.delete(second.id)
    seen = elsewhere.runs()
    assert seen == store.runs() == [store.run(third.id), store.run(first.id)]
    assert (seen[1].state, seen[1].device, seen[1].epoch) == (State.running, "a GPU", 1)
    assert elsewhere.queued_runs() == [seen[0]]


def test_a_view_that_missed_events_starts_over(store: RunStore, elsewhere: RunStore) -> None:
    runs = queue_runs(store, 3)
    assert len(elsewhere.runs()) == 3
    store.delete(runs[0].id)
    store.edit(runs[1].id, {"note": "changed"})
    store.redis.xtrim(store.key("events"), maxlen=1, approximate=False)
    assert elsewhere.runs() == store.runs_by_id([runs[2].id, runs[1].id])
    # Another database at the same address.
    store.redis.flushdb()
    assert elsewhere.runs() == []
    [run] = queue_runs(store, 1)
    assert elsewhere.runs() == [store.run(run.id)]


def test_what_is_restored_is_seen(settings: Settings, store: RunStore, elsewhere: RunStore) -> None:
    runs = queue_runs(store, 3)
    store.edit(runs[0].id, {"archived": True})
    before, archive = elsewhere.runs(), io.BytesIO()
    backup(settings, store, archive, "test")
    store.redis.flushdb()
    archive.seek(0)
    restore(settings, store, archive)
    assert elsewhere.runs() == before
    assert [run.archived for run in before] == [False, False, True]


def test_archived_runs_are_left_out_unless_asked_for(client: TestClient, store: RunStore) -> None:
    kept, put_away = queue_runs(store, 2)
    edited = client.patch(f"/runs/{put_away.id}", json={"archived": True})
    assert edited.json()["archived"] is True

    def ids(**query: str) -> list[str]:
        return [run["id"] for run in client.get("/runs", params=query).json()["runs"]]

    assert ids() == [kept.id]
    assert ids(archived="only") == [put_away.id]
    assert ids(archived="shown") == [put_away.id, kept.id]
    assert len(client.get("/queue").json()["entries"]) == 2, "it is queued all the same"
    client.patch(f"/runs/{put_away.id}", json={"archived": False})
    assert ids() == [put_away.id, kept.id]
    assert client.patch(f"/runs/{kept.id}", json={"archived": "yes"}).status_code == 422


def test_runs_are_narrowed_by_what_they_share(client: TestClient, store: RunStore) -> None:
    specs = [RunSpec(dataset="digits", pooling=pooling) for pooling in ("mean", "max", "max")]
    mean, *rest = store.create_runs(specs)
    experiment = store.create_experiment("One", {}, {}, [RunSpec()])
    store.edit(mean.id, {"tags": ["paper"]})

    def total(**query: str) -> int:
        return int(client.get("/runs", params=query).json()["total"])

    assert total(pooling="max") == total(pooling="max", dataset="digits", model=rest[0].spec.model) == 2
    assert (total(tag="paper"), total(tag=""), total(tag="pap")) == (1, 3, 0)
    assert (total(experiment=experiment.id), total(experiment="")) == (1, 3)


def test_groups_count_and_average_their_runs(client: TestClient, store: RunStore, claim: Claim) -> None:
    poolings = ["mean", "mean", "max", "mean"]
    runs = store.create_runs([RunSpec(dataset="digits", epochs=2, pooling=name) for name in poolings])
    complete(claim(), 50.0, 40.0)
    complete(claim(), 60.0, 50.0)
    claim().record_epoch(replace(RECORD, val_top1=99.0))  # of the run that is not complete nothing is averaged
    store.edit(runs[0].id, {"tags": ["a", "b"]})

    def groups(**query: str) -> list[dict[str, object]]:
        return list(client.get("/runs/groups", params=query).json()["groups"])

    mean, other = groups(by="pooling")
    assert (mean["value"], mean["runs"], mean["states"]) == ("mean", 3, {"completed": 2, "queued": 1})
    best, final = mean["best_top1"], mean["final_top1"]
    assert isinstance(best, dict)
    assert isinstance(final, dict)
    assert (best["n"], best["mean"], final["mean"]) == (2, 55.0, 45.0)
    assert final["sd"] == pytest.approx(50**0.5)
    assert (other["value"], other["states"], other["best_top1"]) == ("max", {"running": 1}, None)
    assert {group["value"]: group["runs"] for group in groups(by="tag")} == {"a": 1, "b": 1, None: 3}
    assert [group["value"] for group in groups(by="experiment")] == [None]
    assert groups(by="pooling", state="running") == [other]
    assert client.get("/runs/groups", params={"by": "colour"}).status_code == 422


def test_groups_tell_what_they_mix_and_are_split_by_it(client: TestClient, store: RunStore, claim: Claim) -> None:
    store.create_runs([RunSpec(dataset="digits", epochs=2, lr=lr, seed=seed) for seed in (0, 1) for lr in (0.1, 0.2)])
    for top1 in (40.0, 80.0, 50.0, 90.0):
        complete(claim(), top1)

    def groups(**query: str) -> list[dict[str, object]]:
        found = client.get("/runs/groups", params={"by": "pooling"} | query).json()["groups"]
        return [{name: group[name] for name in ("split", "mixed", "runs")} for group in found]

    assert groups() == [{"split": {}, "mixed": {"lr": ["0.1", "0.2"]}, "runs": 4}], "the seed is what is averaged over"
    high, low = ({"split": {"lr": lr}, "mixed": {}, "runs": 2} for lr in ("0.2", "0.1"))
    assert groups(split="lr") == [high, low]
    assert groups(where="lr=0.1") == [low | {"split": {}}]
    assert client.get("/runs", params={"where": "lr=0.1"}).json()["total"] == 2
    for name in ("split", "where"):
        refused = client.get("/runs/groups", params={"by": "pooling", name: "colour=red"})
        assert refused.status_code == 422
        assert "no field of a spec" in refused.json()["detail"]


def test_a_sparkline_goes_from_the_first_epoch_to_the_newest(client: TestClient, store: RunStore, claim: Claim) -> None:
    long, short, none = store.create_runs([RunSpec(dataset="digits", epochs=200)] * 3)
    complete(claim(), *range(1, 100))
    complete(claim(), 10.0, 20.0)
    query = {"run": [long.id, short.id, none.id, "nobody"]}
    lines = {line["run_id"]: line for line in client.get("/runs/sparklines", params=query).json()["sparklines"]}
    assert set(lines) == {long.id, short.id, none.id}
    epochs = lines[long.id]["epochs"]
    assert (epochs[0], epochs[-1], len(epochs)) == (1, 99, 24)
    assert lines[long.id]["val_top1"] == epochs, "epoch n measured n percent"
    assert (lines[short.id]["epochs"], lines[short.id]["val_top1"]) == ([1, 2], [10.0, 20.0])
    assert lines[none.id]["epochs"] == []


def test_answers_are_compressed_and_scripts_kept(site_with_files: TestClient, store: RunStore) -> None:
    queue_runs(store, 20)
    answer = site_with_files.get("/runs")
    assert (answer.headers["content-encoding"], answer.headers["cache-control"]) == ("gzip", "no-cache")
    assert "content-encoding" not in site_with_files.get("/runs", headers={"accept-encoding": "identity"}).headers
    script = site_with_files.get("/assets/index-1a2b.js")
    assert (script.headers["content-encoding"], "immutable" in script.headers["cache-control"]) == ("gzip", True)
    assert site_with_files.get("/").headers["cache-control"] == "no-cache"
    assert "immutable" not in site_with_files.get("/assets/gone.js").headers["cache-control"]
