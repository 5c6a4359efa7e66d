"""What requests and responses look like, where that is more than a row of the store."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from app.analysis.comparison import PALETTE
from app.analysis.figures import METRICS
from app.analysis.schedule import expected_seconds
from app.analysis.statistics import Stat
from app.errors import Invalid
from app.store.rows import Experiment, HistoryEntry, LogLine, Run, State, Worker
from cct.catalog import poolings
from cct.config import DATASETS, MODELS, RunSpec, SpecError
from cct.cost import cost_of_run

MAX_RUNS = 1_000
"""Most runs that one request may queue."""


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False, use_attribute_docstrings=True, allow_inf_nan=False)


def _spec_model() -> type[Request]:
    """The request body made of the fields of `RunSpec`, the one place where hyperparameters are declared."""
    declared: dict[str, Any] = {}
    for field in fields(RunSpec):
        limits = dict(field.metadata)
        choices = limits.pop("choices", None)
        kind = Literal[choices] if choices else field.type
        strict = None if choices else True
        declared[field.name] = (kind, Field(default=field.default, strict=strict, **limits))
    return create_model("SpecRequest", __base__=Request, __doc__=RunSpec.__doc__, **declared)


SpecRequest = _spec_model()
"""Any subset of the fields of `RunSpec`."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Priority = Annotated[int, Field(strict=True, ge=-100, le=100, description="Higher is trained earlier")]
Note = Annotated[str, Field(max_length=10_000)]
Tag = Annotated[str, Field(min_length=1, max_length=50)]


class RunRequest(SpecRequest):  # type: ignore[valid-type, misc]
    """Body of `POST /runs`: the fields of a spec, and how the queue treats the run."""

    priority: Priority = 0


class RunEdit(Request):
    """What can be changed of a run at any time; fields that are left out stay as they are."""

    priority: Priority | None = None
    note: Note | None = None
    tags: Annotated[list[Tag], Field(max_length=20)] | None = None
    archived: bool | None = Field(default=None, strict=True)


class ExperimentEdit(Request):
    """What can be changed of an experiment; the priority is that of its unfinished runs."""

    name: Name | None = None
    priority: Priority | None = None
    note: Note | None = None


class MoreRuns(Request):
    """Runs to add to an experiment: those it lacks of the product of its axes, after these have grown."""

    axes: dict[str, list[Any]] = {}
    """Values to add to the axes."""
    seeds: int = Field(default=0, ge=0, le=100, strict=True)
    """How many new seeds to add."""

    def extend(self, experiment: Experiment) -> "ExperimentRequest":
        """The request that describes the grown experiment."""
        spec, axes = dict(experiment.spec), {name: list(values) for name, values in experiment.axes.items()}
        defaults = {field.name: field.default for field in fields(RunSpec)}
        if self.seeds:
            seeds = axes.setdefault("seed", [spec.pop("seed", defaults["seed"])])
            seeds += range(max(seeds) + 1, max(seeds) + 1 + self.seeds)
        for name, values in self.axes.items():
            # An axis that is new had one value so far.
            known = axes.setdefault(name, [spec.pop(name, defaults[name])] if name in defaults else [])
            known += [value for value in values if value not in known]
        return ExperimentRequest(name=experiment.name, spec=spec, axes=axes)


EXAMPLES: dict[str, Any] = {
    "one run": {
        "model": "cct_2_3x2_32",
        "pooling": "seqpool_softmax_tokens",
        "dataset": "digits",
        "epochs": 20,
        "seed": 1,
    },
    "the reference recipe": {},
}
DEMO: dict[str, Any] = {
    "name": "Softmax in the pooling step (demo on digits)",
    "spec": {
        "model": "cct_2_3x2_32",
        "dataset": "digits",
        "epochs": 3,
        "batch_size": 32,
        "lr": 0.002,
        "warmup_epochs": 1,
        "augmentation": "none",
    },
    "axes": {"pooling": ["seqpool", "seqpool_softmax_tokens", "seqpool_softmax_batch"], "seed": [0, 1, 2]},
}


class ExperimentRequest(Request):
    """A base spec and axes; the runs are the product of the axes' values."""

    model_config = ConfigDict(json_schema_extra={"examples": [DEMO]})

    name: Name = "Experiment"
    spec: dict[str, Any] = {}
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
        if count > MAX_RUNS:
            raise Invalid("axes", f"make {count} runs; at most {MAX_RUNS} can be queued with one request")
        combinations = itertools.product(*axes.values())
        return [parse_spec(self.spec | dict(zip(axes, values, strict=True))) for values in combinations]


def parse_spec(given: dict[str, Any]) -> RunSpec:
    """The checked spec. Raises pydantic's `ValidationError` or `Invalid`, which name the field."""
    request = SpecRequest.model_validate(given)
    try:
        return RunSpec(**request.model_dump())
    except SpecError as error:
        raise Invalid(error.field, error.message) from error


class ModelCost(BaseModel):
    model: str
    pooling: str
    dataset: str
    parameters: int | None = Field(description="Null if the number of classes is known only when the files are read")
    macs: int = Field(description="Multiply-accumulates of one image's forward pass")
    tokens: int


class Preview(BaseModel):
    """What an experiment would queue."""

    runs: int
    epochs: int = Field(description="Of all runs together")
    costs: Sequence[ModelCost]
    seconds: float | None = Field(description="Expected training time on one worker; null if nothing was measured yet")


def preview(specs: Sequence[RunSpec], known: Sequence[Run]) -> Preview:
    models = {(spec.model, spec.pooling, spec.source): spec for spec in specs}
    costs = [_cost(spec) for spec in models.values()]
    epochs = sum(spec.epochs for spec in specs)
    return Preview(runs=len(specs), epochs=epochs, costs=costs, seconds=expected_seconds(specs, known))


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


class RunList(BaseModel):
    runs: Sequence[Run]
    total: int = Field(description="Runs that match, on all pages")


class RunGroup(BaseModel):
    """The runs of a query that share a value."""

    value: str | None = Field(description="What they share; null for runs that have none. Of an experiment the id")
    runs: int
    states: dict[State, int]
    best_top1: Stat | None = Field(description="Highest top-1 of any epoch, of completed runs")
    final_top1: Stat | None = Field(description="Top-1 of the last epoch, of completed runs")


class RunGroups(BaseModel):
    groups: Sequence[RunGroup]


class Sparkline(BaseModel):
    """A run's validation top-1, at a few epochs from the first to the newest."""

    run_id: str
    epochs: list[int]
    val_top1: list[float]


class Sparklines(BaseModel):
    sparklines: Sequence[Sparkline]


class ExperimentList(BaseModel):
    experiments: Sequence[Experiment]


class WorkerList(BaseModel):
    workers: Sequence[Worker]


class LensImage(BaseModel):
    label: int
    url: str = Field(description="A data URL of a PNG file")


class Look(BaseModel):
    """What a model makes of the images at the end of an epoch; lists are by image."""

    epoch: int
    shares: list[list[float]] = Field(description="Of each token, row by row over the square token grid; sums to 1")
    entropy: list[float] = Field(description="Of the shares, in nats")
    predicted: list[int]
    confidence: list[float] = Field(description="Probability of the predicted class")


class LensRun(BaseModel):
    run_id: str
    pooling: str
    seed: int
    dataset: str
    looks: list[Look]


class Lens(BaseModel):
    images: dict[str, list[LensImage]] = Field(description="By dataset")
    class_names: dict[str, list[str]] = Field(description="By dataset, in the order of labels; empty without names")
    runs: list[LensRun]


class ConfusionOfRun(BaseModel):
    run_id: str
    variant: str
    seed: int
    dataset: str
    epoch: int
    counts: list[list[int]] = Field(description="Test images of each class (rows) taken for each class (columns)")


class Confusions(BaseModel):
    class_names: dict[str, list[str]] = Field(description="By dataset, in the order of rows and columns")
    runs: list[ConfusionOfRun] = Field(description="Those that have finished an epoch")


class OwnImageRun(BaseModel):
    run_id: str
    looks: dict[Literal["last", "best"], Look] = Field({}, description="By checkpoint; lists have one image")
    error: str | None = Field(None, description="Why there are none")


class OwnImage(BaseModel):
    """An image of the user's own and what runs make of it, as far as workers have looked."""

    id: str
    done: bool
    error: str | None = Field(description="Why no run could look at it")
    images: dict[str, str] = Field(description="By dataset: as its models see it, a data URL of a PNG file")
    runs: list[OwnImageRun] = Field(description="Those that have looked")


class Log(BaseModel):
    lines: Sequence[LogLine]


class History(BaseModel):
    entries: Sequence[HistoryEntry]


class QueueEntry(BaseModel):
    run_id: str
    position: int = Field(description="1 is next")
    starts_in_seconds: float | None = Field(description="Expected time until a worker is free; null when unknown")


class QueueState(BaseModel):
    paused: bool
    entries: Sequence[QueueEntry]


class ModelEntry(BaseModel):
    name: str
    image_size: int | None = Field(default=None, description="Side in pixels; null for models of texts")
    text_length: int | None = Field(default=None, description="In words; null for models of images")
    depth: int
    embed_dim: int
    pooling: str
    positional_embedding: str


class PoolingEntry(BaseModel):
    name: str
    summary: str
    formula: str
    color: str


class DatasetEntry(BaseModel):
    name: str
    title: str
    num_classes: int | None = Field(description="Null, as the other sizes, if known only when the files are read")
    train_size: int | None
    test_size: int | None
    image_size: int | None = Field(description="Side in pixels; null for texts and for images as large as the model's")
    has_texts: bool = Field(description="Texts instead of images")
    bundled: bool


class MetricEntry(BaseModel):
    name: str
    label: str


class Catalog(BaseModel):
    """All that can be chosen, the schema of a run's spec and the demo experiment (a body for `POST /experiments`)."""

    models: Sequence[ModelEntry]
    poolings: Sequence[PoolingEntry]
    datasets: Sequence[DatasetEntry]
    metrics: Sequence[MetricEntry]
    spec_schema: dict[str, Any]
    demo: ExperimentRequest
    version: str


def catalog(version: str) -> Catalog:
    return Catalog(
        models=[ModelEntry(name=name, **_pick(ModelEntry, asdict(config))) for name, config in MODELS.items()],
        poolings=[
            PoolingEntry(**asdict(info), color=PALETTE[position % len(PALETTE)])
            for position, info in enumerate(poolings().values())
        ],
        datasets=[
            DatasetEntry(name=name, has_texts=info.has_texts, **_pick(DatasetEntry, asdict(info)))
            for name, info in DATASETS.items()
        ],
        metrics=[MetricEntry(name=metric.name, label=metric.label) for metric in METRICS.values()],
        spec_schema=SpecRequest.model_json_schema(),
        demo=ExperimentRequest.model_validate(DEMO),
        version=version,
    )


def _pick(model: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in model.model_fields if name in values}


class Problem(BaseModel):
    """What went wrong and what to change (RFC 9457), served as `application/problem+json`."""

    class FieldError(BaseModel):
        field: str
        message: str

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: Sequence[FieldError] = ()
