from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.analysis.schedule import expected_starts
from app.store.rows import State
from app.web.dependencies import Store

router = APIRouter(prefix="/queue", tags=["queue"])


class QueueEntry(BaseModel):
    run_id: str
    position: int = Field(description="1 is next")
    starts_in_seconds: float | None = Field(description="Expected time until a worker is free; null when unknown")


class QueueState(BaseModel):
    paused: bool
    entries: Sequence[QueueEntry]


@router.get("", summary="Read the queue, next run first")
def read_queue(store: Store) -> QueueState:
    queued = store.queued_runs()
    others = [run for run in store.runs() if run.state is not State.queued]
    paused = store.paused()
    starts = expected_starts(queued, others, 0 if paused else len(store.workers()))
    entries = [
        QueueEntry(run_id=run.id, position=position, starts_in_seconds=start)
        for position, (run, start) in enumerate(zip(queued, starts, strict=True), start=1)
    ]
    return QueueState(paused=paused, entries=entries)


@router.post("/pause", summary="Start no more runs; what runs goes on")
def pause_queue(store: Store) -> QueueState:
    store.pause(True)
    return read_queue(store)


@router.post("/resume", summary="Start runs again")
def resume_queue(store: Store) -> QueueState:
    store.pause(False)
    return read_queue(store)
