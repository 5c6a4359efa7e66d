"""The FastAPI application: routes, errors as problem details, and the built dashboard."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

from celery import Celery
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.errors import BoardError, Invalid, problem_response
from app.events import EventHub
from app.routes import catalog, events, experiments, figures, runs, workers
from app.routes import queue as queue_routes
from app.schemas import Problem, SpecRequest
from app.security import MAX_BODY_BYTES, GuardMiddleware
from app.settings import Settings
from app.store import RunStore

DASHBOARD = Path(__file__).parent.parent / "frontend" / "dist"


def create_app(settings: Settings, store: RunStore, queue: Celery, dashboard: Path | None = DASHBOARD) -> FastAPI:
    """The service over the given store and queue; `dashboard` is the built frontend's folder, None for no pages."""
    hub = EventHub(settings, store)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with hub.running():
            yield

    app = FastAPI(
        title="CCT Board",
        summary="Queues, runs, watches and compares training runs of Compact Convolutional Transformers.",
        version=version("cctboard"),
        lifespan=lifespan,
    )
    app.state.store, app.state.queue, app.state.hub = store, queue, hub
    api = APIRouter(max_body_size=MAX_BODY_BYTES)
    for module in (runs, experiments, queue_routes, figures, events, workers, catalog):
        api.include_router(module.router)
    app.include_router(api)
    if dashboard is not None:
        app.frontend("/", directory=dashboard, fallback="index.html")
    app.add_middleware(GuardMiddleware)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts)
    _tell_errors(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


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
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = str(operation.get("parameters"))
            once = "idempotency-key" in parameters  # whose first request may have been another, or its run deleted
            refusable = method == "delete" or path in ("/runs/{run_id}/cancel", "/runs/{run_id}/retry")
            statuses = [400, 422, 503] + [404] * ("{" in path or "experiment" in parameters or once)
            statuses += [403, 413] * (method != "get") + [409] * (once or refusable)
            for status in statuses:
                operation["responses"][str(status)] = {"description": HTTPStatus(status).phrase, "content": problem}
    app.openapi_schema = document
    return document
