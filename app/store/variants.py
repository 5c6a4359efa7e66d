"""Variants that an experiment names itself: values of several fields that go together, which no product of axes has."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from cct.spec import RunSpec

VARIANT = "variant"
"""Groups runs like a field of the spec."""


class Variant(BaseModel):
    """Fields of a spec by which runs of an experiment are told apart."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    name: str
    is_named: bool = False
    """Whether the name says something else than the values, of which it is made where none is given."""
    values: dict[str, Any]
    """Of every field that any variant of the experiment names."""


def variant_of(spec: RunSpec, variants: Sequence[Variant]) -> Variant | None:
    """The one of an experiment's variants whose values a spec has."""
    return next(
        (one for one in variants if all(spec.value_of(field) == value for field, value in one.values.items())), None
    )
