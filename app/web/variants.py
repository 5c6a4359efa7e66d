"""The named variants of a request: checked one by one, so that a mistake is told with the place where it stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from app.errors import Invalid
from app.limits import NAME_LENGTH
from app.store.variants import Variant
from app.web.problems import unknown_field
from app.web.specs import SpecRequest, parse_spec
from cct.spec import RunSpec

_OF_AXES = {
    "seed": "is no part of a variant, which all seeds are trained with; make it an axis",
    "recipe": "fills many fields, of which a variant would hide what it changes; make it an axis, or name the fields",
}


def named_variants(
    spec: Mapping[str, Any], axes: Mapping[str, Sequence[Any]], given: Sequence[Mapping[str, Any]]
) -> list[Variant]:
    """The variants with the values of all fields that any of them names. Raises `Invalid`, which names the item."""
    shared = {**spec, **{name: values[0] for name, values in axes.items()}}
    specs = [_checked(shared, axes, values, f"variants.{number}") for number, values in enumerate(given)]
    named = dict.fromkeys(name for values in given for name in values if name != "name")
    values_of = [{name: made.value_of(name) for name in named} for made in specs]
    varying = [name for name in named if len({str(values[name]) for values in values_of}) > 1] or list(named)
    ordered = sorted(varying, key=lambda name: name != "pooling")
    variants: list[Variant] = []
    for number, (values, wanted) in enumerate(zip(values_of, given, strict=True)):
        label = _label(values, ordered)
        name = wanted.get("name", label)
        if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH:
            raise Invalid(f"variants.{number}.name", f"{name!r} is not a name of 1 to {NAME_LENGTH} characters")
        for earlier, other in enumerate(variants):
            if other.values == values:
                raise Invalid(f"variants.{number}", f"is the same as variants.{earlier}; each variant is one")
            if other.name == name:
                raise Invalid(f"variants.{number}.name", f"{name!r} is that of variants.{earlier}; name each otherwise")
        variants.append(Variant(name=name, is_named=name != label, values=values))
    return variants


def _checked(
    shared: Mapping[str, Any], axes: Mapping[str, Sequence[Any]], wanted: Mapping[str, Any], where: str
) -> RunSpec:
    values = {name: value for name, value in wanted.items() if name != "name"}
    if not values:
        raise Invalid(where, "names no field; give at least one, such as pooling")
    for name in values:
        if name in axes:
            raise Invalid(f"{where}.{name}", "is given as an axis too; leave it out of one of them")
        if name in _OF_AXES:
            raise Invalid(f"{where}.{name}", _OF_AXES[name])
    try:
        return parse_spec({**shared, **values})
    except Invalid as error:
        raise Invalid(f"{where}.{error.field}", error.message) from error
    except ValidationError as error:
        first = error.errors()[0]
        is_unknown = first["type"] == "extra_forbidden"
        message = unknown_field(first["loc"][-1], SpecRequest) if is_unknown else first["msg"]
        raise Invalid(f"{where}.{'.'.join(map(str, first['loc']))}", message) from error


def _label(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first field's value as it is, those of others with the field's name: `gem, lr 0.002`."""
    first, *others = names
    shown = str(values[first]) if first == "pooling" else f"{first.replace('_', ' ')} {values[first]}"
    return ", ".join([shown, *(f"{name.replace('_', ' ')} {values[name]}" for name in others)])
