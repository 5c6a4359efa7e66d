"""The run store against a model: whatever users, workers, plans and accidents do in whatever order, both must agree."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from app.errors import Conflict
from app.settings import Settings
from app.store.plan import TRIES_AGAIN, Plan, PlannedVariant, Planning, Step
from app.store.rows import Experiment, Run, State
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.app.store.machine import KEY, PICK, PRIORITY, StoreMachine
from tests.app.store.model import ModelPlan
from tests.app.store.test_store import SPEC

POOLINGS = ("seqpool", "mean")
PLAN = Plan(max_seeds=5)
PLANNING = Planning(factor="pooling", first_seed=0, variants={name: PlannedVariant() for name in POOLINGS})


def seed(number: int) -> list[RunSpec]:
    return [replace(SPEC, pooling=pooling, seed=number) for pooling in POOLINGS]


def wished(wish: str, experiment: Experiment, runs: Sequence[Run]) -> Step | None:
    """What a planner with one wish makes of what it sees: the store's part of a plan, without its statistics."""
    queued = [run.id for run in runs if run.state is State.queued]
    again = [run.id for run in runs if run.state is State.failed or run.unneeded]
    if experiment.plan_state != "open":
        return None
    if wish == "seed" and not queued:
        known = [spec.seed for spec in (*experiment.deleted, *(run.spec for run in runs))]
        return Step(PLANNING, "open", seed(max(known) + 1))
    if wish == "again" and again:
        return Step(PLANNING, "open", again=again)
    if wish == "end":
        return Step(PLANNING, "ended", unneeded=queued)
    return None


class PlanMachine(StoreMachine):
    """Experiments with plans beside the others: several planners decide at the same moment, users interfere."""

    @initialize()
    def a_plan(self) -> None:
        self.create_planned(0, None)

    @rule(priority=PRIORITY, key=KEY)
    def create_planned(self, priority: int, key: str | None) -> None:
        if key in self.answered:
            return  # what follows then is told by `create`
        specs = [*seed(0), *seed(1)]
        created = self.store.create_experiment("P", {}, {}, specs, priority, key, plan=(PLAN, PLANNING))
        if key:
            self.answered[key] = ("plan", [created.id])
        self.experiments[created.id], self.plans[created.id] = priority, ModelPlan(PLAN.max_seeds)
        self.arrive(self.store.experiment_runs(created.id), created.id, priority)

    def pick_plan(self, pick: int) -> str:
        return list(self.plans)[pick % len(self.plans)]

    @precondition(lambda self: self.plans)
    @rule(pick=PICK, wish=st.sampled_from(["seed", "seed", "again", "end"]), planners=st.integers(1, 3))
    def advance(self, pick: int, wish: str, planners: int) -> None:
        """Whatever several planners wish at the same moment is done once."""
        experiment = self.pick_plan(pick)
        plan, before = self.plans[experiment], self.members(experiment)

        def decide(row: Experiment, runs: Sequence[Run]) -> Step | None:
            return wished(wish, row, runs)

        # A plan of which nothing is left has no seed to count on from.
        if wish == "seed" and not before and not plan.deleted:
            return
        with ThreadPoolExecutor(planners) as pool:
            list(pool.map(lambda _: self.store.advance_plan(experiment, decide), range(planners)))
        if plan.state != "open":
            return
        queued = [run for run in before if run.state is State.queued]
        if wish == "seed" and not queued:
            created = self.store.experiment_runs(experiment)[len(before) :]
            assert [run.spec.pooling for run in created] == list(POOLINGS), "a seed is queued once"
            self.arrive(created, experiment, self.experiments[experiment])
        elif wish == "again":
            for run in before:
                if run.unneeded or (run.state is State.failed and run.retries < TRIES_AGAIN):
                    run.retries += run.state is State.failed
                    self.queued_again(run)
        elif wish == "end":
            plan.state = "ended"
            for run in queued:
                run.unneeded = True
                self.cancelled(run)

    @precondition(lambda self: any(plan.state == "open" for plan in self.plans.values()))
    @rule(pick=PICK, act=st.sampled_from(["raise", "delete", "cancel"]))
    def interfere(self, pick: int, act: str) -> None:
        """Between a planner's look and what it decides, something happens: it has to look again."""
        open_plans = [experiment for experiment, plan in self.plans.items() if plan.state == "open"]
        experiment = open_plans[pick % len(open_plans)]
        plan, looks = self.plans[experiment], 0

        def decide(row: Experiment, runs: Sequence[Run]) -> Step | None:
            nonlocal looks
            looks += 1
            if looks > 1:
                return None
            queued = [run for run in self.members(experiment) if run.state is State.queued]
            if act == "delete" and queued:
                self.store.delete(queued[0].id)
                self.deleted(queued[0])
            elif act == "cancel":
                self.act_on_an_experiment(list(self.experiments).index(experiment), "cancel")
            else:
                plan.max_seeds += 1
                self.store.raise_budget(experiment, plan.max_seeds)
            return Step(PLANNING, "ended", seed(99))

        self.store.advance_plan(experiment, decide)
        assert looks == 2

    @precondition(lambda self: self.plans)
    @rule(pick=PICK, more=st.integers(0, 2))
    def raise_budget(self, pick: int, more: int) -> None:
        experiment = self.pick_plan(pick)
        plan = self.plans[experiment]
        if more:
            plan.max_seeds += more
            self.store.raise_budget(experiment, plan.max_seeds)
            self.turn_plan(experiment, "ended", "open")
        else:
            with pytest.raises(Conflict, match="already and can only be raised"):
                self.store.raise_budget(experiment, plan.max_seeds)

    @invariant()
    def plans_agree(self) -> None:
        for experiment, plan in self.plans.items():
            row = self.store.experiment(experiment)
            assert (row.plan_state, row.max_seeds, len(row.deleted)) == (plan.state, plan.max_seeds, plan.deleted)
        open_plans = {experiment for experiment, plan in self.plans.items() if plan.state == "open"}
        assert set(self.store.open_plans()) == open_plans
        unneeded = {run.id for run in self.runs.values() if run.unneeded}
        assert {run.id for run in self.store.runs() if run.unneeded} == unneeded


@pytest.mark.timeout(300)
def test_the_store_agrees_with_its_model(settings: Settings) -> None:
    store = RunStore(settings.model_copy(update={"lease_seconds": 600}), prefix="model:")

    class OverStore(PlanMachine):
        def __init__(self) -> None:
            super().__init__(store)

    run_state_machine_as_test(
        OverStore,
        settings=examples(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
