"""Queues the seeds of experiments with a plan until each variant is settled or the seeds are spent.

A thread of every API process follows the stream of experiments whose plans have something new to go by, and looks at
all open plans when it starts and from time to time. What it decides is a function of what is stored, and the store
takes it only if nothing has changed meanwhile (`RunStore.advance_plan`): several processes decide it once, and
whichever of them ends half-way, the next look goes on from there.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from redis.exceptions import RedisError

from app.analysis.sequential import Judgement, judge
from app.errors import NotFound, Unreadable
from app.store.database import trouble
from app.store.plan import TRIED_AGAIN, TRIES_AGAIN, Outcome, PlannedVariant, Planning, PlanState, Step
from app.store.rows import Experiment, Run, State
from app.store.run_store import RunStore
from app.web.follower import LOOK_SECONDS, Follower
from app.web.plans import name_of, results_of, validation_images, variant_of, with_measure, with_seed
from app.web.tuner import advance_tuning

ALL_SECONDS = 10
"""Between two looks at all open plans, for workers that have become idle and for news that was missed."""

CLAIMS = ("better", "worse", "alike")

Key = tuple[str, int]
"""Variant and seed, which tell the runs of a plan apart."""

logger = logging.getLogger(__name__)


class Planner(Follower):
    """Advances plans for as long as its context is open."""

    def __init__(self, store: RunStore) -> None:
        super().__init__(store.redis, store.key("looks"))
        self._store = store

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except RedisError as error:
                logger.warning("plans wait: %s", trouble(error))
                self._stopping.wait(LOOK_SECONDS)

    def _follow(self) -> None:
        """Attends to plans until this process stops. Raises `RedisError`; then all open ones must be looked at anew."""
        newest = self._redis.xrevrange(self._stream, count=1)
        position = newest[0][0] if newest else "0-0"
        waited = float(ALL_SECONDS)
        while not self._stopping.is_set():
            if waited >= ALL_SECONDS:
                waited = 0
                for experiment_id in self._store.open_plans():
                    self._look(experiment_id)
            entries = self._entries(position, count=1_000)
            waited += LOOK_SECONDS
            if entries:
                position = entries[-1][0]
            for experiment_id in dict.fromkeys(fields["experiment_id"] for _, fields in entries):
                self._look(experiment_id)

    def _look(self, experiment_id: str) -> None:
        try:
            advance(self._store, experiment_id)
        except NotFound:
            pass  # deleted meanwhile
        except Unreadable as error:
            logger.error("a plan cannot go on: %s", error)
        except RedisError:
            raise
        except Exception:  # here, as it must end neither the other plans nor, without a word, this thread
            logger.exception("the plan of experiment %s cannot go on", experiment_id)


def advance(store: RunStore, experiment_id: str) -> None:
    """Does what follows for an experiment's plan, or for its search of settings, from what is known by now.

    Raises `NotFound`, `Unreadable`.
    """
    if store.experiment(experiment_id).tune:
        advance_tuning(store, experiment_id)
        return
    idle = idle_slots(store)

    def decide(experiment: Experiment, runs: Sequence[Run]) -> Step | None:
        if experiment.plan:
            runs = with_measure(store, runs, experiment.plan.measure)
        return next_step(experiment, runs, validation_images(store, runs), idle, datetime.now(UTC))

    store.advance_plan(experiment_id, decide)


def idle_slots(store: RunStore) -> int:
    """Live workers' slots for which nothing is queued."""
    if store.paused():
        return 0
    free = sum(worker.run_id is None for worker in store.workers())
    return max(0, free - store.queued())


def next_step(experiment: Experiment, runs: Sequence[Run], images: int | None, idle: int, now: datetime) -> Step | None:
    """What follows from an experiment's runs, if `idle` slots have nothing to do; None: nothing.

    `images` is the number of those that runs are validated on, if it is known.
    """
    plan, planning = experiment.plan, experiment.planning
    if plan is None or planning is None or experiment.plan_state not in ("open", "ended"):
        return None
    by_key = {(variant_of(run, planning), run.spec.seed): run for run in runs}
    max_seeds = experiment.max_seeds or plan.max_seeds
    found = judge(plan, results_of(runs, plan, planning), planning.first_seed, max_seeds, images)
    stops = {key: stop for key in found.needed if (stop := _stop(key, by_key.get(key), experiment, planning))}
    open_ones = [name for name, one in found.variants.items() if one.outcome == "open"]
    why = {name: _first(stops, name, plan.baseline) for name in open_ones}
    void = {name for name, stop in why.items() if stop and stop.is_void}
    active = [name for name, stop in why.items() if stop is None]
    wanted = [key for key in found.needed if key[0] in active or (active and key[0] == plan.baseline)]
    missing = [key for key in wanted if key not in by_key]
    again = [by_key[key].id for key in wanted if key in by_key and _may_try_again(by_key[key])]
    if idle and active and not missing and not again:
        ahead = max(seed for _, seed in wanted) + 1
        if ahead < planning.first_seed + max_seeds:
            missing = [key for name in (plan.baseline, *active) if (key := (name, ahead)) not in by_key]
    waiting = {plan.baseline, *open_ones} - void if len(void) < len(open_ones) else set()
    unneeded = [run.id for (name, _), run in by_key.items() if run.state is State.queued and name not in waiting]
    order = list(planning.variants)
    of_variant = {name: run.spec for (name, _), run in by_key.items()}
    missing = [
        (name, seed)
        for name, seed in sorted(missing, key=lambda key: (key[1], order.index(key[0])))
        if name in of_variant
    ]
    state: PlanState = "open" if len(void) < len(open_ones) else "ended"
    new = {
        name: _planned_variant(name, old, found, why, [key for key in by_key.items() if key[0][0] == name], now)
        for name, old in planning.variants.items()
    }
    queued = Counter(name for name, _ in missing)
    new = {name: one.model_copy(update={"runs": one.runs + queued[name]}) for name, one in new.items()}
    planned = planning.model_copy(
        update={
            "variants": new,
            "ended_at": None if state == "open" else planning.ended_at or now,
            "saved_runs": max_seeds * len(new) - sum(one.runs for one in new.values()),
        }
    )
    if planned == planning and state == experiment.plan_state and not (missing or again or unneeded):
        return None
    return Step(planned, state, [with_seed(of_variant[name], seed) for name, seed in missing], again, unneeded)


@dataclass(frozen=True)
class _Stop:
    """Why a result that is needed will not come by itself."""

    is_void: bool
    text: str


def _stop(key: Key, run: Run | None, experiment: Experiment, planning: Planning) -> _Stop | None:
    what = f"{key[0]}, seed {key[1]}"
    if run is None:
        if not any((name_of(spec, planning, experiment.variants), spec.seed) == key for spec in experiment.deleted):
            return None
        text = f"guarantee void: the run of {what} was deleted; ask again on new seeds (Turn into a plan)"
        return _Stop(True, text)
    if run.state is State.cancelled and not run.unneeded:
        text = f"guarantee void: the run of {what} was cancelled; retry it, and the plan goes on as if nothing happened"
        return _Stop(True, text)
    if run.state is State.failed and not _may_try_again(run):
        often = f" {run.retries + 1} times" if run.retries else ""
        text = f"held up: the run of {what} has failed{often}; mend its cause and retry it: {run.error}"
        return _Stop(False, text)
    return None


def _first(stops: Mapping[Key, _Stop], name: str, baseline: str) -> _Stop | None:
    """What stops a variant; what makes it void before what only holds it up."""
    found = [stop for key, stop in stops.items() if key[0] in (name, baseline)]
    return min(found, key=lambda stop: not stop.is_void, default=None)


def _may_try_again(run: Run) -> bool:
    if run.state is State.cancelled:
        return run.unneeded
    return run.state is State.failed and run.failure in TRIED_AGAIN and run.retries < TRIES_AGAIN


def _planned_variant(
    name: str,
    old: PlannedVariant,
    found: Judgement,
    why: Mapping[str, _Stop | None],
    runs: Sequence[tuple[Key, Run]],
    now: datetime,
) -> PlannedVariant:
    stop = why.get(name)
    judged = found.variants.get(name)
    outcome: Outcome = "baseline" if judged is None else "void" if stop and stop.is_void else judged.outcome
    if old.outcome in CLAIMS and outcome in CLAIMS:
        outcome = old.outcome  # what is known of other variants since can change no claim that was made
    is_settled = outcome not in ("baseline", "open", "void")
    return PlannedVariant(
        outcome=outcome,
        seeds=judged.seeds if judged else max((one.seeds for one in found.variants.values()), default=0),
        settled_at=(old.settled_at if outcome == old.outcome else now) if is_settled else None,
        runs=len(runs),
        seconds=round(sum(run.seconds for _, run in runs), 3),
        why=stop.text if stop else "",
    )
