from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from app.web.dependencies import Hub

router = APIRouter(tags=["events"])


class EventStream(StreamingResponse):
    media_type = "text/event-stream"


@router.get("/events", response_class=EventStream, summary="Follow all changes")
async def follow_events(
    hub: Hub, last_event_id: Annotated[str | None, Header(description="Continue after this event")] = None
) -> EventStream:
    """Server-sent events: `run` and `experiment` (the row after a change), `epoch` (run_id, experiment_id, record),
    `queue` (paused or not), `deleted` (run_id or experiment_id), `worker` (the list), `own_image` (id: runs have
    said more of it), `news` (what: `experiment_ended` or `run_failed`, and of what), `database` (reachable or not; once
    it is again, read everything again), `reset` (too much was missed: read everything again)."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventStream(hub.subscribe(last_event_id), headers=headers)
