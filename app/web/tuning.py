"""What a request to tune variants asks for, and what is refused of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.analysis.tuning import Settings, grid_size, propose
from app.errors import Invalid
from app.store.plan import MOST_SEEDS
from app.store.tuning import Tuning
from app.store.variants import Variant
from cct.spec import RunSpec, SpecError

_NOT_SEARCHED = ("seed", "model", "pooling", "dataset", "recipe", "epochs", "val_share", "image_folder")
"""What a trial may not choose: other data, another part of it, more training or what is compared."""


def check(tuning: Tuning, spec: Mapping[str, Any], variants: Sequence[Variant]) -> list[RunSpec]:
    """The first trial of each variant. Raises `Invalid`, which names what is wrong with a search."""
    for name, searched in tuning.fields.items():
        where = f"tune.fields.{name}"
        if name not in RunSpec.__dataclass_fields__ or name in _NOT_SEARCHED:
            raise Invalid(where, f"cannot be searched; search fields of the spec other than {', '.join(_NOT_SEARCHED)}")
        if any(name in one.values for one in variants):
            raise Invalid(where, "is what tells variants apart; search another field")
        if (searched.choices is None) == (searched.low is None or searched.high is None):
            raise Invalid(where, "needs either low and high, or choices")
        if searched.choices is None:
            low, high = searched.low or 0.0, searched.high or 0.0
            if low >= high:
                raise Invalid(where, f"low {low:g} is not below high {high:g}")
            if searched.log and low <= 0:
                raise Invalid(where, "is searched by its logarithm, so low must be above 0")
            if RunSpec.__dataclass_fields__[name].type is str:
                raise Invalid(where, "is no number; give choices")
            if tuning.sampler == "grid" and searched.steps is None:
                raise Invalid(where, "needs steps, the number of its values on the grid")
    if tuning.sampler == "grid" and (size := grid_size(tuning)) != tuning.trials:
        raise Invalid("tune.trials", f"is {tuning.trials}, but the grid has {size} settings; give as many")
    bases = [RunSpec.given({**spec, **one.values}) for one in variants]
    if not all(base.val_share for base in bases):
        raise Invalid(
            "spec.val_share",
            "is 0, so settings would be chosen on the test set, and the comparison would be of what fits it; hold "
            "training data out to choose by, for example 0.1",
        )
    if any(base.is_evaluation for base in bases):
        raise Invalid("tune", "is for runs that are trained; give epochs")
    if max(base.seed for base in bases) + max(MOST_SEEDS, tuning.seeds) >= 2**31 - 1:
        raise Invalid("spec.seed", "leaves the comparison too few seeds; use a smaller one")
    try:
        return [trial_spec(base, propose(tuning, base, [])) for base in bases]
    except SpecError as error:
        raise Invalid(f"tune.fields.{error.field}", error.message) from error


def trial_spec(base: RunSpec, settings: Settings) -> RunSpec:
    """The spec of a trial. Raises `SpecError` if the settings do not go together."""
    return RunSpec(**asdict(base) | settings)
