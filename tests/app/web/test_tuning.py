"""Variants are tuned with equal budgets on held-out data, and their best settings compared on fresh seeds."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.store.rows import Experiment, Run, State
from app.store.run_store import RunStore
from app.store.tuning import Tuning
from app.web.planner import advance
from app.web.plans import compared
from app.web.routes.experiments import ExperimentRequest, read_glances
from app.web.routes.tuning import draw_parallel, draw_trials, read_tuning
from tests.app.store.test_store import RECORD
from tests.conftest import DIGITS

BEST_LR = {"seqpool": 0.001, "gem": 0.004}
SPEC: dict[str, Any] = DIGITS | {"epochs": 10, "val_share": 0.1}
SEARCH: dict[str, Any] = {
    "fields": {"lr": {"low": 0.0001, "high": 0.01, "log": True}, "dropout": {"choices": [0.0, 0.2]}},
    "trials": 8,
    "seeds": 2,
}


def queued(store: RunStore, **search: Any) -> str:
    request = ExperimentRequest(
        name="S", spec=SPEC, axes={"pooling": list(BEST_LR)}, tune=Tuning.model_validate(SEARCH | search)
    )
    return request.queue(store, None).id


def result(run: Run) -> float:
    """Gem is better at its own learning rate, which is not that of the spec."""
    off = math.log(run.spec.lr / BEST_LR[run.spec.pooling])
    return 90 + 3 * (run.spec.pooling == "gem") - 2 * off**2 - 5 * run.spec.dropout


def train_all(store: RunStore, **tested: float) -> int:
    count = 0
    while lease := store.claim("w"):
        count += 1
        lease.describe(device="CPU", **tested)
        lease.record_epoch(replace(RECORD, val_top1=result(store.run(lease.run_id))))
        lease.release(State.completed)
    return count


def search(store: RunStore, experiment: str) -> Experiment:
    """Trains and goes on until the search has ended, by two processes at the same moment; what follows it."""
    for _ in range(30):
        assert train_all(store) <= 2, "one trial of each variant at a time"
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(advance, [store] * 2, [experiment] * 2))
        if store.experiment(experiment).plan_state == "ended":
            break
    [following] = [one for one in store.experiments() if one.tuned_by == experiment]
    return following


def test_each_variant_is_tried_as_often_and_its_best_setting_is_compared_on_fresh_seeds(store: RunStore) -> None:
    experiment = queued(store)
    following = search(store, experiment)
    trials = store.experiment_runs(experiment)
    assert Counter(run.variant for run in trials) == {"seqpool": 8, "gem": 8}
    assert all(run.trial for run in trials)
    assert {run.spec.seed for run in trials} == {0}
    found = read_tuning(store, experiment)
    best = {one.variant: one.best.settings for one in found.variants if one.best}
    assert found.comparison == following.id
    assert [one.trials[0].settings["lr"] for one in found.variants] == [0.0005] * 2, "first that of the spec"
    assert set(found.importance) == {"lr", "dropout"}
    assert "seqpool led before" in found.changed
    assert "gem leads now" in found.changed
    for figure in (draw_trials, draw_parallel):
        assert b"gem" in figure(store, experiment).body
    assert {one.name: one.values["lr"] for one in following.variants} == {
        name: settings["lr"] for name, settings in best.items()
    }
    row = store.experiment(experiment)
    of_trials = compared(store, row, trials)
    assert of_trials.answer.startswith("Nothing is claimed: these runs are trials of a search")
    assert {one.outcome for one in of_trials.variants} == {None, "unclear"}
    [card] = read_glances(store, [experiment]).glances
    assert card.glance.answer.startswith("Best of the trials so far: gem")
    assert len(card.glance.variants[0].top1) == 8
    fresh = store.experiment_runs(following.id)
    assert {run.spec.seed for run in fresh} == {1, 2}
    assert not any(run.trial for run in fresh)
    train_all(store, test_top1=91.0)
    told = compared(store, following, store.experiment_runs(following.id))
    answer = told.answer
    assert answer.startswith("Tuned, each with 8 trials by tpe over lr 0.0001 to 0.01 (log), dropout 0.0 / 0.2:")
    assert told.measure == "final test_top1"


def test_a_search_that_is_told_the_same_proposes_the_same(store: RunStore) -> None:
    first = search(store, queued(store))
    train_all(store)
    second = search(store, queued(store))
    train_all(store)
    assert first.variants == second.variants
    by_chance = queued(store, sampler="random")
    search(store, by_chance)
    settings: dict[str, list[float]] = {}
    for run in store.experiment_runs(by_chance):
        settings.setdefault(run.variant, []).append(run.spec.lr)
    assert settings["seqpool"] == settings["gem"], "chance gives all variants the same"
    logarithms = sorted(math.log(lr) for lr in settings["gem"])
    assert logarithms[-1] - logarithms[0] > math.log(5), "neighbouring trials do not begin alike"


def test_trials_that_fail_count_and_a_lost_one_is_tried_again(store: RunStore) -> None:
    experiment = queued(store, trials=2)
    for failure in ("diverged", "lost"):
        lease = store.claim("w")
        assert lease
        lease.describe(failure=failure, error="it failed")
        lease.release(State.failed)
    advance(store, experiment)
    states = Counter((run.variant, run.state) for run in store.experiment_runs(experiment))
    assert states == {
        ("seqpool", State.failed): 1,
        ("seqpool", State.queued): 1,
        ("gem", State.queued): 1,
    }, "what diverged has its result, what was lost goes on"


def test_a_hopeless_trial_is_stopped_early(store: RunStore) -> None:
    experiment = queued(store, prune=True)
    for _ in range(5):
        while lease := store.claim("w"):
            for epoch in range(1, 11):
                lease.record_epoch(replace(RECORD, epoch=epoch, val_top1=50.0 + epoch))
            lease.release(State.completed)
        advance(store, experiment)
    lease = store.claim("w")
    assert lease
    for epoch in range(1, 3):
        lease.record_epoch(replace(RECORD, epoch=epoch, val_top1=20.0))
    advance(store, experiment)
    assert not lease.renew(), "a third of its epochs it has in any case"
    lease.record_epoch(replace(RECORD, epoch=3, val_top1=20.0))
    advance(store, experiment)
    assert lease.renew(), "its worker is told to end it"
    lease.release(State.cancelled)
    advance(store, experiment)
    [variant] = [one for one in read_tuning(store, experiment).variants if one.variant == "seqpool"]
    assert [one.state for one in variant.trials[-2:]] == ["stopped early", "open"]


GRID = {
    "sampler": "grid",
    "trials": 6,
    "fields": {"lr": {"low": 0.001, "high": 0.01, "steps": 3}, "dropout": {"choices": [0.0, 0.2]}},
}


def test_a_grid_has_each_setting_once(store: RunStore) -> None:
    experiment = queued(store, **GRID)
    search(store, experiment)
    tried = Counter((run.variant, run.spec.lr, run.spec.dropout) for run in store.experiment_runs(experiment))
    assert len(tried) == 12
    assert {lr for _, lr, _ in tried} == {0.001, 0.0055, 0.01}


@pytest.mark.parametrize(
    ("changed", "field", "message"),
    [
        ({"spec": SPEC | {"val_share": 0.0}}, "spec.val_share", "chosen on the test set"),
        ({"axes": {"pooling": ["gem", "mean"], "seed": [0, 1]}}, "axes.seed", "set tune.seeds"),
        ({"tune": {"fields": {"lr": {"low": 0.1, "high": 0.01}}}}, "tune.fields.lr", "is not below"),
        ({"tune": {"fields": {"lr": {"low": 0.1}}}}, "tune.fields.lr", "either low and high, or choices"),
        ({"tune": {"fields": {"pooling": {"choices": ["gem", "mean"]}}}}, "tune.fields.pooling", "cannot be searched"),
        ({"tune": {"fields": {"min_lr": {"choices": [0.1, 0.2]}}}}, "tune.fields.min_lr", "schedule"),
        ({"tune": SEARCH | GRID | {"trials": 5}}, "tune.trials", "the grid has 6 settings"),
        ({"plan": {}}, "plan", "give it as tune.plan"),
        ({"axes": {}}, "axes", "vary nothing"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_its_place(
    client: TestClient, changed: dict[str, Any], field: str, message: str
) -> None:
    body = {"spec": SPEC, "axes": {"pooling": ["gem", "mean"]}, "tune": SEARCH} | changed
    refused = client.post("/experiments", json=body)
    assert refused.status_code == 422, refused.text
    [error] = refused.json()["errors"]
    assert error["field"] == field
    assert message in error["message"]
