"""Experiments with a plan: what is refused, what is stored, and what may be done to them."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import DIGITS

POOLINGS = ["seqpool", "mean", "max"]
PLANNED: dict[str, Any] = {"name": "P", "spec": DIGITS | {"epochs": 3}, "axes": {"pooling": POOLINGS}, "plan": {}}


def test_a_plan_queues_its_first_seeds_and_is_stored_with_its_time(client: TestClient, store: RunStore) -> None:
    created = client.post("/experiments", json=PLANNED)
    assert created.status_code == 201, created.text
    experiment = created.json()
    assert experiment["plan"]["baseline"] == "seqpool"
    assert (experiment["plan"]["max_seeds"], experiment["max_seeds"], experiment["plan_state"]) == (20, 20, "open")
    assert experiment["planned_at"] == experiment["created_at"]
    assert (experiment["runs"], experiment["axes"]) == (9, {"pooling": POOLINGS})
    assert {name: one["outcome"] for name, one in experiment["planning"]["variants"].items()} == {
        "seqpool": "baseline",
        "mean": "open",
        "max": "open",
    }
    order = [(run.spec.seed, run.spec.pooling) for run in store.experiment_runs(experiment["id"])]
    assert order == [(seed, pooling) for seed in range(3) for pooling in POOLINGS]
    assert store.open_plans() == [experiment["id"]]


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"plan": {"first_look": 2}}, "plan.first_look", "greater than or equal to 3"),
        ({"plan": {"alpha": 0.5}}, "plan.alpha", "less than or equal to 0.2"),
        ({"plan": {"measure": "val_loss"}}, "plan.measure", "'best val_top1'"),
        ({"plan": {"seeds": 5}}, "plan.seeds", "unknown field; did you mean max_seeds? known are baseline"),
        ({"plan": {"baseline": "median"}}, "plan.baseline", "choose one of seqpool, mean, max"),
        ({"plan": {"first_look": 5, "max_seeds": 4}}, "plan.first_look", "more than max_seeds"),
        ({"plan": []}, "plan", "dictionary"),
        ({"axes": {"pooling": POOLINGS, "seed": [0, 1]}}, "axes.seed", "leave the axis out"),
        ({"axes": {"pooling": POOLINGS, "lr": [0.1, 0.2]}}, "axes", "a plan compares the values of one field"),
        ({"axes": {}}, "axes", "two or more values of one field"),
        ({"axes": {"pooling": ["mean"]}}, "axes", "two or more values of one field"),
        ({"axes": {"lr": [0.001, 0.002]}}, "plan.baseline", "choose one of 0.001, 0.002"),
        ({"axes": {"lr": [1, 1.0]}, "plan": {"baseline": "1"}}, "axes.lr", "names a value twice"),
        ({"spec": {"seed": 2**31 - 5}}, "spec.seed", "too few seeds"),
        (
            {"spec": {"epochs": 2}, "plan": {"measure": "mean val_top1 of the last 3 epochs"}},
            "plan.measure",
            "at least 3 epochs",
        ),
    ],
)
def test_an_impossible_plan_is_refused(
    client: TestClient, store: RunStore, change: dict[str, Any], field: str, told: str
) -> None:
    for path in ("/experiments", "/experiments/preview"):
        refused = client.post(path, json=PLANNED | change)
        assert refused.status_code == 422, refused.text
        [error] = refused.json()["errors"]
        assert error["field"] == field
        assert told in error["message"]
    assert store.experiments() == []


def test_variants_may_be_numbers(client: TestClient) -> None:
    request = PLANNED | {"axes": {"lr": [0.001, 0.002]}, "plan": {"baseline": 0.002}}
    experiment = client.post("/experiments", json=request).json()
    assert list(experiment["planning"]["variants"]) == ["0.001", "0.002"]
    assert experiment["plan"]["baseline"] == "0.002"


def test_the_preview_tells_the_fewest_and_the_most_runs_and_what_similar_runs_make_likely(
    client: TestClient, store: RunStore
) -> None:
    request = PLANNED | {"plan": {"max_seeds": 10}}
    preview = client.post("/experiments/preview", json=request).json()
    assert (preview["plan"]["at_least"]["runs"], preview["runs"]) == (9, 30)
    assert (preview["plan"]["likely"], preview["seconds"]) == (None, None)
    assert "unknown until two seeds" in preview["plan"]["told"]
    similar = RunSpec.stored(DIGITS | {"epochs": 3, "pooling": "gem"})
    longer = replace(similar, epochs=4)
    store.create_runs([similar, replace(similar, seed=1), longer, replace(longer, seed=1)])
    for top1 in (90.0, 90.2, 10.0, 80.0):
        lease = store.claim("w")
        assert lease
        lease.record_epoch(replace(RECORD, epoch=1, val_top1=top1))
        lease.release(State.completed)
    found = client.post("/experiments/preview", json=request).json()
    assert "from the spread of 2 similar runs: 0.14 points" in found["plan"]["told"]
    assert 9 <= found["plan"]["likely"]["runs"] <= 20
    assert found["plan"]["at_least"]["seconds"] <= found["plan"]["likely"]["seconds"] < found["seconds"]
    fine = request | {"plan": {"max_seeds": 10, "smallest_difference": 0.01}}
    assert "Raise smallest_difference" in client.post("/experiments/preview", json=fine).json()["plan"]["told"]


def test_a_plan_is_frozen_but_for_its_budget(client: TestClient, store: RunStore) -> None:
    path = f"/experiments/{client.post('/experiments', json=PLANNED).json()['id']}"
    seeds = client.post(f"{path}/runs", json={"seeds": 2})
    assert seeds.status_code == 409
    assert '{"plan": {"max_seeds": 40}}' in seeds.json()["detail"]
    variant = client.post(f"{path}/runs", json={"axes": {"pooling": ["gem"]}})
    assert variant.status_code == 409
    assert "queue a new experiment with a plan" in variant.json()["detail"]
    assert len(store.runs()) == 9
    frozen = client.patch(path, json={"plan": {"alpha": 0.2}})
    assert frozen.status_code == 422
    raised = client.patch(path, json={"plan": {"max_seeds": 40}}).json()
    assert (raised["max_seeds"], raised["plan"]["max_seeds"]) == (40, 20)
    lowered = client.patch(path, json={"plan": {"max_seeds": 30}})
    assert lowered.status_code == 409
    assert "is 40 already" in lowered.json()["detail"]
    without = client.post("/experiments", json={"axes": {"pooling": POOLINGS}}).json()
    assert "has no plan" in client.patch(f"/experiments/{without['id']}", json={"plan": {"max_seeds": 30}}).text


def complete_all(store: RunStore) -> None:
    while lease := store.claim("w"):
        complete(lease)


def complete(lease: Lease) -> None:
    lease.release(State.completed)


def test_seeds_that_are_added_after_results_make_an_experiment_exploratory(client: TestClient, store: RunStore) -> None:
    request = {"axes": {"pooling": POOLINGS, "seed": [0]}}
    path = f"/experiments/{client.post('/experiments', json=request).json()['id']}"
    assert client.post(f"{path}/runs", json={"seeds": 1}).json()["exploratory"] is False, "nothing was seen"
    complete_all(store)
    assert client.post(f"{path}/runs", json={"axes": {"pooling": ["gem"]}}).json()["exploratory"] is False
    assert client.post(f"{path}/runs", json={"seeds": 1}).json()["exploratory"] is True
    assert client.get(path).json()["exploratory"] is True


def test_a_question_is_asked_again_with_a_plan_on_new_seeds(client: TestClient, store: RunStore) -> None:
    request = {"name": "Q", "spec": DIGITS, "axes": {"pooling": POOLINGS, "seed": [0, 7]}}
    old = client.post("/experiments", json=request).json()
    created = client.post(f"/experiments/{old['id']}/plan", json={"max_seeds": 8})
    assert created.status_code == 201, created.text
    new = created.json()
    assert (new["follows"], new["name"], new["plan"]["max_seeds"]) == (old["id"], "Q", 8)
    assert {run.spec.seed for run in store.experiment_runs(new["id"])} == {8, 9, 10}
    assert client.get(f"/experiments/{old['id']}").json() == old
    again = client.post(f"/experiments/{old['id']}/plan", json={}).json()
    assert again["planning"]["first_seed"] == 11
    refused = client.post(f"/experiments/{old['id']}/plan", json={"baseline": "cls"})
    assert refused.json()["errors"][0]["field"] == "plan.baseline"
