"""Experiments that are made of others: a plan on new seeds, and fresh seeds for what was claimed."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from app.errors import Conflict
from app.store.plan import Plan
from app.store.rows import Experiment
from app.store.run_store import RunStore
from app.web.dependencies import Store
from app.web.plans import factor_of, fresh_seed
from app.web.routes.experiments import ExperimentRequest, given_variants
from app.web.routes.runs import IdempotencyKey
from app.web.specs import Request

router = APIRouter(prefix="/experiments", tags=["experiments"])

SETTLED = ("better", "worse", "alike")


class Confirmation(Request):
    """How claims are tried on seeds that had no part in them."""

    seeds: int = Field(default=3, ge=1, le=20, strict=True)
    """How many fresh seeds of the baseline and of each settled variant are trained."""


@router.post("/{experiment_id}/plan", status_code=201, summary="Ask an experiment's question again, with a plan")
def start_plan(
    store: Store, response: Response, experiment_id: str, plan: Plan, idempotency_key: IdempotencyKey = None
) -> Experiment:
    """Queues a new experiment on seeds that nobody has seen; what is known of the old one is kept, but not counted."""
    old = store.experiment(experiment_id)
    factor = factor_of(old.axes, old.variants)
    axes = {name: values for name, values in old.axes.items() if name != "seed"}
    spec = old.spec | {"seed": _fresh_seed(store, old)}
    spec |= {name: values[0] for name, values in axes.items() if name != factor}
    request = ExperimentRequest(
        name=old.name,
        spec=spec,
        axes={name: values for name, values in axes.items() if name == factor},
        variants=given_variants(old),
        priority=old.priority,
        plan=plan,
    )
    return _queue(store, response, request, {"follows": old.id}, idempotency_key)


@router.post("/{experiment_id}/confirm", status_code=201, summary="Try an experiment's claims on fresh seeds")
def confirm(
    store: Store, response: Response, experiment_id: str, wanted: Confirmation, idempotency_key: IdempotencyKey = None
) -> Experiment:
    """Queues a new experiment of the baseline and the settled variants; its results are reported apart."""
    old = store.experiment(experiment_id)
    if old.plan is None or old.planning is None:
        raise Conflict("this experiment has no plan, so it claims nothing that could be confirmed")
    kept = {name for name, variant in old.planning.variants.items() if variant.outcome in SETTLED}
    if not kept:
        raise Conflict("no variant is settled yet, so there is nothing to confirm; wait for the plan's first claim")
    names = list(old.planning.variants)
    factor, first = old.planning.factor, _fresh_seed(store, old)
    kept.add(old.plan.baseline)
    values: dict[str, list[Any]] = {}
    if factor in old.axes:
        values = {factor: [value for name, value in zip(names, old.axes[factor], strict=True) if name in kept]}
    spec = {name: value for name, value in old.spec.items() if name != "seed"}
    spec |= {name: one[0] for name, one in old.axes.items() if name != factor}
    request = ExperimentRequest(
        name=old.name,
        spec=spec,
        axes=values | {"seed": list(range(first, first + wanted.seeds))},
        variants=[one for one in given_variants(old) if one["name"] in kept],
        priority=old.priority,
    )
    return _queue(store, response, request, {"confirms": old.id}, idempotency_key)


def _fresh_seed(store: RunStore, old: Experiment) -> int:
    """The first seed after those of the experiment and of all that were made of it."""
    linked = [one.id for one in store.experiments() if old.id in (one.follows, one.confirms)]
    return fresh_seed(old, store.experiment_runs(old.id), [run for one in linked for run in store.experiment_runs(one)])


def _queue(
    store: RunStore, response: Response, request: ExperimentRequest, linked: dict[str, str], once: str | None
) -> Experiment:
    experiment = request.queue(store, once, linked)
    response.headers["Location"] = f"../{experiment.id}"
    return experiment
