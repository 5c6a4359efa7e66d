"""Who queued a run and wrote a note, on a board that several people share."""

from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from app.limits import AUTHOR_HEADER, AUTHOR_LENGTH
from app.store.rows import State
from app.store.run_store import RunStore
from tests.app.cli.conftest import Command, board, cctboard
from tests.app.web.test_planner import Study
from tests.app.web.test_results import log_of
from tests.conftest import DIGITS

__all__ = ["board", "cctboard"]

ADA, BOB = ({AUTHOR_HEADER: quote(name)} for name in ("Ada Löwe", "bob"))
EXPERIMENT = {"spec": DIGITS | {"epochs": 1}, "axes": {"pooling": ["seqpool", "mean"]}}


def authors(client: TestClient, experiment: str) -> list[str]:
    return [run["author"] for run in client.get("/runs", params={"experiment": experiment}).json()["runs"]][::-1]


def test_runs_and_experiments_are_of_whoever_has_queued_them(client: TestClient) -> None:
    assert client.post("/runs", json={}).json()["author"] == ""
    run = client.post("/runs", json={}, headers=ADA).json()
    assert run["author"] == "Ada Löwe"
    assert [one["id"] for one in client.get("/runs", params={"text": "löwe"}).json()["runs"]] == [run["id"]]
    experiment = client.post("/experiments", json=EXPERIMENT, headers=ADA).json()
    assert experiment["author"] == "Ada Löwe"
    more = client.post(f"/experiments/{experiment['id']}/runs", json={"seeds": 1}, headers=BOB).json()
    assert (more["author"], authors(client, experiment["id"])) == ("Ada Löwe", ["Ada Löwe"] * 2 + ["bob"] * 2)
    spec = '{"model": "cct_2_3x2_32", "dataset": "cifar10", "pooling": "mean", "seed": 0}'
    imported = client.post("/results", params={"spec": spec}, content=log_of(1, 2, 3).encode(), headers=BOB)
    assert imported.json()["author"] == "bob"


def test_what_a_plan_queues_is_of_whoever_has_declared_it(store: RunStore) -> None:
    study = Study(store.by("Ada Löwe"))
    study.train()
    assert len(study.runs()) > 9
    assert {run.author for run in study.runs()} == {"Ada Löwe"}


def test_a_repeated_request_is_the_first_ones_whoever_repeats_it(client: TestClient) -> None:
    first = client.post("/runs", json={}, headers=ADA | {"Idempotency-Key": "k"}).json()
    again = client.post("/runs", json={}, headers=BOB | {"Idempotency-Key": "k"}).json()
    assert (again["id"], again["author"]) == (first["id"], "Ada Löwe")


def test_a_note_names_who_wrote_it(client: TestClient) -> None:
    experiment = client.post("/experiments", json=EXPERIMENT, headers=ADA).json()
    [run, _] = client.get("/runs", params={"experiment": experiment["id"]}).json()["runs"]
    for path in (f"/runs/{run['id']}", f"/experiments/{experiment['id']}"):
        noted = client.patch(path, json={"note": "why?"}, headers=BOB).json()
        assert (noted["author"], noted["note"], noted["noted_by"]) == ("Ada Löwe", "why?", "bob")
        assert client.patch(path, json={"priority": 3}, headers=ADA).json()["noted_by"] == "bob"


@pytest.mark.parametrize("is_running", [False, True])
def test_the_time_line_names_who_cancelled_a_run_and_had_it_tried_again(
    client: TestClient, store: RunStore, is_running: bool
) -> None:
    run = client.post("/runs", json={}, headers=ADA).json()["id"]
    lease = store.claim("w") if is_running else None
    client.post(f"/runs/{run}/cancel", headers=BOB)
    client.post(f"/runs/{run}/cancel", headers=ADA)
    if lease:
        lease.release(State.cancelled)
    client.post(f"/runs/{run}/retry", headers=ADA)
    told = [(entry.what, entry.detail) for entry in store.history(run) if entry.what != "started"]
    assert told[-2:] == [("cancelled", "by bob"), ("retried", "by Ada Löwe")]
    store.cancel(run)
    assert store.history(run)[-1].detail == "", "nobody has said"


@pytest.mark.parametrize("name", ["x" * (AUTHOR_LENGTH + 1), "two\nlines"])
def test_what_is_no_name_is_refused(client: TestClient, name: str) -> None:
    refused = client.post("/runs", json={}, headers={AUTHOR_HEADER: quote(name)})
    assert refused.status_code == 422
    assert "use at most 60 characters in one line" in refused.json()["detail"]


def test_the_command_line_gives_the_name_of_the_account_or_the_one_that_is_set(
    board: Any, cctboard: Command, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    cctboard("submit", "dataset=digits")
    assert store.runs()[0].author == "ada"
    monkeypatch.setenv("CCTBOARD_USER", "Łukasz")
    cctboard("submit", "dataset=digits")
    assert store.runs()[0].author == "Łukasz"
