"""The FastAPI application: routes, errors as problem details, and the built dashboard."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from socket import socket

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware

from app.errors import NotFound
from app.settings import Settings
from app.store.run_store import RunStore
from app.web.events import EventHub
from app.web.openapi import openapi
from app.web.own_poolings import watching
from app.web.pages import PrefixMiddleware, add_dashboard, prefix_of
from app.web.planner import Planner
from app.web.problems import tell_errors
from app.web.read_ahead import read_ahead
from app.web.routes import (
    catalog,
    confusion,
    docs,
    events,
    experiments,
    figures,
    files,
    health,
    images,
    lens,
    plans,
    poolings,
    results,
    runs,
    session,
    tuning,
    workers,
)
from app.web.routes import queue as queue_routes
from app.web.security import (
    SECURITY_HEADERS,
    Access,
    CacheHeadersMiddleware,
    GuardMiddleware,
    SecurityHeadersMiddleware,
)
from app.web.webhook import Webhook
from cct import own_poolings

_INSTALLED = Path(__file__).parent / "dashboard"  # in a wheel, see setup.py
DASHBOARD = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[2] / "frontend" / "dist"


def create_app(settings: Settings, store: RunStore, dashboard: Path | None = DASHBOARD) -> FastAPI:
    """The service over the given store; `dashboard` is the built frontend's folder, None for no pages."""
    own_poolings.use(settings.poolings_folder)
    hub = EventHub(settings, store)
    access = Access(settings.token)
    planner = Planner(store)
    webhook = Webhook(settings, store, settings.webhook.get_secret_value()) if settings.webhook else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        import_module("scipy.special")  # whole before the first request: Plotly trips over a NumPy half imported
        with planner.running(), watching(store), webhook.running() if webhook else nullcontext():
            async with hub.running():
                reading = asyncio.create_task(run_in_threadpool(read_ahead, store))
                yield
                await reading

    app = FastAPI(
        title="CCT Board",
        summary="Queues, runs, watches and compares training runs of Compact Convolutional Transformers.",
        version=version("cctboard"),
        lifespan=lifespan,
        redirect_slashes=False,  # to an address as the board sees it, which behind a proxy is another
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.store, app.state.hub, app.state.access = store, hub, access
    nouns = (
        runs,
        files,
        experiments,
        plans,
        queue_routes,
        figures,
        tuning,
        confusion,
        images,
        lens,
        events,
        workers,
        catalog,
        poolings,
        results,
    )
    for module in (*nouns, session, health, docs):
        app.include_router(module.router, dependencies=[Depends(_check_ids)])
    app.mount("/docs/files", StaticFiles(packages=[docs.FILES]))
    if dashboard is not None:
        add_dashboard(app, dashboard)
    app.add_middleware(GZipMiddleware, minimum_size=1_000, compresslevel=5)
    app.add_middleware(CacheHeadersMiddleware)
    app.add_middleware(GuardMiddleware, access=access, hosts=settings.allowed_hosts)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    app.add_middleware(PrefixMiddleware, prefix=prefix_of(settings.url, app))
    app.add_middleware(SecurityHeadersMiddleware)
    tell_errors(app, SECURITY_HEADERS)
    return app


def serve(app: FastAPI, host: str, port: int, listener: int | None = None) -> None:
    """Serves the application until SIGTERM or Ctrl-C.

    `listener` is the descriptor of a socket that is bound already, by a process that shares the load over several: this
    one ends with it.
    """
    config = uvicorn.Config(
        app, host, port, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=3
    )
    server = _Server(config)
    if listener is not None:
        threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    with suppress(KeyboardInterrupt):
        server.run(None if listener is None else [socket(fileno=listener)])
    if not server.started:
        sys.exit(1)


def _end_with_parent() -> None:
    """Its end of our standard input closes however it ends."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


class _Server(uvicorn.Server):
    """Keeps event streams from waiting for the garbage collector, and ends them before it waits for their end."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        # Looking for garbage in all that is loaded, or in 1,000 streams, stops everything for 0.1 to 0.2 s. What is
        # loaded stays; and streams that wait, each with new objects for each event, only look like growth.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self.config.app.state.hub.end_streams()  # type: ignore[union-attr]
        await super().shutdown(sockets)


async def _check_ids(request: Request) -> None:
    """What has other characters than ids have could name another key of the database than a run's own."""
    ids = [(name[:-3], value) for name, value in request.path_params.items() if name.endswith("_id")]
    ids += [(name, value) for name, value in request.query_params.multi_items() if name in ("run", "experiment")]
    for kind, value in ids:
        if value and not (value.isascii() and value.isalnum()):
            raise NotFound(kind, value)
