"""The built dashboard, and where the board is in the eyes of a browser.

A proxy may put the board below a path of its own, such as `/cct/`. Whatever names another place of the board does so
relative to where it stands, so that the board need not know of it: pages name their files so, answers what they have
created, and scripts find the API from their own address. Only where a proxy passes that path on, the board must be told
its address (`CCTBOARD_URL`).
"""

import logging
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic_settings import SettingsError
from starlette.types import ASGIApp, Receive, Scope, Send

PAGES = ("/", "/board", "/board/{rest:path}")
NOT_BUILT = Path(__file__).parent / "not_built"
"""Shown in the place of a dashboard that was not built."""

logger = logging.getLogger(__name__)


def add_dashboard(app: FastAPI, folder: Path) -> None:
    """Serves the pages and their files from the folder of the build."""
    if not (folder / "index.html").exists():
        logger.warning("the dashboard is not built; `make dashboard` does so, then start the board again")
        folder = NOT_BUILT
    index = folder / "index.html"

    def show_page(request: Request) -> HTMLResponse:
        """The one page, whose scripts draw what its address names; it finds them from there."""
        up = "../" * (request.url.path.count("/") - 1)
        return HTMLResponse(index.read_text(encoding="utf-8").replace('="./', f'="{up or "./"}'))

    for path in PAGES:
        app.add_api_route(path, show_page, methods=["GET", "HEAD"], include_in_schema=False)
    app.frontend("/", directory=folder, fallback="index.html")


class PrefixMiddleware:
    """Takes off the path by which the board is known outside, where a proxy has not done so; empty: there is none."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if self._prefix and scope["type"] == "http":
            if scope["path"] == self._prefix:
                # Without the slash, what is named relative to the page would be looked for beside the board.
                query = scope["query_string"].decode()
                app = RedirectResponse(f"{self._prefix.rpartition('/')[2]}/{'?' if query else ''}{query}")
            elif scope["path"].startswith(f"{self._prefix}/"):
                path = scope["path"].removeprefix(self._prefix)
                scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)


def prefix_of(url: str, app: FastAPI) -> str:
    """The path of the board's address, without a slash at its end; empty for a board that has its address alone.

    Raises `SettingsError` for what is no address, and for a path that cannot be told from one of the application's own.
    """
    try:
        prefix = unquote(urlsplit(url).path).rstrip("/")
    except ValueError as error:
        raise SettingsError(f"CCTBOARD_URL: {url!r} is no address ({error})") from error
    if not prefix.startswith("/"):
        return ""
    own = {path.split("/")[1] for path in (*app.openapi()["paths"], *PAGES, "/assets", "/docs", "/metrics")}
    if prefix.split("/")[1] in own:
        raise SettingsError(f"CCTBOARD_URL: {prefix}/ has pages of the board's own; choose another path, such as /cct/")
    return prefix
