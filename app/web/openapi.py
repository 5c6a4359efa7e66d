"""The API's OpenAPI document."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.web.problems import Problem
from app.web.security import is_public


def openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document with the errors as they are really sent, and the figure's shape."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    document["servers"] = [{"url": ".", "description": "Where this document is"}]
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
    # FastAPI says of the stream that it is text, which the model of its events contradicts.
    document["paths"]["/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"].pop("type")
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = str(operation.get("parameters"))
            once = "idempotency-key" in parameters  # whose first request may have been another, or its run deleted
            untimely = ("/runs/{run_id}/cancel", "/runs/{run_id}/retry", "/figures/confusion", "/figures/classes")
            refusable = method == "delete" or path in (*untimely, "/images", "/lens/images")
            findable = (
                "{" in path
                or "experiment" in parameters
                or path in ("/runs/sparklines", "/queue", "/figures/system")
                or once
            )
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
