"""What is searched before variants are compared: the same fields, in the same ranges, as often for each of them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.store.plan import Plan

Sampler = Literal["tpe", "random", "grid"]


class Searched(BaseModel):
    """Values of a field that are tried: a range, or choices."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)

    low: float | None = None
    high: float | None = None
    """Both ends of a range are in it."""
    log: bool = False
    """Whether a range is searched by its logarithm, as is usual for learning rates."""
    steps: Annotated[int, Field(ge=2, le=100)] | None = None
    """How many values of a range a grid has."""
    choices: list[Any] | None = Field(default=None, min_length=2, max_length=100)


class Tuning(BaseModel):
    """Each variant is tried with as many settings; then its best one is trained with fresh seeds and compared."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)

    fields: dict[str, Searched] = Field(min_length=1, max_length=10)
    """What is searched, by field of the spec."""
    trials: Annotated[int, Field(ge=2, le=200, strict=True)] = 12
    """Settings that are tried of every variant; the first is that of the spec, if it lies within the ranges."""
    sampler: Sampler = "tpe"
    """Who proposes: Optuna's tree-structured Parzen estimator, chance, or a grid."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)] = 0
    """Of what is proposed. Trials are trained with the seed of the spec, the comparison with the seeds after it."""
    prune: bool = False
    """Whether a trial is stopped early whose best epoch so far is below the median of earlier ones at that epoch."""
    seeds: Annotated[int, Field(ge=2, le=50, strict=True)] = 5
    """Fresh seeds with which each variant's best setting is trained for the comparison."""
    plan: Plan | None = None
    """With a plan for the comparison, it takes as many seeds as it needs instead."""

    @property
    def told(self) -> str:
        """The search in words: `12 trials by tpe over lr 0.0001 to 0.01 (log)`."""
        by = ", ".join(f"{name.replace('_', ' ')} {_told(searched)}" for name, searched in self.fields.items())
        return f"{self.trials} trials by {self.sampler} over {by}"


def _told(searched: Searched) -> str:
    if searched.choices is not None:
        return " / ".join(map(str, searched.choices))
    return f"{searched.low:g} to {searched.high:g}{' (log)' if searched.log else ''}"
