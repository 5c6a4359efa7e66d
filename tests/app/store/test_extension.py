"""A completed run is extended over HTTP, or it is told why not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.analysis.comparison import compare
from app.settings import Settings
from app.store.lease import Lease
from app.store.rows import Run, State
from app.store.run_store import RunStore
from cct.extension import BEST, LAST
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD


@pytest.fixture
def completed(settings: Settings, store: RunStore, claim: Callable[[], Lease]) -> Run:
    """A run of 2 epochs, and what stands for its checkpoints."""
    [run] = store.create_runs([RunSpec(dataset="digits", epochs=2, warmup_epochs=0)], priority=3)
    lease = claim()
    folder = settings.run_folder(run.id) / "1"
    folder.mkdir(parents=True)
    for name in (LAST, BEST):
        (folder / name).write_text(name)
    lease.describe(device="CPU", provenance=json.dumps({"device": "CPU"}))
    for epoch in (1, 2):
        lease.record_epoch(replace(RECORD, epoch=epoch))
    lease.release(State.completed)
    return store.run(run.id)


def files(settings: Settings, run_id: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in settings.checkpoints(run_id).iterdir()}


def test_a_completed_run_is_extended_as_another_that_holds_its_checkpoint(
    client: TestClient, settings: Settings, store: RunStore, completed: Run
) -> None:
    key = {"Idempotency-Key": "once"}
    response = client.post(f"/runs/{completed.id}/extend", json={"epochs": 3}, headers=key)
    assert response.status_code == 201
    extending = response.json()
    assert (extending["extends"], extending["extends_epoch"], extending["state"]) == (completed.id, 2, "queued")
    assert (extending["spec"]["epochs"], extending["priority"], extending["experiment_id"]) == (3, 3, None)
    assert [warning["code"] for warning in extending["warnings"]] == ["extended"]
    again = client.post(f"/runs/{completed.id}/extend", json={"epochs": 3}, headers=key)
    assert again.json()["id"] == extending["id"]
    assert {path.name for path in settings.run_folder("x").parent.iterdir()} == {completed.id, extending["id"]}
    store.delete(completed.id)
    for path in settings.checkpoints(completed.id).iterdir():
        path.unlink()
    assert files(settings, extending["id"]) == {LAST: LAST, BEST: BEST}


def test_comparisons_tell_which_runs_were_extended(client: TestClient, store: RunStore, completed: Run) -> None:
    client.post(f"/runs/{completed.id}/extend", json={"epochs": 3})
    store.create_runs([RunSpec(dataset="digits", epochs=3, warmup_epochs=0, pooling="mean")])
    found = compare([run for run in store.runs() if run.id != completed.id])
    [unequal] = [one for one in found.fairness if one.field == "extended_after_epoch"]
    assert {setting.value: setting.variants for setting in unequal.settings} == {"never": ["mean"], "2": ["seqpool"]}
    assert [(doubt.code, doubt.variants) for doubt in found.doubts] == [("extended", ["seqpool"])]


def test_what_cannot_be_extended_is_told(
    client: TestClient, settings: Settings, store: RunStore, completed: Run, tmp_path: Path
) -> None:
    def refused(run_id: str, epochs: object, status: int) -> str:
        response = client.post(f"/runs/{run_id}/extend", json={"epochs": epochs})
        assert response.status_code == status, response.text
        return str(response.json()["detail"])

    assert refused("nope", 3, 404) == "there is no run 'nope'"
    assert refused(completed.id, 2, 422) == f"epochs: is 2, but run {completed.id} has 2 already; give more"
    assert "epochs: 20000 is out of range; allowed: at least 0 and at most 10000" in refused(completed.id, 20_000, 422)
    assert "epochs" in refused(completed.id, "3", 422)
    [queued] = store.create_runs([RunSpec(dataset="digits")])
    assert refused(queued.id, 300, 409) == f"run {queued.id} is queued; only a completed run can be extended"
    (settings.checkpoints(completed.id) / LAST).unlink()
    said = refused(completed.id, 3, 409)
    assert said.startswith(f"the checkpoint of run {completed.id} is gone (last.pt and best.pt in {tmp_path}")
    assert said.endswith("clone it as a run of 3 epochs from the start")
    assert {path.name for path in settings.run_folder("x").parent.iterdir()} == {completed.id}
    (settings.data / "board").write_text("another")
    assert "is not the data folder of the board in this database" in refused(completed.id, 3, 409)
    assert len(store.runs()) == 2
