"""How the API tells of errors: all have the one shape of RFC 9457."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from redis.exceptions import AuthenticationError, ConnectionError, OutOfMemoryError, RedisError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.errors import BoardError, Invalid
from app.web.specs import SpecRequest
from cct.misspelt import meant


class Problem(BaseModel):
    """What went wrong and what to change (RFC 9457), served as `application/problem+json`."""

    class FieldError(BaseModel):
        field: str
        message: str

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: Sequence[FieldError] = ()


def problem_response(status: int, title: str, detail: str, errors: Sequence[dict[str, str]] = ()) -> JSONResponse:
    """The body of every error response; `errors` name the fields at fault and what is allowed."""
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": list(errors)}
    return JSONResponse(content, status, media_type="application/problem+json")


def tell_errors(app: FastAPI, headers: Mapping[str, str]) -> None:
    """Answers every error of the application with a problem; `headers` are those that every answer has."""

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
        return problem_response(503, *_about_database(error))

    @app.exception_handler(Exception)
    def unforeseen(request: Request, error: Exception) -> JSONResponse:
        """Sent from outside all middleware; the server logs the error."""
        response = problem_response(500, "Internal error", "the board made an error; its log tells more")
        response.headers.update(headers)
        return response


def _about_database(error: RedisError) -> tuple[str, str]:
    """Title and detail."""
    if isinstance(error, OutOfMemoryError):
        return "Database full", (
            "the database has no memory left (maxmemory); nothing that is stored is lost, and runs in training wait: "
            "delete runs that you no longer need, or give the database more memory"
        )
    if isinstance(error, AuthenticationError):
        return "Database locked", f"the database refuses this board's password; see CCTBOARD_REDIS_PASSWORD ({error})"
    if isinstance(error, ConnectionError | TimeoutError):  # also while it loads its data
        return "Database unavailable", f"the database does not answer, try again shortly: {error}"
    return "Database refuses", f"the database refuses the command; its log tells more: {error}"


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
        within = error["loc"][1:-1] if in_body else error["loc"][:-1]
        return unknown_field(error["loc"][-1], _model_at(model, within))
    if error["type"] == "literal_error" and (hint := meant(error["input"], re.findall("'([^']*)'", error["msg"]))):
        return f"{error['msg']}; {hint.strip()}"
    return str(error["msg"])


def unknown_field(name: object, model: type[BaseModel]) -> str:
    """What is said of a field that a model does not have."""
    return f"unknown field; {meant(name, model.model_fields)}known are {', '.join(model.model_fields)}"


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    """The model of what stands at `path` in a body of the given one."""
    for part in path:
        if field := model.model_fields.get(str(part)):  # else a key of what is a model for each key
            kind = field.annotation
            [model] = [one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel)]
    return model
