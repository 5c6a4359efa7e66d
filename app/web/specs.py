"""The bodies of requests that queue runs are made of the fields of `RunSpec`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from app.errors import Invalid
from app.limits import NAME_LENGTH, NOTE_LENGTH, PRIORITY
from cct.own_poolings import UnusablePooling, full_name
from cct.spec import RunSpec, SpecError


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False, use_attribute_docstrings=True, allow_inf_nan=False)


def _spec_model() -> type[Request]:
    """The request body made of the fields of `RunSpec`, the one place where hyperparameters are declared."""
    declared: dict[str, Any] = {}
    for field in fields(RunSpec):
        limits = dict(field.metadata)
        choices = limits.pop("choices", None)
        kind = Literal[choices] if choices else field.type
        strict = None if choices else True
        declared[field.name] = (kind, Field(default=field.default, strict=strict, **limits))
    return create_model("SpecRequest", __base__=Request, __doc__=RunSpec.__doc__, **declared)


SpecRequest = _spec_model()
"""Any subset of the fields of `RunSpec`."""

Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]
Priority = Annotated[int, Field(strict=True, ge=-PRIORITY, le=PRIORITY, description="Higher is trained earlier")]
Note = Annotated[str, Field(max_length=NOTE_LENGTH)]


def with_full_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of fields, or lists of them, with own poolings by their full names: whatever is queued of them later has
    the code that they have now. A name that is unknown stays, for `parse_spec` to refuse.
    """
    if "pooling" not in given:
        return dict(given)
    pooling = given["pooling"]
    return {**given, "pooling": [*map(_full_name, pooling)] if isinstance(pooling, list) else _full_name(pooling)}


def _full_name(pooling: Any) -> Any:
    try:
        return full_name(pooling) if isinstance(pooling, str) else pooling
    except UnusablePooling:
        return pooling


def parse_spec(given: dict[str, Any]) -> RunSpec:
    """The checked spec. Raises pydantic's `ValidationError` or `Invalid`, which name the field."""
    request = SpecRequest.model_validate(given)
    try:
        return RunSpec.given(request.model_dump(exclude_unset=True))
    except SpecError as error:
        raise Invalid(error.field, error.message) from error
