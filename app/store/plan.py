"""What an experiment was queued to find out: declared before its first run, frozen, and the rule by which it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cct.spec import RunSpec

Measure = Literal[
    "final val_top1",
    "best val_top1",
    "mean val_top1 of the last 3 epochs",
    "final test_top1",
    "final val_balanced",
    "final val_nll",
    "final val_ece",
]

FINAL: Measure = "final val_top1"
BEST: Measure = "best val_top1"
MEAN: Measure = "mean val_top1 of the last 3 epochs"
TEST: Measure = "final test_top1"
BALANCED: Measure = "final val_balanced"
LIKELIHOOD: Measure = "final val_nll"
CALIBRATION: Measure = "final val_ece"
"""Of runs that hold training data out."""

MOST_SEEDS = 200
"""The rule's error rates hold up to so many, however often a budget is raised."""
TRIED_AGAIN = ("lost", "out of memory")
"""Failures that say nothing about the variant."""
TRIES_AGAIN = 2
"""How often a plan itself queues a run again that failed so."""


def _as_variant(value: Any) -> Any:
    """Values of a field are written as JSON has them, variants are their names."""
    return str(value) if isinstance(value, bool | int | float) else value


class Plan(BaseModel):
    """Seeds are queued until each variant is better than, worse than or like the baseline, or the seeds are spent."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)

    baseline: Annotated[str, BeforeValidator(_as_variant)] = "seqpool"
    """The variant that all others are compared with."""
    measure: Measure = "final val_top1"
    """The one result that decides."""
    smallest_difference: Annotated[float, Field(gt=0, le=100)] = 0.5
    """Points below which variants count as alike."""
    alpha: Annotated[float, Field(ge=0.001, le=0.2)] = 0.05
    """Chance that any false claim is made, however often anyone looks."""
    first_look: Annotated[int, Field(ge=3, le=20, strict=True)] = 3
    """Seeds that every variant is trained with before the first decision."""
    max_seeds: Annotated[int, Field(ge=3, le=MOST_SEEDS, strict=True)] = 20
    """Seeds after which a variant that is still open stays undecided."""


PlanState = Literal["open", "ended", "cancelled", "arriving"]
"""Seeds are queued; all is settled or the seeds are spent; a user has cancelled; an archive is still being read."""
Outcome = Literal["baseline", "open", "better", "worse", "alike", "undecided", "void"]


class PlannedVariant(BaseModel):
    """How far the plan is with one variant."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    outcome: Outcome = "open"
    """Void: a run that counts was cancelled or deleted, so that nothing can be guaranteed any more."""
    seeds: int = 0
    """Seeds that counted in its newest look."""
    settled_at: datetime | None = None
    """When its outcome was known."""
    runs: int = 0
    """Runs that were queued of it."""
    seconds: float = 0
    """What it cost until the newest look: training time of its runs."""
    why: str = ""
    """What holds it up or has made it void, and what can be done."""


class Planning(BaseModel):
    """How far a plan is."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    factor: str
    """The field of the spec whose values are the variants."""
    first_seed: int
    """Seeds are taken from here on."""
    variants: dict[str, PlannedVariant]
    """All variants in the order of the axis, the baseline among them."""
    ended_at: datetime | None = None
    """When all was settled or the seeds were spent."""
    saved_runs: int = 0
    """How many runs fewer than all seeds that are allowed of all variants have been queued; final once it has ended."""


@dataclass(frozen=True)
class Step:
    """What follows for a plan from what is known by now."""

    planning: Planning | None
    """Of a plan; a search is derived from its trials."""
    state: PlanState
    specs: Sequence[RunSpec] = ()
    """What the runs to queue are to train."""
    again: Sequence[str] = ()
    """Ids of failed runs to queue again, unless that was tried often enough."""
    unneeded: Sequence[str] = ()
    """Ids of runs that nobody waits for any more: those that are still queued are cancelled."""
    hopeless: Sequence[str] = ()
    """Ids of running trials that are stopped, as they promise nothing."""
