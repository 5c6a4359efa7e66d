import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.analysis.glance import Glance, glance, glance_of_search
from app.errors import Conflict, Invalid
from app.limits import GLANCES, RUNS_PER_REQUEST, SEEDS_PER_REQUEST, VARIANTS_PER_EXPERIMENT
from app.store.plan import MOST_SEEDS, Plan, Planning
from app.store.rows import Experiment, Run
from app.store.run_store import Grown, RunStore
from app.store.tuning import Tuning
from app.store.variants import Variant
from app.web.demo import DEMO
from app.web.dependencies import Store
from app.web.own_poolings import refuse_unusable
from app.web.plans import compared, factor_of, planned, with_seeds
from app.web.preview import Preview, preview, preview_of_plan
from app.web.routes.runs import IdempotencyKey
from app.web.specs import Name, Note, Priority, Request, parse_spec, with_full_names
from app.web.tuning import check
from app.web.variants import named_variants
from cct.named_datasets import DATASETS
from cct.recipes import RECIPE_FIELDS, filled
from cct.spec import RunSpec

router = APIRouter(prefix="/experiments", tags=["experiments"])


class ExperimentRequest(Request):
    """A base spec and axes; the runs are the product of the axes' values."""

    model_config = ConfigDict(json_schema_extra={"examples": [DEMO]})

    name: Name = "Experiment"
    spec: dict[str, Any] = Field(default={})
    """The fields that all runs share; what is left out has its default."""
    axes: dict[str, list[Any]] = Field(default={}, max_length=len(fields(RunSpec)))
    """Values per field. Seeds vary slowest, so that every variant has its first seed before any has its second."""
    variants: list[dict[str, Any]] = Field(default=[], max_length=VARIANTS_PER_EXPERIMENT)
    """Variants in place of an axis, each with values of several fields that go together, such as
    `{"pooling": "gem", "lr": 0.002}`, and a `name` if it should have one of its own. What one leaves out has the value
    of `spec`."""
    priority: Priority = 0
    plan: Plan | None = None
    """With a plan, such as `{}`, seeds are queued until the answer is known; the axes then vary one field, not seed."""

    tune: Tuning | None = None
    """Before anything is compared, settings are searched for each variant, with as many trials each, on held-out data;
    then the best of each are trained with fresh seeds, as an experiment of its own. The axes vary one field."""

    @model_validator(mode="after")
    def _keep_code(self) -> Self:
        self.spec, self.axes = with_full_names(self.spec), with_full_names(self.axes)
        self.variants = [with_full_names(values) for values in self.variants]
        if self.plan and "pooling" in self.axes:
            baseline = with_full_names({"pooling": self.plan.baseline})["pooling"]
            self.plan = self.plan.model_copy(update={"baseline": baseline})
        return self

    def planned(self) -> tuple[Plan, Planning] | None:
        """The plan and how it stands before the first run. Raises `Invalid`, or pydantic's `ValidationError`."""
        self._check_axes()
        return (self.plan, planned(self.spec, self.axes, self.plan, self.named())[0]) if self.plan else None

    def named(self) -> list[Variant]:
        """The variants; those that are tuned have names, even if they are the values of one field. Raises `Invalid`."""
        if not self.tune:
            return named_variants(self.spec, self.axes, self.variants) if self.variants else []
        if "seed" in self.axes:
            raise Invalid("axes.seed", "is chosen by the search; leave the axis out, and set tune.seeds")
        if self.plan:
            raise Invalid("plan", "is of the comparison, after the search; give it as tune.plan")
        factor = factor_of(self.axes, [Variant(name="", values={})] if self.variants else ())
        given = self.variants or [{"name": str(value), factor: value} for value in self.axes[factor]]
        others = {name: values for name, values in self.axes.items() if name != factor}
        return named_variants(self.spec, others, given)

    def specs(self) -> list[RunSpec]:
        """One spec per combination of the axes' values; with a plan those of its first seeds.

        Raises `Invalid`, or pydantic's `ValidationError`.
        """
        self._check_axes()
        if self.plan:
            planning, specs = planned(self.spec, self.axes, self.plan, self.named())
            return with_seeds(specs, range(planning.first_seed, planning.first_seed + self.plan.first_look))
        if self.tune:
            return check(self.tune, self.base(), self.named())
        axes = dict(sorted(self.axes.items(), key=lambda axis: axis[0] != "seed"))
        variants = [one.values for one in self.named()] or [{}]
        count = len(variants)
        for values in axes.values():
            count *= len(values)
        if count > RUNS_PER_REQUEST:
            raise Invalid("axes", f"make {count} runs; at most {RUNS_PER_REQUEST} can be queued with one request")
        combinations = itertools.product(itertools.product(*axes.values()), variants)
        return [
            parse_spec(self.spec | dict(zip(axes, values, strict=True)) | variant) for values, variant in combinations
        ]

    def queue(self, store: RunStore, once: str | None, linked: Mapping[str, str] | None = None) -> Experiment:
        """Stores the experiment and queues its first runs. Raises as `specs` does."""
        refuse_unusable(store, specs := self.specs())
        return store.create_experiment(
            self.name,
            self.base() if self.tune else self.spec,
            {} if self.tune else self.axes,
            specs,
            self.priority,
            once,
            variants=self.named(),
            plan=self.planned(),
            tune=self.tune,
            linked=linked,
        )

    def base(self) -> dict[str, Any]:
        """The spec that all variants share, with what the axes give all of them."""
        return self.spec | {name: values[0] for name, values in self.axes.items() if len(values) == 1}

    def _check_axes(self) -> None:
        for name, values in self.axes.items():
            if not values:
                raise Invalid(f"axes.{name}", "is empty; give at least one value or leave the axis out")
            if len({json.dumps(value) for value in values}) < len(values):
                raise Invalid(f"axes.{name}", "names a value twice; each combination is one run")
            if name in self.spec:
                raise Invalid(f"axes.{name}", "is given in the base spec too; leave it out of one of them")


class PlanEdit(Request):
    """What can be changed of a plan after it was queued."""

    max_seeds: int = Field(ge=3, le=MOST_SEEDS, strict=True)
    """How many seeds it may take; this can only be raised, and no claim becomes less sure by it."""


class ExperimentEdit(Request):
    """What can be changed of an experiment; the priority is that of its unfinished runs."""

    plan: PlanEdit | None = None
    name: Name | None = None
    priority: Priority | None = None
    note: Note | None = None


class MoreRuns(Request):
    """Runs to add to an experiment: those it lacks of the product of its axes, after these have grown."""

    axes: dict[str, list[Any]] = Field(default={})
    """Values to add to the axes."""
    seeds: int = Field(default=0, ge=0, le=SEEDS_PER_REQUEST, strict=True)
    """How many new seeds to add."""

    def extend(self, experiment: Experiment, runs: Sequence[Run] = ()) -> ExperimentRequest:
        """The request that describes the grown experiment, which has `runs` by now."""
        spec, axes = dict(experiment.spec), {name: list(values) for name, values in experiment.axes.items()}
        defaults = {field.name: field.default for field in fields(RunSpec)} | _of_recipe(spec)
        is_older = any(run.spec.augmentation == _BEFORE_AUTO != _auto(run.spec) for run in runs)
        if is_older and "augmentation" not in {**spec, **axes}:
            spec["augmentation"] = _BEFORE_AUTO
        if self.seeds:
            seeds = axes.setdefault("seed", [spec.pop("seed", defaults["seed"])])
            seeds += range(max(seeds) + 1, max(seeds) + 1 + self.seeds)
        for name, values in with_full_names(self.axes).items():
            if name in RECIPE_FIELDS and "recipe" in axes and name not in {**spec, **axes}:
                raise Invalid(f"axes.{name}", "differs between the recipes so far; make another experiment")
            # An axis that is new had one value so far.
            known = axes.setdefault(name, [spec.pop(name, defaults[name])] if name in defaults else [])
            known += [value for value in values if value not in known]
        return ExperimentRequest(name=experiment.name, spec=spec, axes=axes, variants=given_variants(experiment))


def given_variants(experiment: Experiment) -> list[dict[str, Any]]:
    """An experiment's variants as a request has them."""
    return [{"name": one.name, **one.values} for one in experiment.variants]


def _of_recipe(spec: dict[str, Any]) -> dict[str, Any]:
    return filled({name: spec[name] for name in ("recipe", "dataset") if name in spec})


_BEFORE_AUTO = "autoaugment"
"""The augmentation of runs that did not name one, before datasets had their own: their experiments keep it."""


def _auto(spec: RunSpec) -> str:
    return DATASETS[spec.dataset].augmentation if spec.dataset in DATASETS else ""


class ExperimentList(BaseModel):
    experiments: Sequence[Experiment]


class ExperimentGlance(BaseModel):
    experiment_id: str
    glance: Glance


class Glances(BaseModel):
    glances: Sequence[ExperimentGlance]


@router.post("", status_code=201, summary="Queue an experiment")
def create_experiment(
    store: Store, response: Response, request: ExperimentRequest, idempotency_key: IdempotencyKey = None
) -> Experiment:
    """Queues one run per combination of the axes' values, all or none; with a plan its first seeds, and then more."""
    experiment = request.queue(store, idempotency_key)
    response.headers["Location"] = f"experiments/{experiment.id}"  # as a run's
    return experiment


@router.post("/preview", summary="See what an experiment would queue, without queueing it")
def preview_experiment(store: Store, request: ExperimentRequest) -> Preview:
    """Number of runs, parameters and multiply-accumulates of each model, expected time."""
    specs = request.specs()
    if request.tune:
        trials = [spec for spec in specs for _ in range(request.tune.trials)]
        fresh = [spec for spec in specs for _ in range(request.tune.seeds)]
        return preview(store, [*trials, *fresh])
    if request.plan is None:
        return preview(store, specs)
    planning, first = planned(request.spec, request.axes, request.plan, request.named())
    most = with_seeds(first, range(planning.first_seed, planning.first_seed + request.plan.max_seeds))
    return preview_of_plan(store, request.plan, first, specs, most)


@router.get("", summary="List experiments, newest first")
def list_experiments(store: Store) -> ExperimentList:
    return ExperimentList(experiments=store.experiments())


@router.get("/glances", summary="Read in short what experiments have found out")
def read_glances(
    store: Store,
    experiment: Annotated[list[str], Query(description="The experiments that are asked for", max_length=GLANCES)],
) -> Glances:
    """One sentence each, a small picture's points, and what is wrong. Experiments that are not there are left out."""
    found = store.experiments_by_id(dict.fromkeys(experiment))
    return Glances(glances=[ExperimentGlance(experiment_id=one.id, glance=_glance(store, one)) for one in found])


def _glance(store: RunStore, experiment: Experiment) -> Glance:
    runs = store.experiment_runs(experiment.id)
    found = compared(store, experiment, runs)
    if experiment.tune:
        return glance_of_search(runs, found, experiment.tune)
    return glance(runs, found, experiment.exploratory)


@router.get("/{experiment_id}", summary="Read an experiment")
def read_experiment(store: Store, experiment_id: str) -> Experiment:
    return store.experiment(experiment_id)


@router.patch("/{experiment_id}", summary="Change an experiment's name, note or priority")
def edit_experiment(store: Store, experiment_id: str, edit: ExperimentEdit) -> Experiment:
    if edit.plan:
        if store.experiment(experiment_id).plan is None:
            raise Conflict("this experiment has no plan; POST /experiments/{id}/plan starts one on new seeds")
        store.raise_budget(experiment_id, edit.plan.max_seeds)
    return store.edit_experiment(experiment_id, edit.model_dump(exclude_none=True, exclude={"plan"}))


@router.post("/{experiment_id}/runs", status_code=201, summary="Add runs to an experiment")
def add_runs(store: Store, experiment_id: str, more: MoreRuns, idempotency_key: IdempotencyKey = None) -> Experiment:
    """Queues what the experiment lacks of the product of its axes, after seeds and values were added to these.

    Seeds that are added after results were seen make the experiment `exploratory`, for good.
    """
    if store.experiment(experiment_id).tune:
        raise Conflict(
            "this experiment searches settings, with as many trials of each variant; add seeds to the comparison that "
            "follows it, or queue another search"
        )
    if store.experiment(experiment_id).plan:
        if set(more.axes) - {"seed"}:
            raise Conflict(
                "this experiment has a plan, whose error rate holds for the variants that it was queued with; a "
                "variant that is added later is a question of its own: queue a new experiment with a plan for it"
            )
        raise Conflict(
            "this experiment has a plan, which queues its seeds by itself until the answer is known; to let it take "
            'more, raise its budget: PATCH /experiments/{id} with {"plan": {"max_seeds": 40}}'
        )

    def grow(experiment: Experiment, runs: Sequence[Run]) -> Grown:
        grown = more.extend(experiment, runs)
        existing = {run.spec for run in runs}
        refuse_unusable(store, grown.specs())
        return grown.spec, grown.axes, [spec for spec in dict.fromkeys(grown.specs()) if spec not in existing]

    return store.add_runs(experiment_id, grow, idempotency_key, more.model_dump(mode="json"))


@router.post("/{experiment_id}/cancel", summary="Cancel all unfinished runs of an experiment")
def cancel_experiment(store: Store, experiment_id: str) -> Experiment:
    return store.cancel_experiment(experiment_id)


@router.post("/{experiment_id}/retry", summary="Queue all failed runs of an experiment again")
def retry_experiment(store: Store, experiment_id: str) -> Experiment:
    return store.retry_experiment(experiment_id)


@router.delete("/{experiment_id}", status_code=204, summary="Delete an experiment with its runs and checkpoints")
def delete_experiment(store: Store, experiment_id: str) -> None:
    store.delete_experiment(experiment_id)
