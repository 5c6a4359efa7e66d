"""Rows of the run store: parsed from Redis hashes, served by the API as they are."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from math import exp
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, computed_field

from app.errors import Unreadable
from app.store.plan import Measure, Plan, Planning, PlanState
from app.store.tuning import Tuning
from app.store.variants import Variant
from cct.events import BETWEEN_CLASSES, RunWarning
from cct.named_datasets import DATASETS
from cct.spec import RunSpec


class State(StrEnum):
    queued = "queued"
    running = "running"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"


def _from_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


_KINDS: dict[str, Any] = {field.name: (int, float) if field.type is float else field.type for field in fields(RunSpec)}


def _spec(value: Any) -> RunSpec:
    """Limits may have changed since it was accepted, but what it asks for must be understood, or another run than was
    asked for would be shown, compared or trained."""
    given = _from_json(value)
    if not isinstance(given, dict):
        raise ValueError("is not an object")
    for name, one in given.items():
        if name not in _KINDS:
            raise ValueError(f"this version does not know {name}")
        if not isinstance(one, _KINDS[name]):
            raise ValueError(f"{name} is {one!r}")
    return RunSpec.stored(given)


Time = Annotated[
    datetime, BeforeValidator(lambda v: datetime.fromtimestamp(int(v) / 1000, UTC) if str(v).isdigit() else v)
]


class Stored(BaseModel):
    """A row of the store: parsed from a Redis hash, served by the API as it is."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="ignore")

    @classmethod
    def parsed(cls, fields: Mapping[str, Any]) -> Self:
        """The row of a Redis hash. Raises `Unreadable`."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            wrong = error.errors()[0]
            why = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
            raise Unreadable(cls.__name__.lower(), str(fields.get("id", fields.get("name", "?"))), why) from error


class External(BaseModel):
    """Where a result comes from that was not trained here."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    file: str
    """Name of the file that it was read from."""
    sha256: str
    """Checksum of that file."""
    kind: str
    """What the file is."""
    told: list[str]
    """The fields of the spec that somebody has given; all others are not known, whatever stands in them."""


class Run(Stored):
    """One training of one model with one seed."""

    id: str
    experiment_id: str | None = None
    variant: str = ""
    """Its name among the variants that its experiment has named; empty if it has named none."""
    trial: bool = False
    """Whether it tries settings of a variant that is tuned: it does not read the test set."""
    varied: Annotated[list[str], BeforeValidator(_from_json)] = []
    """The fields of the spec by which these variants differ."""
    spec: Annotated[RunSpec, BeforeValidator(_spec)]
    state: State
    author: str = ""
    """Who queued it, as they call themselves; empty if nobody has said."""
    created_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None
    attempt: int = 0
    """How often a worker has begun or resumed this run."""
    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished steps of the epoch that is being trained."""
    steps: int = 0
    """Steps of an epoch; 0 while none is being trained."""
    epoch_seconds: float = 0
    """Seconds since the epoch that is being trained began."""
    best_top1: float | None = None
    """Highest validation top-1 of any epoch, in percent; without held-out data it is chosen on the test set, and
    optimistic."""
    final_top1: float | None = None
    """Validation top-1 of the newest epoch, in percent."""
    last3_top1: float | None = None
    """Mean validation top-1 of the last three epochs, in percent, once the run is completed."""
    final_balanced: float | None = None
    """Balanced accuracy of the newest epoch: the mean over classes of what is recognised of each, in percent."""
    final_nll: float | None = None
    """Negative log-likelihood of the right classes at the newest epoch, in nats, without smoothing."""
    final_ece: float | None = None
    """Expected calibration error of the newest epoch, from 0 to 1, over 15 bins."""
    test_top1: float | None = None
    """Top-1 on the test set after the last epoch, in percent, of a completed run that held training data out
    (`val_share`): read once, when nothing was left to choose."""
    test_top1_at_best: float | None = None
    """Top-1 on the test set after the epoch with the highest top-1 on what is held out, in percent."""
    test_balanced: float | None = None
    """Balanced accuracy on the test set after the last epoch, in percent."""
    test_nll: float | None = None
    """Negative log-likelihood on the test set after the last epoch, in nats, without smoothed labels."""
    test_ece: float | None = None
    """Expected calibration error on the test set after the last epoch, from 0 to 1."""
    test_images: int | None = None
    """How many images or texts the test set has."""
    test_sha256: str | None = None
    """A checksum of the test set."""
    majority_share: float | None = None
    """Percent of the validation images that are of the most frequent class: the top-1 of always answering it."""
    duplicates: int | None = None
    """Validation images (the same pixels) or texts (the same line) that are in the training set, too."""
    warnings: Annotated[list[RunWarning], BeforeValidator(_from_json)] = []
    """Reasons to doubt that the numbers mean what they seem to."""
    seconds: float = 0
    """Time spent on finished epochs."""
    joules: float | None = None
    """Energy that the GPU has used for it, its share where several runs are trained at once; null where the hardware
    does not tell."""
    images_per_second: float | None = None
    parameters: int | None = None
    mixes_batch: bool | None = None
    """Whether the output for an image depends on its batch-mates; null until probed."""
    device: str | None = None
    worker: str | None = None
    cancelling: bool = False
    """Cancellation was asked for; the worker stops after its current step."""
    error: str | None = None
    """Why the run failed."""
    failure: Literal["diverged", "out of memory", "lost", "error"] | None = None
    """The kind of reason: the loss was not finite, memory was short, worker or trainer vanished, or another."""
    retries: int = 0
    """How often its plan has queued it again since a user did."""
    unneeded: bool = False
    """Whether its plan has cancelled it, as nobody waits for its result any more."""
    provenance: Annotated[dict[str, str] | None, BeforeValidator(_from_json)] = None
    """Versions, device, precision and dataset checksum of the newest attempt."""
    extends: str | None = None
    """The completed run whose last epoch this one goes on after, by its id; it may have been deleted since."""
    extends_epoch: int = 0
    """That epoch; 0 if this run goes on after none."""
    priority: int = 0
    """Higher is trained earlier."""
    note: str = ""
    noted_by: str = ""
    """Who wrote the note."""
    tags: Annotated[list[str], BeforeValidator(_from_json)] = []
    archived: bool = False
    """Left out of lists unless asked for; all of it is kept."""
    external: Annotated[External | None, BeforeValidator(_from_json)] = None
    """Where it comes from if it was trained elsewhere; null for runs of this board."""
    counts: bool = False
    """Whether a result from elsewhere enters verdicts; else it stands beside them."""

    @computed_field(description="`joules` in kilowatt-hours.")  # type: ignore[prop-decorator]
    @property
    def kilowatt_hours(self) -> float | None:
        return None if self.joules is None else self.joules / 3_600_000

    @property
    def stands_apart(self) -> bool:
        """Whether it is shown beside the others and no verdict is of it."""
        return self.external is not None and not self.counts

    def measured(self, measure: Measure) -> float | None:
        """Its result in percent, the higher the better, once it is completed.

        The likelihood is the probability of the right class, as a geometric mean over the images.
        """
        match measure:
            case "final val_top1":
                return self.final_top1
            case "best val_top1":
                return self.best_top1
            case "final test_top1":
                return self.test_top1
            case "final val_balanced":
                return self.final_balanced
            case "final val_nll":
                return None if self.final_nll is None else 100 * exp(-self.final_nll)
            case "final val_ece":
                return None if self.final_ece is None else 100 * (1 - self.final_ece)
            case _:
                return self.last3_top1

    @property
    def class_names(self) -> list[str]:
        """The names in the order of labels; for an image folder only after the first epoch, and empty without names."""
        if self.spec.dataset in DATASETS and (known := DATASETS[self.spec.dataset].class_names):
            return list(known)
        found = (self.provenance or {}).get("classes")
        return found.split(BETWEEN_CLASSES) if found else []

    @computed_field(description="Seconds until the run ends, while it runs; null when unknown.")  # type: ignore[prop-decorator]
    @property
    def eta_seconds(self) -> float | None:
        if self.state is not State.running:
            return None
        within = self.step / self.steps if self.steps else 0.0
        if self.epoch:
            per_epoch = self.seconds / self.epoch
        elif within:
            per_epoch = self.epoch_seconds / within
        else:
            return None
        return per_epoch * (self.spec.epochs - self.epoch - within)


class Experiment(Stored):
    """A named set of runs: a base spec times the values of its axes."""

    id: str
    name: str
    author: str = ""
    """Who queued it, as they call themselves; empty if nobody has said."""
    created_at: Time
    spec: Annotated[dict[str, Any], BeforeValidator(_from_json)]
    """The base spec as it was given."""
    axes: Annotated[dict[str, list[Any]], BeforeValidator(_from_json)]
    variants: Annotated[list[Variant], BeforeValidator(_from_json)] = []
    """Values of several fields that go together, in place of an axis."""
    queued: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    epochs_done: int = 0
    epochs_total: int = 0
    """Epochs of all runs, without those that failed or cancelled runs will never reach."""
    seconds: float = 0
    """Time spent on all finished epochs."""
    priority: int = 0
    """At which runs that are added are queued."""
    note: str = ""
    noted_by: str = ""
    """Who wrote the note."""
    plan: Annotated[Plan | None, BeforeValidator(_from_json)] = None
    """What it was queued to find out; frozen when it was queued."""
    planned_at: Time | None = None
    """When it was queued with its plan."""
    plan_state: PlanState | None = None
    planning: Annotated[Planning | None, BeforeValidator(_from_json)] = None
    """How far the plan is."""
    max_seeds: int | None = None
    """Seeds that the plan may take by now: its own `max_seeds`, unless it was raised since."""
    plan_changes: int = 0
    """Counts what has happened to the plan and to its runs."""
    deleted: Annotated[list[Annotated[RunSpec, BeforeValidator(_spec)]], BeforeValidator(_from_json)] = []
    """Specs of runs of a plan that a user has deleted: they can never count again."""
    exploratory: bool = False
    """Whether seeds were added after results were seen: its p values do not hold."""
    tune: Annotated[Tuning | None, BeforeValidator(_from_json)] = None
    """What is searched before its variants are compared; its runs are the trials."""
    tuned_by: str | None = None
    """The experiment whose trials have chosen the settings that this one compares."""
    tuned: str = ""
    """How they were chosen, in words."""
    follows: str | None = None
    """The experiment without a plan whose question this one asks again, on new seeds."""
    confirms: str | None = None
    """The experiment whose claims this one tries on fresh seeds."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def runs(self) -> int:
        return self.queued + self.running + self.completed + self.failed + self.cancelled

    @computed_field(description="Share of the epochs that are done, of evaluations alone that of the runs, 0 to 1.")  # type: ignore[prop-decorator]
    @property
    def progress(self) -> float:
        if self.epochs_total:
            return self.epochs_done / self.epochs_total
        return self.completed / self.runs if self.queued or self.running else 1.0

    @computed_field(description="Seconds until the last run ends with as many workers as now; null when unknown.")  # type: ignore[prop-decorator]
    @property
    def eta_seconds(self) -> float | None:
        if not self.epochs_done or not self.running:
            return None
        left = self.epochs_total - self.epochs_done
        return left * self.seconds / self.epochs_done / self.running


class Worker(Stored):
    """A place for one run at a time on one device; a worker process has one or several."""

    name: str
    device: str
    version: str
    slot: int = 1
    """Which of the process's slots this is."""
    slots: int = 1
    """How many runs the process trains at the same time."""
    run_id: str | None = None
    last_seen: Time
    cpu_percent: float | None = None
    """Load of the worker's machine, 0 to 100."""
    memory_bytes: int | None = None
    """Resident memory of the slot's trainer and of the worker process."""
    gpu_percent: float | None = None
    """Share of time in which the device's GPU was busy, 0 to 100; null without a GPU."""
    gpu_memory_bytes: int | None = None
    """Memory of the device's GPU that is in use, by whom ever."""


def _with_zeros(value: Any) -> Any:
    """Rows are stored as counts by column, where there are any; earlier versions stored them whole."""
    rows = _from_json(value)
    return [[row.get(str(column), 0) for column in range(len(rows))] if isinstance(row, dict) else row for row in rows]


class Confusion(Stored):
    """What a model took the test images for at the end of an epoch."""

    epoch: int
    counts: Annotated[list[list[int]], BeforeValidator(_with_zeros)]
    """Images of each class (rows) that were taken for each class (columns)."""


class LogLine(Stored):
    at: Time
    text: str


class SystemReading(Stored):
    """What training took of its machine, since the reading before."""

    at: Time
    cores: float
    """CPU cores that were busy with it, as a mean."""
    memory_bytes: int
    """Resident memory of its process."""
    gpu_percent: float | None = None
    """Share of time in which the GPU was busy, 0 to 100; null without a GPU."""
    gpu_memory_bytes: int | None = None
    """Memory of the GPU that is in use, by whom ever."""
    watts: float | None = None
    """Mean power of the GPU, of all that it does; null where it does not tell."""


class HistoryEntry(Stored):
    """One event in the life of a run."""

    at: Time
    what: str
    """queued, started, resumed, lost, handed back, completed, failed, cancelled, retried or priority."""
    detail: str
    """The worker, the reason or the new value."""
