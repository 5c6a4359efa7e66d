"""What is checked of a request before any route sees it."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import problem_response

MAX_BODY_BYTES = 1_000_000


class GuardMiddleware:
    """Refuses large bodies, and what a page of another origin sends through the browser of somebody who may.

    Any other body is read as JSON, whatever type `curl -d` gives it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            headers = Headers(scope=scope)
            origin, length = headers.get("origin"), headers.get("content-length", "0")
            if origin is not None and origin.partition("://")[2] != headers.get("host"):
                detail = f"requests from pages of {origin} are refused; use the board's own address"
                app = problem_response(403, "Foreign origin", detail)
            elif length.isdecimal() and int(length) > MAX_BODY_BYTES:
                detail = f"the body has {length} bytes; at most {MAX_BODY_BYTES} are read"
                app = problem_response(413, "Body too large", detail)
            else:
                MutableHeaders(scope=scope)["content-type"] = "application/json"
        await app(scope, receive, send)
