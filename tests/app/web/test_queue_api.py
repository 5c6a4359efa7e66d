"""The queue's operations over HTTP: what they answer, and how they refuse."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from app.web.routes import queue
from app.web.routes.experiments import ExperimentEdit, ExperimentRequest, MoreRuns
from app.web.routes.runs import RunEdit, RunRequest
from app.web.specs import SpecRequest
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD

Claim = Callable[[], Lease]

DIGITS = {"dataset": "digits", "epochs": 2}
AXES = {"pooling": ["seqpool", "mean"], "seed": [0, 1]}


def a_run(client: TestClient, **fields: Any) -> Any:
    return client.post("/runs", json=DIGITS | fields).json()


def an_experiment(client: TestClient, **fields: Any) -> Any:
    created = client.post("/experiments", json={"spec": DIGITS, "axes": AXES} | fields)
    assert created.status_code == 201
    return created.json()


def specs_of(client: TestClient, experiment: str) -> list[dict[str, Any]]:
    """Specs of the experiment's runs, oldest first."""
    runs = client.get("/runs", params={"experiment": experiment}).json()["runs"]
    return [run["spec"] for run in reversed(runs)]


def queued_ids(client: TestClient) -> list[str]:
    return [entry["run_id"] for entry in client.get("/queue").json()["entries"]]


@pytest.mark.parametrize(("path", "body"), [("/runs", DIGITS), ("/experiments", {"spec": DIGITS, "axes": AXES})])
def test_a_repeated_request_is_answered_as_the_first_time(
    client: TestClient, store: RunStore, path: str, body: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "a7b1"}
    first = client.post(path, json=body, headers=headers)
    queued = store.queued()
    again = client.post(path, json=body, headers=headers)
    assert (again.status_code, again.json(), again.headers["location"]) == (
        201,
        first.json(),
        first.headers["location"],
    )
    assert store.queued() == queued
    other = client.post(path, json=body | {"priority": 1}, headers=headers)
    assert other.status_code == 409
    assert "Idempotency-Key was used for another request" in other.json()["detail"]
    assert client.post(path, json=body, headers={"Idempotency-Key": "x" * 201}).status_code == 422
    assert store.queued() == queued
    assert client.post(path, json=body).json()["id"] != first.json()["id"]


def test_a_run_is_edited(client: TestClient) -> None:
    first, second = a_run(client), a_run(client, priority=-1)
    path = f"/runs/{second['id']}"
    edited = client.patch(path, json={"priority": 10, "note": "look at the loss", "tags": ["paper"]})
    assert edited.status_code == 200
    assert edited.json() == second | {"priority": 10, "note": "look at the loss", "tags": ["paper"]}
    assert client.patch(path, json={"tags": []}).json() == edited.json() | {"tags": []}, "the rest stays"
    assert client.patch(path, json={}).json() == client.get(path).json()
    assert queued_ids(client) == [second["id"], first["id"]]
    assert client.get("/runs", params={"text": "LOOK at"}).json()["total"] == 1


def test_an_experiment_is_edited(client: TestClient) -> None:
    single, experiment = a_run(client), an_experiment(client)
    path = f"/experiments/{experiment['id']}"
    edited = client.patch(path, json={"name": "Poolings", "note": "n", "priority": 2})
    assert edited.status_code == 200
    assert edited.json() == experiment | {"name": "Poolings", "note": "n", "priority": 2}
    assert client.patch(path, json={}).json() == edited.json()
    assert queued_ids(client)[-1] == single["id"], "its runs overtook"


@pytest.mark.parametrize(
    ("method", "path", "body", "field", "message"),
    [
        ("POST", "/runs", {"priority": 1000}, "priority", "less than or equal to 100"),
        ("POST", "/runs", {"priority": "1"}, "priority", "integer"),
        ("POST", "/experiments", {"priority": -101}, "priority", "greater than or equal to -100"),
        ("PATCH", "/runs/{run}", {"priority": 1000}, "priority", "less than or equal to 100"),
        ("PATCH", "/runs/{run}", {"tags": ["x" * 51]}, "tags.0", "at most 50 characters"),
        ("PATCH", "/runs/{run}", {"tags": [""]}, "tags.0", "at least 1 character"),
        ("PATCH", "/runs/{run}", {"tags": ["x"] * 21}, "tags", "at most 20 items"),
        ("PATCH", "/runs/{run}", {"tags": "paper"}, "tags", "list"),
        ("PATCH", "/runs/{run}", {"note": "x" * 10_001}, "note", "at most 10000 characters"),
        ("PATCH", "/runs/{run}", [], "body", "dictionary"),
        ("PATCH", "/experiments/{experiment}", {"name": ""}, "name", "at least 1 character"),
        ("PATCH", "/experiments/{experiment}", {"priority": 1.5}, "priority", "integer"),
        ("POST", "/experiments/{experiment}/runs", {"seeds": -1}, "seeds", "greater than or equal to 0"),
        ("POST", "/experiments/{experiment}/runs", {"seeds": 101}, "seeds", "less than or equal to 100"),
        ("POST", "/experiments/{experiment}/runs", {"axes": {"width": [2]}}, "width", "unknown field"),
        ("POST", "/experiments/preview", {"tune": {"fields": {"lr": {"x": 1}}}}, "tune.fields.lr.x", "field; known"),
        ("POST", "/experiments/{experiment}/runs", {"axes": {"pooling": ["median"]}}, "pooling", "one of seqpool, "),
        ("POST", "/experiments/{experiment}/runs", {"axes": {"pooling": ["sepqool"]}}, "pooling", "mean seqpool?"),
        ("POST", "/experiments/{experiment}/runs", {"axes": {"seed": ["x"]}, "seeds": 1}, "seed", "integer"),
        ("POST", "/experiments/{experiment}/runs", {"axes": {"seed": list(range(999))}}, "axes", "at most 1000"),
    ],
)
def test_bad_input_is_refused_and_named(
    client: TestClient, method: str, path: str, body: Any, field: str, message: str
) -> None:
    run, experiment = a_run(client), an_experiment(client)
    refused = client.request(method, path.format(run=run["id"], experiment=experiment["id"]), json=body)
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["errors"][0]["field"] == field
    assert message in problem["errors"][0]["message"]
    assert field in problem["detail"]
    assert client.get(f"/runs/{run['id']}").json() == run
    assert client.get(f"/experiments/{experiment['id']}").json() == experiment


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("POST", "/runs", RunRequest),
        ("PATCH", "/runs/{run}", RunEdit),
        ("POST", "/experiments", ExperimentRequest),
        ("PATCH", "/experiments/{experiment}", ExperimentEdit),
        ("POST", "/experiments/{experiment}/runs", MoreRuns),
    ],
)
def test_an_unknown_field_is_answered_with_the_known_ones(
    client: TestClient, method: str, path: str, known: Any
) -> None:
    path = path.format(run=a_run(client)["id"], experiment=an_experiment(client)["id"])
    [error] = client.request(method, path, json={"x": 1}).json()["errors"]
    assert error == {"field": "x", "message": f"unknown field; known are {', '.join(known.model_fields)}"}


def test_an_unknown_field_of_an_experiments_spec_is_answered_with_those_of_a_spec(client: TestClient) -> None:
    [error] = client.post("/experiments", json={"spec": {"batchsize": 1}}).json()["errors"]
    known = f"unknown field; did you mean batch_size? known are {', '.join(SpecRequest.model_fields)}"
    assert error == {"field": "batchsize", "message": known}


def test_a_failed_run_is_retried(client: TestClient, claim: Claim) -> None:
    run = a_run(client)
    path = f"/runs/{run['id']}"
    lease = claim()
    lease.record_epoch(RECORD)
    refused = client.post(f"{path}/retry")
    assert refused.status_code == 409
    assert "is running; only a failed or cancelled run can be retried" in refused.json()["detail"]
    lease.release(State.failed, "out of memory")
    assert client.get(path).json()["error"] == "out of memory"
    retried = client.post(f"{path}/retry")
    assert retried.status_code == 200
    assert (retried.json()["state"], retried.json()["epoch"], retried.json()["error"]) == ("queued", 1, None)
    assert client.post(f"{path}/retry").status_code == 409
    assert queued_ids(client) == [run["id"]]


def test_the_failed_runs_of_an_experiment_are_retried(client: TestClient, claim: Claim) -> None:
    experiment = an_experiment(client)
    path = f"/experiments/{experiment['id']}"
    for state in (State.failed, State.failed, State.completed):
        claim().release(state)
    retried = client.post(f"{path}/retry").json()
    assert (retried["queued"], retried["failed"], retried["completed"]) == (3, 0, 1)


def test_a_run_is_deleted(client: TestClient, claim: Claim) -> None:
    run = a_run(client)
    path = f"/runs/{run['id']}"
    lease = claim()
    refused = client.delete(path)
    assert refused.status_code == 409
    assert "cancel first, then delete" in refused.json()["detail"]
    lease.release(State.cancelled)
    deleted = client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert client.get(path).status_code == 404
    assert client.get("/runs").json()["total"] == 0


def test_an_experiment_is_deleted(client: TestClient, claim: Claim) -> None:
    experiment = an_experiment(client)
    path = f"/experiments/{experiment['id']}"
    lease = claim()
    assert client.delete(path).status_code == 409
    lease.release(State.completed)
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.get("/runs").json()["total"] == 0
    assert client.get("/experiments").json() == {"experiments": []}
    assert queued_ids(client) == []


@pytest.mark.parametrize("kind", ["runs", "experiments"])
@pytest.mark.parametrize(
    ("method", "action"), [("PATCH", ""), ("DELETE", ""), ("POST", "/retry"), ("POST", "/cancel"), ("GET", "")]
)
def test_what_is_not_there_cannot_be_changed(client: TestClient, kind: str, method: str, action: str) -> None:
    body = {"note": "x"} if method == "PATCH" else None
    missing = client.request(method, f"/{kind}/nope{action}", json=body)
    assert missing.status_code == 404
    assert missing.json()["detail"] == f"there is no {kind.removesuffix('s')} 'nope'"


def test_seeds_are_added_to_an_experiment(client: TestClient) -> None:
    experiment = an_experiment(client)["id"]
    grown = client.post(f"/experiments/{experiment}/runs", json={"seeds": 2})
    assert grown.status_code == 201
    assert (grown.json()["queued"], grown.json()["axes"]["seed"]) == (8, [0, 1, 2, 3])
    added = [(spec["seed"], spec["pooling"]) for spec in specs_of(client, experiment)[4:]]
    assert added == [(2, "seqpool"), (2, "mean"), (3, "seqpool"), (3, "mean")]


def test_a_repeated_addition_adds_once(client: TestClient) -> None:
    experiment = an_experiment(client, priority=3)["id"]
    path, headers = f"/experiments/{experiment}/runs", {"Idempotency-Key": "c0de"}
    first = client.post(path, json={"seeds": 1}, headers=headers)
    assert client.post(path, json={"seeds": 1}, headers=headers).json() == first.json()
    assert (first.json()["queued"], first.json()["axes"]["seed"]) == (6, [0, 1, 2])
    assert client.post(path, json={"seeds": 2}, headers=headers).status_code == 409
    other = an_experiment(client)["id"]
    assert client.post(f"/experiments/{other}/runs", json={"seeds": 1}, headers=headers).status_code == 409
    assert client.post(path, json={"seeds": 1}, headers={"Idempotency-Key": "c0de2"}).json()["queued"] == 8
    assert {run["priority"] for run in client.get("/runs", params={"experiment": experiment}).json()["runs"]} == {3}


def test_values_are_added_to_axes_old_and_new(client: TestClient) -> None:
    experiment = an_experiment(client, axes={"pooling": ["seqpool"]})["id"]
    more = {"axes": {"pooling": ["mean"], "epochs": [4], "lr": [0.01]}}
    grown = client.post(f"/experiments/{experiment}/runs", json=more).json()
    # A new axis begins with the value that all runs had: the base spec's, or the default.
    assert grown["axes"] == {"pooling": ["seqpool", "mean"], "epochs": [2, 4], "lr": [0.0005, 0.01]}
    assert grown["spec"] == {"dataset": "digits"}
    combinations = {(spec["pooling"], spec["epochs"], spec["lr"]) for spec in specs_of(client, experiment)}
    assert grown["queued"] == len(combinations) == 8


def test_the_first_seeds_added_follow_the_one_there_was(client: TestClient) -> None:
    experiment = an_experiment(client, spec=DIGITS | {"seed": 7}, axes={})["id"]
    grown = client.post(f"/experiments/{experiment}/runs", json={"seeds": 2}).json()
    assert (grown["axes"], grown["queued"]) == ({"seed": [7, 8, 9]}, 3)


def test_an_empty_request_fills_what_is_missing(client: TestClient) -> None:
    experiment = an_experiment(client)["id"]
    before = specs_of(client, experiment)
    path = f"/experiments/{experiment}/runs"
    assert client.post(path, json={}).json()["queued"] == 4, "nothing is missing"
    runs = client.get("/runs", params={"experiment": experiment}).json()["runs"]
    client.delete(f"/runs/{runs[2]['id']}")
    assert client.post(path, json={}).json()["queued"] == 4
    assert specs_of(client, experiment) == [before[0], before[2], before[3], before[1]]
    assert client.post("/experiments/nope/runs", json={}).status_code == 404


def test_a_pooling_named_twice_is_trained_once(client: TestClient) -> None:
    experiment = an_experiment(client, axes={})["id"]  # with "auto", which is the model's own: seqpool
    path = f"/experiments/{experiment}/runs"
    grown = client.post(path, json={"axes": {"pooling": ["seqpool", "mean"]}, "seeds": 1}).json()
    assert grown["queued"] == 4


def test_the_queue_has_positions_and_starts(client: TestClient, store: RunStore, claim: Claim) -> None:
    low, *others = [a_run(client, epochs=3, priority=priority)["id"] for priority in (-1, 0, 0, 0)]
    lease = claim()
    lease.record_epoch(RECORD)  # 2 s; two more epochs to go
    store.heartbeat("w", device="CPU", version="0.1.0")
    waiting = [
        {"run_id": others[1], "position": 1, "starts_in_seconds": 4.0},
        {"run_id": others[2], "position": 2, "starts_in_seconds": 10.0},
        {"run_id": low, "position": 3, "starts_in_seconds": 16.0},
    ]
    told = client.get("/queue").json()
    assert told == {"paused": False, "total": 3, "last_starts_in_seconds": 16.0, "entries": waiting}
    asked = client.get("/queue", params={"run": [low, others[0], "gone", others[1]]}).json()
    assert asked == told | {"entries": [waiting[0], waiting[2]]}, "of these only who waits"


def test_of_a_long_queue_places_are_told_and_the_first_starts(
    client: TestClient, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "SCHEDULED", 3)
    monkeypatch.setattr(queue, "SHOWN", 2)
    runs = [a_run(client)["id"] for _ in range(5)]
    store.heartbeat("w", device="CPU", version="0.1.0")
    long = client.get("/queue").json()
    assert (long["total"], long["last_starts_in_seconds"]) == (5, None)
    assert queued_ids(client) == runs[:2]
    [third, last] = client.get("/queue", params={"run": [runs[4], runs[2]]}).json()["entries"]
    assert (third["run_id"], third["position"]) == (runs[2], 3)
    assert last == {"run_id": runs[4], "position": 5, "starts_in_seconds": None}


def test_the_queue_is_paused_and_resumed(client: TestClient, store: RunStore, claim: Claim) -> None:
    run = a_run(client)["id"]
    store.heartbeat("w", device="CPU", version="0.1.0")
    state = {"paused": True, "total": 1, "last_starts_in_seconds": None}
    waiting = {"run_id": run, "position": 1, "starts_in_seconds": None}
    for _ in range(2):
        assert client.post("/queue/pause").json() == state | {"entries": [waiting]}
    assert client.get("/queue").json()["paused"]
    assert store.claim("w") is None
    resumed = client.post("/queue/resume").json()
    assert resumed == {
        "paused": False,
        "total": 1,
        "last_starts_in_seconds": 0.0,
        "entries": [waiting | {"starts_in_seconds": 0.0}],
    }
    assert claim().run_id == run
    assert client.get("/queue").json() == state | {"paused": False, "total": 0, "entries": []}


def test_a_runs_history_is_told(client: TestClient, claim: Claim) -> None:
    run = a_run(client)["id"]
    client.patch(f"/runs/{run}", json={"priority": 4})
    claim().release(State.failed, "out of memory")
    client.post(f"/runs/{run}/retry")
    client.post(f"/runs/{run}/cancel")
    entries = client.get(f"/runs/{run}/history").json()["entries"]
    assert [(entry["what"], entry["detail"]) for entry in entries] == [
        ("queued", ""),
        ("priority", "4"),
        ("started", "test-worker"),
        ("failed", "out of memory"),
        ("retried", ""),
        ("cancelled", ""),
    ]
    assert client.get("/runs/nope/history").status_code == 404


def test_a_preview_queues_nothing(client: TestClient) -> None:
    body = {"spec": {"dataset": "digits", "epochs": 2}, "axes": {"pooling": ["seqpool", "mean"], "seed": [0, 1, 2]}}
    shown = client.post("/experiments/preview", json=body).json()
    assert (shown["runs"], shown["epochs"], shown["seconds"]) == (6, 12, None)
    assert [(cost["pooling"], cost["parameters"]) for cost in shown["costs"]] == [
        ("seqpool", 283_723),
        ("mean", 283_594),
    ]
    assert all(cost["macs"] > 10**7 for cost in shown["costs"])
    [warm_up] = shown["warnings"]
    assert (warm_up["code"], warm_up["runs"]) == ("warm-up-longer-than-run", 6)
    flips = body | {"axes": {"augmentation": ["auto", "crop_flip"], "warmup_epochs": [0]}}
    [flip] = client.post("/experiments/preview", json=flips).json()["warnings"]
    assert (flip["code"], flip["runs"]) == ("flips-change-classes", 1)
    assert client.get("/experiments").json() == {"experiments": []}
    assert client.post("/experiments/preview", json=body | {"axes": {"seed": []}}).status_code == 422


def test_a_run_has_its_warnings_from_the_queue_on(client: TestClient, claim: Callable[[], Lease]) -> None:
    spec = {"dataset": "digits", "augmentation": "autoaugment"}
    queued = client.post("/runs", json=spec).json()
    assert [warning["code"] for warning in queued["warnings"]] == ["flips-change-classes"]
    assert (queued["final_balanced"], queued["majority_share"], queued["duplicates"]) == (None, None, None)
    lease = claim()
    later = [{"code": "few-words", "text": "x"}]
    lease.describe(warnings=json.dumps(later), majority_share=95.0, duplicates=1)
    lease.record_epoch(RECORD)
    lease.record_epoch(replace(RECORD, epoch=2, val_balanced=50.25))
    run = client.get(f"/runs/{queued['id']}").json()
    assert (run["warnings"], run["majority_share"], run["duplicates"]) == (later, 95.0, 1)
    assert run["final_balanced"] == 50.25
    [doubt] = client.get(f"/comparison?run={run['id']}").json()["doubts"]
    assert doubt == {"code": "few-words", "text": "x", "variants": ["seqpool"], "runs": [run["id"]]}
    assert "x (1 of 1 runs)" in client.get(f"/report?run={run['id']}").text
    epochs = csv.DictReader(client.get(f"/epochs.csv?run={run['id']}").text.splitlines())
    assert [epoch["val_balanced"] for epoch in epochs] == ["", "50.25"]


def test_an_experiment_of_before_datasets_had_augmentations_keeps_its_own(client: TestClient, store: RunStore) -> None:
    given = {"dataset": "digits", "epochs": 2}
    specs = [RunSpec(dataset="digits", epochs=2, augmentation="autoaugment", seed=seed) for seed in (0, 1)]
    old = store.create_experiment("Old", given, {"seed": [0, 1]}, specs)
    new = client.post("/experiments", json={"spec": given, "axes": {"seed": [0, 1]}}).json()["id"]
    for experiment, augmentation in ((old.id, "autoaugment"), (new, "crop")):
        grown = client.post(f"/experiments/{experiment}/runs", json={"seeds": 1}).json()
        assert grown["runs"] == 3, "one more, none twice"
        assert {run.spec.augmentation for run in store.experiment_runs(experiment)} == {augmentation}
    grown = client.post(f"/experiments/{old.id}/runs", json={"axes": {"augmentation": ["crop"]}}).json()
    assert (grown["runs"], grown["axes"]["augmentation"]) == (6, ["autoaugment", "crop"])
