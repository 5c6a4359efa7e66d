from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Response

from app.dependencies import Queue, Store
from app.queue import wake_workers
from app.rows import Run, State
from app.schemas import EXAMPLES, History, Log, RunEdit, RunList, RunRequest, parse_spec
from cct.config import EpochRecord

router = APIRouter(prefix="/runs", tags=["runs"])

Sort = Literal[
    "state", "epoch", "eta_seconds", "best_top1", "final_top1", "started_at", "model", "pooling", "dataset", "seed"
]

IdempotencyKey = Annotated[
    str | None, Header(description="A repeated request with the same key gets the first one's answer", max_length=200)
]


@router.post("", status_code=201, summary="Queue a run")
def create_run(
    store: Store,
    queue: Queue,
    response: Response,
    request: Annotated[
        RunRequest,
        Body(openapi_examples={name: {"value": value} for name, value in EXAMPLES.items()}),
    ],
    idempotency_key: IdempotencyKey = None,
) -> Run:
    """Every field has a default that reproduces the reference recipe, so `{}` is a valid run."""
    spec = parse_spec(request.model_dump(exclude={"priority"}))
    [run] = store.create_runs([spec], request.priority, idempotency_key)
    wake_workers(queue, 1)
    response.headers["Location"] = f"/runs/{run.id}"
    return run


@router.get("", summary="List runs, newest first unless sorted")
def list_runs(
    store: Store,
    state: Annotated[list[State], Query(description="Only runs in one of these states")] = [],  # noqa: B006
    experiment: Annotated[str | None, Query(description="Only runs of this experiment")] = None,
    text: Annotated[str, Query(description="Only runs whose id, spec, note or tags contain this", max_length=200)] = "",
    sort: Annotated[Sort | None, Query(description="Sort by this; runs that lack it come last")] = None,
    descending: Annotated[bool, Query(description="Sort the largest first")] = False,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> RunList:
    runs = store.runs() if experiment is None else store.experiment_runs(experiment)[::-1]
    matching = [run for run in runs if (not state or run.state in state) and _contains(run, text.lower())]
    if sort:
        matching = _sorted(matching, sort, descending)
    return RunList(runs=matching[offset : offset + limit], total=len(matching))


def _contains(run: Run, text: str) -> bool:
    spec = run.spec
    values = (run.id, spec.model, spec.pooling, spec.dataset, run.note, *run.tags)
    return not text or any(text in value.lower() for value in values)


def _sorted(runs: list[Run], by: Sort, descending: bool) -> list[Run]:
    def value(run: Run) -> Any:
        return getattr(run if hasattr(run, by) else run.spec, by)

    known = sorted((run for run in runs if value(run) is not None), key=value, reverse=descending)
    return known + [run for run in runs if value(run) is None]


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


@router.patch("/{run_id}", summary="Change a run's priority, note or tags")
def edit_run(store: Store, run_id: str, edit: RunEdit) -> Run:
    return store.edit(run_id, edit.model_dump(exclude_none=True))


@router.post("/{run_id}/retry", summary="Queue a failed or cancelled run again")
def retry_run(store: Store, queue: Queue, run_id: str) -> Run:
    """It goes on from its last checkpoint."""
    run = store.retry(run_id)
    wake_workers(queue, 1)
    return run


@router.delete("/{run_id}", status_code=204, summary="Delete a run and its checkpoints")
def delete_run(store: Store, run_id: str) -> None:
    """A running run must be cancelled first."""
    store.delete(run_id)
