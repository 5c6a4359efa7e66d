"""The FastAPI application: routes, errors as problem details, and the built dashboard."""

import gc
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from http import HTTPStatus
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from socket import socket
from typing import Any

import uvicorn
from celery import Celery
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from app.errors import BoardError, Invalid, NotFound, problem_response
from app.settings import Settings
from app.store.run_store import RunStore
from app.web.events import EventHub
from app.web.routes import (
    catalog,
    confusion,
    docs,
    events,
    experiments,
    figures,
    files,
    health,
    lens,
    runs,
    session,
    workers,
)
from app.web.routes import queue as queue_routes
from app.web.schemas import Problem, SpecRequest
from app.web.security import (
    SECURITY_HEADERS,
    Access,
    CacheHeadersMiddleware,
    GuardMiddleware,
    SecurityHeadersMiddleware,
    is_public,
)
from app.web.webhook import Webhook

DASHBOARD = Path(__file__).parent.parent.parent / "frontend" / "dist"


def create_app(settings: Settings, store: RunStore, queue: Celery, dashboard: Path | None = DASHBOARD) -> FastAPI:
    """The service over the given store and queue; `dashboard` is the built frontend's folder, None for no pages."""
    hub = EventHub(settings, store)
    access = Access(settings.token)
    webhook = Webhook(settings, store, settings.webhook.get_secret_value()) if settings.webhook else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        import_module("scipy.special")  # whole before the first request: Plotly trips over a NumPy half imported
        with webhook.running() if webhook else nullcontext():
            async with hub.running():
                yield

    app = FastAPI(
        title="CCT Board",
        summary="Queues, runs, watches and compares training runs of Compact Convolutional Transformers.",
        version=version("cctboard"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.store, app.state.queue, app.state.hub, app.state.access = store, queue, hub, access
    nouns = (runs, files, experiments, queue_routes, figures, confusion, lens, events, workers, catalog)
    for module in (*nouns, session, health, docs):
        app.include_router(module.router, dependencies=[Depends(_check_ids)])
    app.mount("/docs/files", StaticFiles(packages=[docs.FILES]))
    if dashboard is not None:
        app.frontend("/", directory=dashboard, fallback="index.html")
    app.add_middleware(GZipMiddleware, minimum_size=1_000, compresslevel=5)
    app.add_middleware(CacheHeadersMiddleware)
    app.add_middleware(GuardMiddleware, access=access, hosts=settings.allowed_hosts)
    app.add_middleware(SecurityHeadersMiddleware)
    _tell_errors(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serves the application until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        app, host, port, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=3
    )
    server = _Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)


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


def _tell_errors(app: FastAPI) -> None:
    @app.exception_handler(BoardError)
    def board_error(request: Request, error: BoardError) -> JSONResponse:
        errors = [{"field": error.field, "message": error.message}] if isinstance(error, Invalid) else []
        return problem_response(error.status, error.title, str(error), errors)

    @app.exception_handler(RequestValidationError)
    @app.exception_handler(ValidationError)
    def validation_error(request: Request, error: RequestValidationError | ValidationError) -> JSONResponse:
        errors = [{"field": _path(e["loc"]), "message": _message(e, request, error)} for e in error.errors()]
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
        return problem_response(Invalid.status, Invalid.title, detail, errors)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        response = problem_response(error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RedisError)
    def database_error(request: Request, error: RedisError) -> JSONResponse:
        return problem_response(503, "Database unavailable", f"Redis does not answer, try again shortly: {error}")

    @app.exception_handler(Exception)
    def unforeseen(request: Request, error: Exception) -> JSONResponse:
        """Sent from outside all middleware; the server logs the error."""
        response = problem_response(500, "Internal error", "the board made an error; its log tells more")
        response.headers.update(SECURITY_HEADERS)
        return response


def _path(location: Sequence[int | str]) -> str:
    """The field as the user wrote it: without FastAPI's "body" or "query" in front."""
    parts = location[1:] if location and location[0] in ("body", "query", "path", "header") else location
    return ".".join(str(part) for part in parts) or "body"


def _message(error: Any, request: Request, whole: RequestValidationError | ValidationError) -> str:
    if error["type"] == "json_invalid":
        return f"is not valid JSON: {error['ctx']['error']} at character {error['loc'][-1]}"
    if error["type"] == "extra_forbidden":
        in_body = isinstance(whole, RequestValidationError)  # else in the spec that an experiment's body contains
        model = request.scope["route"].body_field.field_info.annotation if in_body else SpecRequest
        return f"unknown field; known are {', '.join(model.model_fields)}"
    return str(error["msg"])


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document with the errors as they are really sent, and the figure's shape."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas["FieldError"] = schemas["Problem"].pop("$defs")["FieldError"]
    schemas["Figure"] = {
        "type": "object",
        "description": "A Plotly figure",
        "properties": {"data": {"type": "array", "items": {"type": "object"}}, "layout": {"type": "object"}},
        "required": ["data", "layout"],
    }
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"token": []}]  # a board for its own machine alone has no token
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = str(operation.get("parameters"))
            once = "idempotency-key" in parameters  # whose first request may have been another, or its run deleted
            untimely = ("/runs/{run_id}/cancel", "/runs/{run_id}/retry", "/figures/confusion", "/figures/classes")
            refusable = method == "delete" or path in (*untimely, "/lens/images")
            findable = "{" in path or "experiment" in parameters or path == "/runs/sparklines" or once
            statuses = [400, 422, 503] + [404] * findable
            statuses += [403, 408, 413] * (method != "get") + [409] * (once or refusable)
            if is_public(method.upper(), path):
                operation["security"] = []
            if "security" not in operation or (method, path) == ("post", "/session"):
                statuses += [401, 429]
            for status in statuses:
                operation["responses"][str(status)] = {"description": HTTPStatus(status).phrase, "content": problem}
    app.openapi_schema = document
    return document
