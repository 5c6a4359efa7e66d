"""What an experiment was queued to find out: declared before its first run, frozen, and the rule by which it ends."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Measure = Literal["final val_top1", "best val_top1", "mean val_top1 of the last 3 epochs"]


class Plan(BaseModel):
    """Seeds are queued until each variant is better than, worse than or like the baseline, or the seeds are spent."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="forbid", allow_inf_nan=False)

    baseline: str = "seqpool"
    """The variant that all others are compared with."""
    measure: Measure = "final val_top1"
    """The one result that decides."""
    smallest_difference: Annotated[float, Field(gt=0, le=100)] = 0.5
    """Points below which variants count as alike."""
    alpha: Annotated[float, Field(ge=0.001, le=0.2)] = 0.05
    """Chance that any false claim is made, however often anyone looks."""
    first_look: Annotated[int, Field(ge=3, le=20, strict=True)] = 3
    """Seeds that every variant is trained with before the first decision."""
    max_seeds: Annotated[int, Field(ge=3, le=200, strict=True)] = 20
    """Seeds after which a variant that is still open stays undecided."""
    futility: bool = False
    """Whether a variant is given up once a claim by `max_seeds` has become unlikely (below 10 %)."""
