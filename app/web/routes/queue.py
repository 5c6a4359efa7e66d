from fastapi import APIRouter

from app.analysis.schedule import expected_starts
from app.queue import wake_workers
from app.store.rows import State
from app.web.dependencies import Queue, Store
from app.web.schemas import QueueEntry, QueueState

router = APIRouter(prefix="/queue", tags=["queue"])


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
def resume_queue(store: Store, queue: Queue) -> QueueState:
    store.pause(False)
    wake_workers(queue, store.queued())
    return read_queue(store)
