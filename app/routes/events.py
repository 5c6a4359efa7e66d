from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.dependencies import Hub

router = APIRouter(tags=["events"])


@router.get("/events", response_class=EventSourceResponse, summary="Follow all changes")
async def follow_events(
    hub: Hub, last_event_id: Annotated[str | None, Header(description="Continue after this event")] = None
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `run` and `experiment` (the row after a change), `epoch` (run_id, experiment_id, record),
    `queue` (paused or not), `deleted` (run_id or experiment_id), `worker` (the list), `database` (reachable or not; once
    it is again, read everything again), `reset` (too much was missed: read everything again)."""
    yield ServerSentEvent(comment="connected", retry=1_000)
    async for event in hub.subscribe(last_event_id):
        yield ServerSentEvent(raw_data=event.data, event=event.kind, id=event.id)
