"""Plans go on by themselves: which runs are queued, tried again, waited for, dropped, and when it ends."""

import io
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from app.store.archive import backup, import_archive, restore
from app.store.plan import TRIES_AGAIN, Plan
from app.store.rows import Experiment, Run, State
from app.store.run_store import RunStore
from app.web.main import create_app
from app.web.planner import advance
from app.web.routes.experiments import ExperimentRequest
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import DIGITS, stored_events, wait_for

POOLINGS = ["seqpool", "mean", "max"]
Result = Callable[[Run], float]
JITTER = [0.0, 0.3, -0.2, 0.1, -0.3, 0.2, -0.1, 0.25, -0.25, 0.05]


def apart(run: Run) -> float:
    """`mean` is 10 points worse, `max` is like `seqpool`."""
    jitter = JITTER[(run.spec.seed * 3 + POOLINGS.index(run.spec.pooling)) % len(JITTER)]
    return 80 - 10 * (run.spec.pooling == "mean") + jitter


class Study:
    """An experiment with a plan whose runs end as a test says."""

    def __init__(self, store: RunStore, **plan: Any) -> None:
        request = ExperimentRequest(
            spec=DIGITS | {"epochs": 3}, axes={"pooling": POOLINGS}, plan=Plan(**{"smallest_difference": 1, **plan})
        )
        self.store = store
        self.id = store.create_experiment("S", request.spec, request.axes, request.specs(), plan=request.planned()).id

    @property
    def row(self) -> Experiment:
        return self.store.experiment(self.id)

    @property
    def outcomes(self) -> dict[str, str]:
        assert self.row.planning
        return {name: one.outcome for name, one in self.row.planning.variants.items()}

    def why(self, name: str) -> str:
        assert self.row.planning
        return self.row.planning.variants[name].why

    def runs(self, *states: State) -> list[Run]:
        return [run for run in self.store.experiment_runs(self.id) if not states or run.state in states]

    def run(self, pooling: str, seed: int) -> Run:
        [found] = [run for run in self.runs() if (run.spec.pooling, run.spec.seed) == (pooling, seed)]
        return found

    def advance(self) -> None:
        """By two processes at the same moment."""
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(advance, [self.store] * 2, [self.id] * 2))
        keys = Counter((run.spec.pooling, run.spec.seed) for run in self.runs())
        assert max(keys.values()) == 1, "a seed is queued once"

    def train(self, result: Result = apart, failing: dict[tuple[str, int], str] | None = None) -> list[Run]:
        """Trains all that is queued, then advances; what was trained."""
        trained = []
        while lease := self.store.claim("w"):
            run = self.store.run(lease.run_id)
            trained.append(run)
            kind = (failing or {}).get((run.spec.pooling, run.spec.seed))
            if kind:
                lease.describe(error="because", failure=kind)
                lease.release(State.failed)
            else:
                lease.record_epoch(replace(RECORD, epoch=1, val_top1=result(run)))
                lease.release(State.completed)
        self.advance()
        return trained


def keys(runs: Sequence[Run]) -> list[tuple[int, str]]:
    return [(run.spec.seed, run.spec.pooling) for run in runs]


def test_seeds_are_queued_until_all_is_settled(store: RunStore) -> None:
    study = Study(store)
    study.advance()
    assert len(study.runs()) == 9, "nothing to decide yet"
    study.train()
    assert study.outcomes == {"seqpool": "baseline", "mean": "worse", "max": "open"}
    assert keys(study.runs(State.queued)) == [(3, "seqpool"), (3, "max")], "what is settled gets no more"
    settled_at = study.row.planning and study.row.planning.variants["mean"].settled_at
    assert settled_at
    for _ in range(20):
        if not study.train():
            break
    row = study.row
    assert study.outcomes == {"seqpool": "baseline", "mean": "worse", "max": "alike"}
    assert row.planning
    assert (row.plan_state, row.queued, row.planning.ended_at is not None) == ("ended", 0, True)
    assert row.planning.variants["mean"].settled_at == settled_at
    assert row.planning.variants["mean"].seconds == pytest.approx(3 * RECORD.seconds)
    assert row.planning.saved_runs == 60 - len(study.runs())
    assert store.open_plans() == []
    news = [entry for _, entry in stored_events(store) if entry["kind"] == "news"]
    assert len(news) == 1, "the end is told once, not after each seed"


def test_figures_are_drawn_by_what_the_plan_says(client: TestClient, store: RunStore) -> None:
    study = Study(store, alpha=0.01, measure="best val_top1")
    path = f"/figures/plan?experiment={study.id}&variant="
    assert client.get(path + "mean").json()["data"] == []
    study.train()
    drawn = {trace["uid"]: trace for trace in client.get(path + "mean").json()["data"]}
    assert drawn["course_mean"]["y"] == [pytest.approx(-10, abs=0.5)]
    assert drawn["boundary_better_looks"]["y"][0] > 0 > drawn["boundary_worse_looks"]["y"][0]
    refused = client.get(path + "seqpool")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "variant")
    assert "choose one of mean, max" in refused.text
    asked = f"experiment={study.id}"
    found = client.get(f"/comparison?{asked}").json()
    assert (found["measure"], found["interval"]) == ("best val_top1", "interval that holds at every look")
    differences = client.get(f"/figures/differences?{asked}").json()
    assert differences["layout"]["xaxis"]["title"]["text"].startswith("Best top-1 minus")
    marks = {trace["uid"]: trace for trace in differences["data"]}
    claimed = {row["variant"]: row["outcome"] for row in found["variants"]}
    assert claimed["mean"] == "worse", "paired t-tests on three seeds would claim it too"
    assert marks["mean_mean"]["marker"]["symbol"] == "diamond"
    assert "holds at every look" in marks["mean_mean"]["hovertemplate"]
    other = client.post("/experiments", json={"axes": {"lr": [0.1, 0.2]}}).json()["id"]
    assert client.get(f"/comparison?experiment={other}").json()["group"] == "lr"
    assert client.get(f"/figures/plan?experiment={other}&variant=0.1").status_code == 409


def test_a_plan_that_cannot_be_read_holds_up_no_other(
    store: RunStore, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    broken, other = Study(store), Study(store)
    for run in broken.runs():  # as if they were of no variant of the plan
        store.redis.hset(store.key("run", run.id), "spec", json.dumps(DIGITS | {"epochs": 3, "pooling": "gem"}))
    with TestClient(create_app(settings, store, dashboard=None)):
        while lease := store.claim("w"):
            lease.record_epoch(replace(RECORD, epoch=1, val_top1=50 + 10 * JITTER[int(lease.run_id, 16) % len(JITTER)]))
            lease.release(State.completed)
        wait_for(lambda: len(other.runs()) > 9, 20)
    assert f"the plan of experiment {broken.id} cannot go on" in caplog.text


def test_the_budget_ends_a_plan_and_goes_on_when_it_is_raised(store: RunStore) -> None:
    def wild(run: Run) -> float:
        return 50 + 20 * JITTER[(run.spec.seed * 7 + POOLINGS.index(run.spec.pooling)) % len(JITTER)]

    study = Study(store, max_seeds=4)
    study.train(wild)
    study.train(wild)
    assert study.outcomes == {"seqpool": "baseline", "mean": "undecided", "max": "undecided"}
    assert (study.row.plan_state, len(study.runs())) == ("ended", 12)
    store.raise_budget(study.id, 5)
    study.advance()
    assert keys(study.runs(State.queued)) == [(4, "seqpool"), (4, "mean"), (4, "max")]


def test_a_lost_run_is_tried_again_and_then_holds_its_variant_up(store: RunStore) -> None:
    study = Study(store)
    for tries in range(1, TRIES_AGAIN + 2):
        study.train(failing={("max", 1): "lost", ("mean", 0): "diverged"})
        assert study.run("max", 1).attempt == tries
        assert failures_told(store) == (["mean", "max"] if tries > TRIES_AGAIN else ["mean"])
    assert study.run("max", 1).state is State.failed
    assert study.outcomes["max"] == "open"
    assert "held up: the run of max, seed 1 has failed 3 times; mend its cause and retry it" in study.why("max")
    assert study.row.plan_state == "open"
    assert study.run("mean", 0).attempt == 1, "what diverged has its result"
    store.retry(study.run("max", 1).id)
    study.train()
    assert study.why("max") == ""
    assert (3, "max") in keys(study.runs())


def failures_told(store: RunStore) -> list[str]:
    """The poolings of the runs that users were told to have failed, by pages and by the webhook."""
    found = [json.loads(entry["data"]) for _, entry in stored_events(store) if entry["kind"] == "news"]
    kept: Any = store.redis.xrange(store.key("news"))
    assert [json.loads(entry["data"]) for _, entry in kept] == found
    return [store.run(news["run_id"]).spec.pooling for news in found if news["what"] == "run_failed"]


def test_a_diverged_run_counts_as_guessing(store: RunStore) -> None:
    study = Study(store)
    study.train(failing={("max", seed): "diverged" for seed in range(3)})
    assert study.outcomes["max"] == "worse"


def test_what_a_user_cancels_makes_the_guarantee_void_until_it_is_retried(store: RunStore) -> None:
    study = Study(store)
    store.cancel(study.run("max", 2).id)
    study.train()
    assert study.outcomes == {"seqpool": "baseline", "mean": "worse", "max": "void"}
    assert "guarantee void: the run of max, seed 2 was cancelled; retry it" in study.why("max")
    assert (study.runs(State.queued), study.row.plan_state) == ([], "ended")
    store.retry(study.run("max", 2).id)
    study.train()
    assert study.outcomes["max"] in ("open", "alike")
    assert study.row.plan_state == "open"


def test_a_deleted_result_leaves_its_mark(store: RunStore) -> None:
    study = Study(store)
    study.train()
    store.delete(study.run("mean", 1).id)
    study.train()
    assert study.outcomes["mean"] == "void", "although its claim was made"
    assert "seed 1 was deleted" in study.why("mean")
    assert [(spec.pooling, spec.seed) for spec in study.row.deleted] == [("mean", 1)]
    assert (1, "mean") not in keys(study.runs())
    assert (4, "max") in keys(study.runs()), "others go on"


def test_a_cancelled_experiment_ends_its_plan_and_a_retry_goes_on(store: RunStore) -> None:
    study = Study(store)
    study.train()
    store.cancel_experiment(study.id)
    study.advance()
    assert (study.row.plan_state, study.row.queued) == ("cancelled", 0)
    assert store.open_plans() == []
    store.retry_experiment(study.id)
    study.advance()
    assert study.row.plan_state == "open"
    assert keys(study.runs(State.queued)) == [(3, "seqpool"), (3, "max")]


def test_idle_workers_run_ahead_by_one_seed_which_is_dropped_when_it_is_not_needed(store: RunStore) -> None:
    study = Study(store)
    for number in range(12):
        store.heartbeat(f"w{number}", device="cpu", version="1")
    study.advance()
    assert len(study.runs()) == 12, "seed 3, beside the three that are waited for"
    study.advance()
    assert len(study.runs()) == 12
    leases = [lease for _ in range(9) if (lease := store.claim("w"))]
    for lease in leases:
        lease.record_epoch(replace(RECORD, epoch=1, val_top1=apart(store.run(lease.run_id))))
        lease.release(State.completed)
    study.advance()
    assert study.outcomes["mean"] == "worse"
    dropped = study.run("mean", 3)
    assert (dropped.state, dropped.unneeded) == (State.cancelled, True)
    assert study.run("max", 3).state is State.queued


def test_claims_are_tried_on_fresh_seeds(client: TestClient, store: RunStore) -> None:
    study = Study(store)
    path = f"/experiments/{study.id}/confirm"
    early = client.post(path, json={})
    assert early.status_code == 409
    assert "nothing to confirm" in early.json()["detail"]
    study.train()
    created = client.post(path, json={})
    assert created.status_code == 201, created.text
    fresh = created.json()
    assert (fresh["confirms"], fresh["plan"], fresh["runs"]) == (study.id, None, 6)
    assert fresh["axes"] == {"pooling": ["seqpool", "mean"], "seed": [200, 201, 202]}, (
        "after any that the plan may take"
    )
    assert client.post(path, json={"seeds": 1}).json()["axes"]["seed"] == [203]
    other = client.post("/experiments", json={"axes": {"pooling": POOLINGS}}).json()
    assert client.post(f"/experiments/{other['id']}/confirm", json={}).status_code == 409


def test_a_plan_goes_on_where_it_is_restored_and_stops_where_it_is_imported(
    store: RunStore, settings: Settings
) -> None:
    study = Study(store)
    study.train()
    (archive := io.BytesIO()).seek(0)
    backup(settings, store, archive, "1")
    for read, state, queued in ((restore, "open", 2), (import_archive, "cancelled", 0)):
        archive.seek(0)
        other = RunStore(settings, prefix=f"{read.__name__}:")
        read(settings, other, archive)
        arrived = other.experiment(study.id)
        assert (arrived.plan, arrived.planning, arrived.planned_at) == (
            study.row.plan,
            study.row.planning,
            study.row.planned_at,
        )
        assert (arrived.plan_state, arrived.queued) == (state, queued)
        advance(other, study.id)
        assert len(other.runs()) == 11, "what has arrived is not queued again"


def test_a_comparison_says_what_the_plan_says(client: TestClient, store: RunStore) -> None:
    study = Study(store)
    study.train()
    found = client.get("/comparison", params={"experiment": study.id}).json()
    verdicts = {row["variant"]: row["verdict"] for row in found["variants"]}
    assert verdicts["mean"].startswith("worse by ")
    assert verdicts["mean"].endswith("holds however often you look), settled after 3 seeds")
    assert verdicts["max"].startswith("open: 3 of 20 seeds, next look at seed 4; between")
    assert found["answer"] == "Worse than seqpool: mean. Still open: max."
    planned_at = f"{study.row.planned_at:%Y-%m-%d %H:%M}"
    assert f"Declared {planned_at} UTC, before the first run" in found["method"]
    assert found["claims"] is False
    assert [row["difference"]["p_corrected"] for row in found["variants"][1:]] == [None, None]
    assert "settled after 3 seeds" in client.get("/report", params={"experiment": study.id}).text
    by_model = client.get("/comparison", params={"experiment": study.id, "group": "model"}).json()
    assert "Declared" not in by_model["method"], "another question than the plan's"
    other = client.get("/comparison", params={"experiment": study.id, "baseline": "mean"}).json()
    assert other["answer"].startswith("Exploratory, nothing is claimed: this experiment's plan compares pooling with")
    assert [row["outcome"] for row in other["variants"] if row["variant"] != "mean"] == ["unclear"] * 2
    assert [row["verdict"] for row in other["variants"] if row["variant"] == "max"] == [
        "+9.83 points over 3 seeds, nothing is claimed"
    ]


def test_the_api_plans_by_itself_also_after_a_restart(settings: Settings, store: RunStore) -> None:
    study = Study(store)
    with TestClient(create_app(settings, store, dashboard=None)):
        study_is_trained_by_hand(study)
        wait_for(lambda: len(study.runs()) == 11, 5)
    study_is_trained_by_hand(study)
    assert len(study.runs()) == 11, "nobody plans"
    with (
        TestClient(create_app(settings, store, dashboard=None)),
        TestClient(create_app(settings, store, dashboard=None)),
    ):
        wait_for(lambda: len(study.runs()) == 13, 5)
        time.sleep(0.2)
        assert len(study.runs()) == 13


def study_is_trained_by_hand(study: Study) -> None:
    while lease := study.store.claim("w"):
        lease.record_epoch(replace(RECORD, epoch=1, val_top1=apart(study.store.run(lease.run_id))))
        lease.release(State.completed)


@pytest.mark.parametrize(
    ("measure", "of_baseline", "better"),
    [("val_balanced", 80.0, 82.0), ("val_nll", 0.8, 0.75), ("val_ece", 0.10, 0.07)],
)
def test_variants_are_compared_by_other_measures_whose_best_direction_is_known(
    client: TestClient, store: RunStore, measure: str, of_baseline: float, better: float
) -> None:
    specs = [
        RunSpec.stored(DIGITS | {"epochs": 1, "pooling": name, "seed": seed})
        for seed in range(4)
        for name in ("seqpool", "mean")
    ]
    experiment = store.create_experiment(
        "By another measure", {}, {"pooling": ["seqpool", "mean"], "seed": [0, 1, 2, 3]}, specs
    )
    for seed in range(4):
        for value in (of_baseline, better + 0.001 * seed):
            lease = store.claim("w")
            assert lease
            measured: dict[str, Any] = {measure: value}
            lease.record_epoch(replace(RECORD, epoch=1, val_top1=50.0 + seed, **measured))
            lease.release(State.completed)
    asked = f"experiment={experiment.id}&measure=final {measure}"
    found = client.get(f"/comparison?{asked}").json()
    assert found["answer"].startswith("Better than seqpool: mean by ")
    assert "Compared by final " in found["answer"]
    assert client.get(f"/comparison?experiment={experiment.id}").json()["answer"].startswith("Like seqpool")
    drawn = client.get(f"/figures/finals?{asked}").json()
    assert drawn["layout"]["xaxis"]["title"]["text"].startswith("Final ")
    assert "top-1" not in drawn["layout"]["xaxis"]["title"]["text"]
    # Workers of earlier versions have not written it into the run.
    for run in store.runs():
        store.redis.hdel(store.key("run", run.id), "final_balanced", "final_nll", "final_ece")
    assert client.get(f"/comparison?{asked}").json()["variants"] == found["variants"]
