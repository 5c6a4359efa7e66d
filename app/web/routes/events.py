from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from app.web.dependencies import Hub
from app.web.events import Events

router = APIRouter(tags=["events"])


class EventStream(StreamingResponse):
    media_type = "text/event-stream"


@router.get("/events", response_class=EventStream, responses={200: {"model": Events}}, summary="Follow all changes")
async def follow_events(
    hub: Hub, last_event_id: Annotated[str | None, Header(description="Continue after this event")] = None
) -> EventStream:
    """Server-sent events, each with an id from which a client can continue after its connection broke."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventStream(hub.subscribe(last_event_id), headers=headers)
