from typing import Any

from fastapi.testclient import TestClient

from app.analysis.comparison import compare
from app.store.run_store import RunStore
from cct.recipes import RECIPES


def test_a_run_is_queued_by_the_name_of_a_recipe_and_stores_its_values(client: TestClient) -> None:
    given: dict[str, Any] = {"recipe": "paper-cifar-300", "model": "cct_7_3x1_32"}
    spec = client.post("/runs", json=given).json()["spec"]
    assert spec == spec | RECIPES["paper-cifar-300"].values | given
    changed = client.post("/runs", json=given | {"epochs": 30}).json()["spec"]
    assert (changed["recipe"], changed["epochs"], changed["mixup"]) == ("own", 30, 0.8)
    refused = client.post("/runs", json={"recipe": "paper"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "recipe")
    catalog = client.get("/catalog").json()
    entries = {entry["name"]: entry for entry in catalog["recipes"]}
    assert entries["paper-cifar-300"]["on"]["cifar100"]["lr"] == 6e-4
    weights = {entry["name"]: (entry["model"], entry["top1"]) for entry in catalog["published"]}
    assert weights["cct2-3x2_cifar10"] == ("cct_2_3x2_32", 89.17)
    assert catalog["spec_schema"]["properties"]["pretrained"]["examples"] == list(weights)


def test_recipes_are_compared_by_one_field(client: TestClient, store: RunStore) -> None:
    axes = {"recipe": ["bare-200", "paper-cifar-300"], "pooling": ["seqpool", "mean"]}
    experiment = client.post("/experiments", json={"axes": axes}).json()
    runs = store.experiment_runs(experiment["id"])
    assert {(run.spec.recipe, run.spec.epochs) for run in runs} == {("bare-200", 200), ("paper-cifar-300", 310)}
    found = compare([run for run in runs if run.spec.pooling == "mean"], "recipe")
    assert [row.variant for row in found.variants] == ["bare-200", "paper-cifar-300"]
    assert found.fairness == [], "a recipe's fields are what is compared"
    by_pooling = compare(runs, "pooling")
    assert [level.level for level in by_pooling.levels] == ["recipe bare-200", "recipe paper-cifar-300"]
    assert by_pooling.fairness == [], "differences are those within a recipe"
    refused = client.post(f"/experiments/{experiment['id']}/runs", json={"axes": {"lr": [0.001]}})
    assert refused.json()["errors"] == [
        {"field": "axes.lr", "message": "differs between the recipes so far; make another experiment"}
    ]


def test_an_axis_that_is_added_begins_with_the_recipes_value(client: TestClient, store: RunStore) -> None:
    experiment = client.post("/experiments", json={"spec": {"recipe": "paper-cifar-300"}}).json()
    grown = client.post(f"/experiments/{experiment['id']}/runs", json={"axes": {"mixup": [0.0]}}).json()
    assert grown["axes"]["mixup"] == [0.8, 0.0]
    assert sorted(run.spec.mixup for run in store.experiment_runs(experiment["id"])) == [0.0, 0.8]
