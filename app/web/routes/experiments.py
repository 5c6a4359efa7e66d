import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app.analysis.schedule import expected_seconds
from app.errors import Invalid
from app.limits import RUNS_PER_REQUEST, SEEDS_PER_REQUEST
from app.store.rows import Experiment, Run
from app.store.run_store import Grown
from app.web.demo import DEMO
from app.web.dependencies import Store
from app.web.routes.runs import IdempotencyKey
from app.web.specs import Name, Note, Priority, Request, parse_spec
from cct.cost import cost_of_run
from cct.named_datasets import DATASETS
from cct.run_warnings import foreseen
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
    priority: Priority = 0

    def specs(self) -> list[RunSpec]:
        """One spec per combination of the axes' values. Raises `Invalid`, or pydantic's `ValidationError`."""
        axes = dict(sorted(self.axes.items(), key=lambda axis: axis[0] != "seed"))
        for name, values in axes.items():
            if not values:
                raise Invalid(f"axes.{name}", "is empty; give at least one value or leave the axis out")
            if len({json.dumps(value) for value in values}) < len(values):
                raise Invalid(f"axes.{name}", "names a value twice; each combination is one run")
            if name in self.spec:
                raise Invalid(f"axes.{name}", "is given in the base spec too; leave it out of one of them")
        count = 1
        for values in axes.values():
            count *= len(values)
        if count > RUNS_PER_REQUEST:
            raise Invalid("axes", f"make {count} runs; at most {RUNS_PER_REQUEST} can be queued with one request")
        combinations = itertools.product(*axes.values())
        return [parse_spec(self.spec | dict(zip(axes, values, strict=True))) for values in combinations]


class ExperimentEdit(Request):
    """What can be changed of an experiment; the priority is that of its unfinished runs."""

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
        defaults = {field.name: field.default for field in fields(RunSpec)}
        is_older = any(run.spec.augmentation == _BEFORE_AUTO != _auto(run.spec) for run in runs)
        if is_older and "augmentation" not in {**spec, **axes}:
            spec["augmentation"] = _BEFORE_AUTO
        if self.seeds:
            seeds = axes.setdefault("seed", [spec.pop("seed", defaults["seed"])])
            seeds += range(max(seeds) + 1, max(seeds) + 1 + self.seeds)
        for name, values in self.axes.items():
            # An axis that is new had one value so far.
            known = axes.setdefault(name, [spec.pop(name, defaults[name])] if name in defaults else [])
            known += [value for value in values if value not in known]
        return ExperimentRequest(name=experiment.name, spec=spec, axes=axes)


_BEFORE_AUTO = "autoaugment"
"""The augmentation of runs that did not name one, before datasets had their own: their experiments keep it."""


def _auto(spec: RunSpec) -> str:
    return DATASETS[spec.dataset].augmentation if spec.dataset in DATASETS else ""


class ModelCost(BaseModel):
    model: str
    pooling: str
    dataset: str
    parameters: int | None = Field(description="Null if the number of classes is known only when the files are read")
    macs: int = Field(description="Multiply-accumulates of one image's forward pass")
    tokens: int


class PreviewWarning(BaseModel):
    """A reason to doubt the results of some of the runs."""

    code: str
    text: str
    runs: int = Field(description="How many runs it concerns")


class Preview(BaseModel):
    """What an experiment would queue."""

    runs: int
    epochs: int = Field(description="The epochs of all runs together")
    costs: Sequence[ModelCost]
    seconds: float | None = Field(description="Expected training time on one worker; null if nothing was measured yet")
    warnings: Sequence[PreviewWarning] = Field(
        description="What is odd about the runs, which can be queued nevertheless"
    )


class ExperimentList(BaseModel):
    experiments: Sequence[Experiment]


@router.post("", status_code=201, summary="Queue an experiment")
def create_experiment(
    store: Store, response: Response, request: ExperimentRequest, idempotency_key: IdempotencyKey = None
) -> Experiment:
    """Queues one run per combination of the axes' values, all or none."""
    specs = request.specs()
    experiment = store.create_experiment(
        request.name, request.spec, request.axes, specs, request.priority, idempotency_key
    )
    response.headers["Location"] = f"experiments/{experiment.id}"  # as a run's
    return experiment


@router.post("/preview", summary="See what an experiment would queue, without queueing it")
def preview_experiment(store: Store, request: ExperimentRequest) -> Preview:
    """Number of runs, parameters and multiply-accumulates of each model, expected time."""
    return _preview(request.specs(), store.runs())


def _preview(specs: Sequence[RunSpec], known: Sequence[Run]) -> Preview:
    models = {(spec.model, spec.pooling, spec.source): spec for spec in specs}
    costs = [_cost(spec) for spec in models.values()]
    epochs = sum(spec.epochs for spec in specs)
    told = Counter((warning.code, warning.text) for spec in specs for warning in foreseen(spec))
    warnings = [PreviewWarning(code=code, text=text, runs=count) for (code, text), count in told.items()]
    seconds = expected_seconds(specs, known)
    return Preview(runs=len(specs), epochs=epochs, costs=costs, seconds=seconds, warnings=warnings)


def _cost(spec: RunSpec) -> ModelCost:
    cost = cost_of_run(spec)
    return ModelCost(
        model=spec.model,
        pooling=spec.pooling,
        dataset=spec.source,
        parameters=cost.parameters if DATASETS[spec.dataset].num_classes else None,
        macs=cost.macs,
        tokens=cost.tokens,
    )


@router.get("", summary="List experiments, newest first")
def list_experiments(store: Store) -> ExperimentList:
    return ExperimentList(experiments=store.experiments())


@router.get("/{experiment_id}", summary="Read an experiment")
def read_experiment(store: Store, experiment_id: str) -> Experiment:
    return store.experiment(experiment_id)


@router.patch("/{experiment_id}", summary="Change an experiment's name, note or priority")
def edit_experiment(store: Store, experiment_id: str, edit: ExperimentEdit) -> Experiment:
    return store.edit_experiment(experiment_id, edit.model_dump(exclude_none=True))


@router.post("/{experiment_id}/runs", status_code=201, summary="Add runs to an experiment")
def add_runs(store: Store, experiment_id: str, more: MoreRuns, idempotency_key: IdempotencyKey = None) -> Experiment:
    """Queues what the experiment lacks of the product of its axes, after seeds and values were added to these."""

    def grow(experiment: Experiment, runs: Sequence[Run]) -> Grown:
        grown = more.extend(experiment, runs)
        existing = {run.spec for run in runs}
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
