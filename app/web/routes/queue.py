from collections.abc import Sequence
from operator import itemgetter
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.analysis.schedule import expected_starts
from app.limits import SPARKLINES
from app.store.rows import State
from app.web.dependencies import Store

SCHEDULED = 1_000
"""Of as many runs of the queue it is computed when they start."""
SHOWN = 100

router = APIRouter(prefix="/queue", tags=["queue"])


class QueueEntry(BaseModel):
    run_id: str
    position: int = Field(description="1 is next")
    starts_in_seconds: float | None = Field(
        description="Expected time until a worker is free; null when unknown, and after 1,000 places"
    )


class QueueState(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    paused: bool
    total: int
    """Runs that wait."""
    last_starts_in_seconds: float | None
    """Expected time until the last of them starts; null when unknown, or when more than 1,000 wait."""
    entries: Sequence[QueueEntry]
    """The runs that were asked for, as far as they wait, or else the first 100; next one first."""


@router.get("", summary="Read the queue, next run first")
def read_queue(
    store: Store,
    run: Annotated[
        list[str], Query(description="Only these runs; without any the first 100", max_length=SPARKLINES)
    ] = [],  # noqa: B006
) -> QueueState:
    first = store.queued_runs(SCHEDULED)
    others = [other for other in store.runs() if other.state is not State.queued]
    paused, total = store.paused(), store.queued()
    expected = expected_starts(first, others, 0 if paused else len(store.workers()))
    starts = {waiting.id: start for waiting, start in zip(first, expected, strict=True)}
    places = store.places(run) if run else {waiting.id: place for place, waiting in enumerate(first[:SHOWN], start=1)}
    return QueueState(
        paused=paused,
        total=total,
        last_starts_in_seconds=expected[-1] if first and total == len(first) else None,
        entries=[
            QueueEntry(run_id=run_id, position=place, starts_in_seconds=starts.get(run_id))
            for run_id, place in sorted(places.items(), key=itemgetter(1))
        ],
    )


@router.post("/pause", summary="Start no more runs; what runs goes on")
def pause_queue(store: Store) -> QueueState:
    store.pause(True)
    return read_queue(store)


@router.post("/resume", summary="Start runs again")
def resume_queue(store: Store) -> QueueState:
    store.pause(False)
    return read_queue(store)
