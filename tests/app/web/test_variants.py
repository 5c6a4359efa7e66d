"""Variants of several fields that go together: queued, compared by their names, planned, and refused where wrong."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.analysis.comparison import compare
from app.store.rows import State
from app.store.run_store import RunStore
from app.web.planner import advance
from tests.app.store.test_store import RECORD
from tests.conftest import DIGITS

VARIANTS: list[dict[str, Any]] = [
    {"pooling": "seqpool", "lr": 0.0005},
    {"pooling": "gem", "lr": 0.002},
    {"name": "quick mean", "pooling": "mean", "epochs": 2},
]


def queued(client: TestClient, **more: Any) -> Any:
    body = {"spec": DIGITS | {"epochs": 3}, "variants": VARIANTS, "axes": {"seed": [0, 1]}} | more
    answer = client.post("/experiments", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def train_all(store: RunStore) -> None:
    while lease := store.claim("w"):
        lease.describe(device="CPU")
        lease.record_epoch(RECORD)
        lease.release(State.completed)


def test_variants_are_queued_and_compared_by_their_names(client: TestClient, store: RunStore) -> None:
    experiment = queued(client)
    names = ["seqpool, lr 0.0005, epochs 3", "gem, lr 0.002, epochs 3", "quick mean"]
    assert [one["name"] for one in experiment["variants"]] == names
    assert [one["is_named"] for one in experiment["variants"]] == [False, False, True]
    again = [{"name": one["name"], **one["values"]} for one in experiment["variants"]]
    assert queued(client, variants=again)["variants"] == experiment["variants"], (
        "a name of the values is none of its own"
    )
    runs = store.experiment_runs(experiment["id"])
    assert [(run.variant, run.spec.seed) for run in runs] == [(name, seed) for seed in (0, 1) for name in names]
    assert [(run.spec.pooling, run.spec.lr, run.spec.epochs) for run in runs[:3]] == [
        ("seqpool", 0.0005, 3),
        ("gem", 0.002, 3),
        ("mean", 0.0005, 2),
    ]
    train_all(store)
    found = client.get("/comparison", params={"experiment": experiment["id"]}).json()
    assert (found["group"], [row["variant"] for row in found["variants"]]) == ("variant", names)
    assert (found["fairness"], len(found["levels"])) == ([], 1), "what variants are made of is no cause beside them"
    [lr] = [one for one in compare(runs, "pooling").fairness if one.field == "lr"]
    assert len(lr.settings) == 2, "by pooling alone it is"
    more = client.post(f"/experiments/{experiment['id']}/runs", json={"seeds": 1}).json()
    assert more["runs"] == 9


def test_a_plan_may_be_about_variants(client: TestClient, store: RunStore) -> None:
    experiment = queued(client, axes={}, plan={"baseline": "quick mean", "max_seeds": 4})
    assert list(experiment["planning"]["variants"])[2] == "quick mean"
    train_all(store)
    advance(store, experiment["id"])
    ahead = [run for run in store.experiment_runs(experiment["id"]) if run.spec.seed == 3]
    assert [run.variant for run in ahead] == [one["name"] for one in experiment["variants"]] or not ahead
    assert client.get("/figures/finals", params={"experiment": experiment["id"]}).is_success


@pytest.mark.parametrize(
    ("changed", "field", "message"),
    [
        (
            {"variants": [VARIANTS[0], {"poling": "gem"}]},
            "variants.1.poling",
            "unknown field; did you mean pooling? known are model",
        ),
        ({"variants": [VARIANTS[0], {"lr": -1.0}]}, "variants.1.lr", "greater than 0"),
        ({"variants": [VARIANTS[0], {"epochs": 0}]}, "variants.1.epochs", "evaluates given weights"),
        ({"variants": [VARIANTS[0], VARIANTS[0]]}, "variants.1", "is the same as variants.0"),
        ({"variants": [VARIANTS[0], {"name": "x"}]}, "variants.1", "names no field"),
        ({"variants": [{"pooling": "gem", "seed": 1}], "axes": {}}, "variants.0.seed", "make it an axis"),
        ({"axes": {"lr": [0.1, 0.2]}}, "variants.0.lr", "is given as an axis too"),
        ({"plan": {}, "axes": {}}, "plan.baseline", "'seqpool' is not among the values of variant; choose one of"),
    ],
)
def test_a_mistake_is_told_with_its_place(
    client: TestClient, changed: dict[str, Any], field: str, message: str
) -> None:
    body = {"spec": DIGITS | {"epochs": 3}, "variants": VARIANTS, "axes": {"seed": [0, 1]}} | changed
    refused = client.post("/experiments", json=body)
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["field"] == field
    assert message in error["message"]
