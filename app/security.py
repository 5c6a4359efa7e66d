"""Keeps foreign web pages from starting or stopping runs through the browser of somebody who may."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import BoardError, problem_response


class ForeignOrigin(BoardError):
    status = 403
    title = "Foreign origin"


class SameOriginMiddleware:
    """Refuses what a page of another origin sends. Any other body is JSON, whatever type `curl -d` gives it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and origin.partition("://")[2] != headers.get("host"):
                error = ForeignOrigin(f"requests from pages of {origin} are refused; use the board's own address")
                await problem_response(error.status, error.title, str(error))(scope, receive, send)
                return
            MutableHeaders(scope=scope)["content-type"] = "application/json"
        await self.app(scope, receive, send)
