from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Query, Response
from fastapi import Request as FastAPIRequest
from pydantic import BaseModel, Field

from app.analysis.statistics import Stat, stat_of_percents
from app.errors import Invalid
from app.limits import NAME_LENGTH, RUNS_PER_PAGE, SPARKLINES, TAG_LENGTH, TAGS
from app.store.extension import extend
from app.store.rows import HistoryEntry, LogLine, Run, State, SystemReading
from app.web.demo import EXAMPLES
from app.web.dependencies import Store
from app.web.own_poolings import refuse_unusable
from app.web.specs import Note, Priority, Request, SpecRequest, parse_spec
from cct.events import EpochRecord
from cct.spec import RunSpec

router = APIRouter(prefix="/runs", tags=["runs"])

Sort = Literal[
    "state",
    "epoch",
    "eta_seconds",
    "best_top1",
    "final_top1",
    "test_top1",
    "started_at",
    "model",
    "pooling",
    "dataset",
    "seed",
]
GroupBy = Literal["pooling", "model", "dataset", "experiment", "tag"]
Archived = Literal["hidden", "only", "shown"]
SPARKLINE_POINTS = 24
_FIELDS = tuple(field.name for field in fields(RunSpec))

Tag = Annotated[str, Field(min_length=1, max_length=TAG_LENGTH)]

IdempotencyKey = Annotated[
    str | None,
    Header(description="A repeated request with the same key gets the first one's answer", max_length=NAME_LENGTH),
]


Tags = Annotated[list[Tag], Field(max_length=TAGS)]


class RunRequest(SpecRequest):  # type: ignore[valid-type, misc]
    """Body of `POST /runs`: the fields of a spec, and how the queue treats the run."""

    priority: Priority = 0


class RunEdit(Request):
    """What can be changed of a run at any time; fields that are left out stay as they are."""

    priority: Priority | None = None
    note: Note | None = None
    tags: Tags | None = None
    """Instead of those it has."""
    add_tags: Tags | None = None
    """Those it has stay, also those that somebody else adds at the same time."""
    remove_tags: Tags | None = None
    archived: bool | None = Field(default=None, strict=True)
    counts: bool | None = Field(default=None, strict=True)
    """Of a result from elsewhere: whether it enters verdicts."""


class MoreEpochs(Request):
    """How long a completed run is to be trained."""

    epochs: Annotated[int, Field(strict=True, ge=1, description="All epochs, with those that it has")]


class RunList(BaseModel):
    runs: Sequence[Run]
    total: int = Field(description="Runs that match, on all pages")


class RunGroup(BaseModel):
    """The runs of a query that share a value."""

    value: str | None = Field(description="What they share; null for runs that have none. Of an experiment the id")
    split: dict[str, str] = Field(description="What else they share, by the fields of the spec that were asked for")
    mixed: dict[str, list[str]] = Field(
        description="Fields of the spec, but for the seed, in which the runs that are averaged differ, with the values"
    )
    runs: int
    states: dict[State, int]
    best_top1: Stat | None = Field(description="Highest top-1 of any epoch, of completed runs")
    final_top1: Stat | None = Field(description="Top-1 of the last epoch, of completed runs")
    test_top1: Stat | None = Field(description="Top-1 on the test set, of completed runs that hold training data out")


class RunGroups(BaseModel):
    groups: Sequence[RunGroup]


class Sparkline(BaseModel):
    """A run's validation top-1, at a few epochs from the first to the newest."""

    run_id: str
    epochs: list[int]
    val_top1: list[float]


class Sparklines(BaseModel):
    sparklines: Sequence[Sparkline]


class Log(BaseModel):
    lines: Sequence[LogLine]


class System(BaseModel):
    readings: Sequence[SystemReading]


class History(BaseModel):
    entries: Sequence[HistoryEntry]


@router.post("", status_code=201, summary="Queue a run")
def create_run(
    store: Store,
    response: Response,
    request: Annotated[
        RunRequest,
        Body(openapi_examples={name: {"value": value} for name, value in EXAMPLES.items()}),
    ],
    idempotency_key: IdempotencyKey = None,
) -> Run:
    """Every field has a default that reproduces the reference recipe, so `{}` is a valid run."""
    spec = parse_spec(request.model_dump(exclude={"priority"}, exclude_unset=True))
    refuse_unusable(store, [spec])
    [run] = store.create_runs([spec], request.priority, idempotency_key)
    response.headers["Location"] = f"runs/{run.id}"  # relative: a proxy may have put the board below a path
    return run


def _matching_runs(
    store: Store,
    state: Annotated[list[State], Query(description="Only runs in one of these states")] = [],  # noqa: B006
    experiment: Annotated[str | None, Query(description="Only runs of this experiment; empty: of none")] = None,
    pooling: Annotated[str | None, Query(description="Only runs with this pooling")] = None,
    model: Annotated[str | None, Query(description="Only runs of this model")] = None,
    dataset: Annotated[str | None, Query(description="Only runs on this dataset")] = None,
    tag: Annotated[str | None, Query(description="Only runs with this tag; empty: without any")] = None,
    text: Annotated[
        str, Query(description="Only runs whose id, spec, author, note or tags contain this", max_length=NAME_LENGTH)
    ] = "",
    archived: Annotated[Archived, Query(description="Whether archived runs are left out")] = "hidden",
    where: Annotated[
        list[str], Query(description="Only runs whose spec has this FIELD=VALUE", examples=[["lr=0.002"]])
    ] = [],  # noqa: B006
) -> list[Run]:
    """Newest first."""
    runs = store.experiment_runs(experiment)[::-1] if experiment else store.runs()
    if experiment == "":
        runs = [run for run in runs if run.experiment_id is None]
    if archived != "shown":
        runs = [run for run in runs if run.archived == (archived == "only")]
    for name, wanted in {"pooling": pooling, "model": model, "dataset": dataset}.items():
        if wanted is not None:
            runs = [run for run in runs if getattr(run.spec, name) == wanted]
    for wanted_value in where:
        name, _, text_of = wanted_value.partition("=")
        _check_field("where", name)
        runs = [run for run in runs if str(getattr(run.spec, name)) == text_of]
    if tag is not None:
        runs = [run for run in runs if (tag in run.tags if tag else not run.tags)]
    if state:
        runs = [run for run in runs if run.state in state]
    return [run for run in runs if _contains(run, text.lower())] if text else runs


MatchingRuns = Annotated[list[Run], Depends(_matching_runs)]


@router.get("", summary="List runs, newest first unless sorted")
def list_runs(
    matching: MatchingRuns,
    sort: Annotated[Sort | None, Query(description="Sort by this; runs that lack it come last")] = None,
    descending: Annotated[bool, Query(description="Sort the largest first")] = False,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=RUNS_PER_PAGE)] = 100,
) -> RunList:
    if sort:
        matching = _sorted(matching, sort, descending)
    return RunList(runs=matching[offset : offset + limit], total=len(matching))


@router.get("/groups", summary="Count and average runs by what they share")
def group_runs(
    matching: MatchingRuns,
    by: GroupBy,
    split: Annotated[
        list[str], Query(description="Fields of the spec by whose values groups are split, so that like is with like")
    ] = [],  # noqa: B006
) -> RunGroups:
    """The groups with the best mean of the final top-1 come first. A run with several tags is in several groups.

    What is averaged over in a group is told as `mixed`.
    """
    for field in split:
        _check_field("split", field)
    groups: dict[tuple[str | None, *tuple[str, ...]], list[Run]] = {}
    for run in matching:
        for value in _shared(run, by):
            groups.setdefault((value, *(str(getattr(run.spec, field)) for field in split)), []).append(run)
    rows = [
        _summary(value, dict(zip(split, values, strict=True)), by, runs) for (value, *values), runs in groups.items()
    ]
    return RunGroups(groups=sorted(rows, key=lambda row: -row.final_top1.mean if row.final_top1 else 1))


@router.get("/sparklines", summary="Read the course of runs' validation top-1 at a few epochs")
def read_sparklines(
    store: Store,
    run: Annotated[
        list[str], Query(description="The runs whose course is asked for", min_length=1, max_length=SPARKLINES)
    ],
) -> Sparklines:
    """Runs that are not there are left out."""
    runs = [known for known in store.runs() if known.id in set(run)]
    lines = zip(runs, store.sparklines(runs, SPARKLINE_POINTS), strict=True)
    return Sparklines(
        sparklines=[Sparkline(run_id=run.id, epochs=list(line), val_top1=list(line.values())) for run, line in lines]
    )


def _contains(run: Run, text: str) -> bool:
    of_spec = (run.spec.model, run.spec.pooling, run.spec.dataset)
    return any(text in value.lower() for value in (run.id, *of_spec, run.author, run.note, *run.tags))


def _sorted(runs: list[Run], by: Sort, descending: bool) -> list[Run]:
    def value(run: Run) -> Any:
        return getattr(run if hasattr(run, by) else run.spec, by)

    known = sorted((run for run in runs if value(run) is not None), key=value, reverse=descending)
    return known + [run for run in runs if value(run) is None]


def _shared(run: Run, by: GroupBy) -> Sequence[str | None]:
    if by == "tag":
        return run.tags or [None]
    return [run.experiment_id if by == "experiment" else getattr(run.spec, by)]


def _check_field(parameter: str, name: str) -> None:
    if name not in _FIELDS:
        raise Invalid(parameter, f"{name!r} is no field of a spec; choose one of {', '.join(_FIELDS)}")


def _mixed(by: GroupBy, runs: Sequence[Run]) -> dict[str, list[str]]:
    """What runs differ in besides the seed and what they are grouped by; a recipe is told by its fields."""
    names = [name for name in _FIELDS if name not in ("seed", "recipe", by)]
    found = {name: sorted({getattr(run.spec, name) for run in runs}) for name in names}
    return {name: [str(value) for value in values] for name, values in found.items() if len(values) > 1}


def _summary(value: str | None, split: dict[str, str], by: GroupBy, runs: Sequence[Run]) -> RunGroup:
    completed = [run for run in runs if run.state is State.completed]  # others would be compared at different epochs
    return RunGroup(
        value=value,
        split=split,
        mixed=_mixed(by, completed or runs),
        runs=len(runs),
        states=Counter(run.state for run in runs),
        best_top1=stat_of_percents(run.best_top1 for run in completed if run.best_top1 is not None),
        final_top1=stat_of_percents(run.final_top1 for run in completed if run.final_top1 is not None),
        test_top1=stat_of_percents(run.test_top1 for run in completed if run.test_top1 is not None),
    )


@router.get("/{run_id}", summary="Read a run")
def read_run(store: Store, run_id: str) -> Run:
    return store.run(run_id)


@router.get("/{run_id}/epochs", summary="Read what a run's epochs measured")
def read_epochs(store: Store, run_id: str) -> Sequence[EpochRecord]:
    store.run(run_id)
    return store.epochs([run_id])[0]


@router.get("/{run_id}/log", summary="Read what a run's trainer printed")
def read_log(store: Store, run_id: str) -> Log:
    return Log(lines=store.log(run_id))


@router.post("/{run_id}/cancel", summary="Cancel a run")
def cancel_run(store: Store, run_id: str) -> Run:
    """A queued run is cancelled at once, a running one after its current step; what was measured is kept."""
    return store.cancel(run_id)


@router.get("/{run_id}/history", summary="Read a run's time line")
def read_history(store: Store, run_id: str) -> History:
    return History(entries=store.history(run_id))


@router.get("/{run_id}/system", summary="Read what training a run took of its machine")
def read_system(store: Store, run_id: str) -> System:
    """Cores, memory and, where there is a GPU, its load, memory and power, every few seconds while it is trained."""
    return System(readings=store.system(run_id))


@router.patch("/{run_id}", summary="Change a run's priority, note or tags, or archive it")
def edit_run(store: Store, run_id: str, edit: RunEdit) -> Run:
    if edit.counts is not None and store.run(run_id).external is None:
        raise Invalid("counts", f"run {run_id} was trained here, and counts; only results from elsewhere need not")
    if edit.add_tags or edit.remove_tags:
        store.edit_tags(run_id, edit.add_tags or [], edit.remove_tags or [])
    return store.edit(run_id, edit.model_dump(exclude_none=True, exclude={"add_tags", "remove_tags"}))


@router.post("/{run_id}/retry", summary="Queue a failed or cancelled run again")
def retry_run(store: Store, run_id: str) -> Run:
    """It goes on from its last checkpoint."""
    return store.retry(run_id)


@router.post("/{run_id}/extend", status_code=201, summary="Train a completed run for more epochs, as a new run")
def extend_run(
    request: FastAPIRequest,
    store: Store,
    response: Response,
    run_id: str,
    more: MoreEpochs,
    idempotency_key: IdempotencyKey = None,
) -> Run:
    """It has the spec, weights and optimizer's state of this one, and its epochs.

    After them the learning rate follows the schedule of the new number of epochs, so that it jumps up: this is not the
    same as as many epochs in one go, which the new run's warnings and comparisons tell.
    """
    extending = extend(request.app.state.settings, store, run_id, more.epochs, idempotency_key)
    response.headers["Location"] = f"../{extending.id}"
    return extending


@router.delete("/{run_id}", status_code=204, summary="Delete a run and its checkpoints")
def delete_run(store: Store, run_id: str) -> None:
    """A running run must be cancelled first."""
    store.delete(run_id)
