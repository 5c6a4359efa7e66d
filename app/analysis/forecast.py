"""What a plan will probably cost: simulated through its own rule, from the spread that seeds of similar runs have."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import fmean

from app.analysis.sequential import judge
from app.store.plan import Measure, Plan
from app.store.rows import Run, State
from cct.spec import RunSpec

_SIMULATED = 400
"""Variants; a share that is found of them has a standard error of at most 2.5 %."""
_FEW = 0.5
"""Share of settled variants below which the plan should be changed before it is queued."""


@dataclass(frozen=True)
class Spread:
    """How much results vary between seeds that differ in nothing else."""

    points: float
    """Standard deviation in percentage points."""
    runs: int
    """How many it is taken from."""


@dataclass(frozen=True)
class Forecast:
    """What happens, on average, if all variants are alike, which takes the most seeds."""

    settled: float
    """Share of the variants that are found to be alike, 0 to 1."""
    runs: float
    """How many are queued in all, the baseline's included."""


def _kind(spec: RunSpec) -> tuple[str, str, int]:
    return spec.architecture, spec.source, spec.epochs


def spread_between_seeds(spec: RunSpec, measure: Measure, known: Sequence[Run]) -> Spread | None:
    """That of completed runs of the same model, dataset and epochs; None if no two of them differ by seed alone."""
    alike: dict[str, list[float]] = {}
    for run in known:
        if (
            _kind(run.spec) == _kind(spec)
            and run.state is State.completed
            and run.external is None
            and (value := run.measured(measure)) is not None
        ):
            alike.setdefault(repr(asdict(run.spec) | {"seed": 0}), []).append(value)
    groups = [values for values in alike.values() if len(values) > 1]
    degrees = sum(len(values) - 1 for values in groups)
    if not degrees:
        return None
    squares = sum((value - fmean(values)) ** 2 for values in groups for value in values)
    return Spread(math.sqrt(squares / degrees), degrees + len(groups))


@lru_cache(maxsize=64)
def forecast(plan: Plan, variants: int, spread: float, images: int | None) -> Forecast:
    """What comes of a plan that compares so many `variants`, the baseline among them, if they are all alike.

    Results are normal with a standard deviation of `spread` points, rounded to `images`.
    """
    chance, unit = random.Random(0), 100 / images if images else 1e-6
    names = [str(number) for number in range(variants)]
    plan = plan.model_copy(update={"baseline": names[0]})
    times = max(30, _SIMULATED // (variants - 1))
    settled, runs = 0, 0
    for _ in range(times):
        results = {
            name: {seed: round(chance.gauss(50, spread) / unit) * unit for seed in range(plan.max_seeds)}
            for name in names
        }
        found = judge(plan, results, 0, plan.max_seeds, images).variants.values()
        settled += sum(one.outcome == "alike" for one in found)
        runs += sum(one.seeds for one in found) + max(one.seeds for one in found)
    return Forecast(settled / times / (variants - 1), runs / times)


def told(plan: Plan, spread: Spread | None, found: Forecast | None) -> str:
    """The forecast as a sentence."""
    if spread is None or found is None:
        return "How many it will be is unknown until two seeds of such a run were trained."
    sentence = (
        f"If all variants are alike, about {round(100 * found.settled)} % of them are settled within {plan.max_seeds} "
        f"seeds (from the spread of {spread.runs} similar runs: {spread.points:.2f} points between seeds)."
    )
    if found.settled < _FEW:
        sentence += " Raise smallest_difference or max_seeds, or expect to end undecided."
    return sentence
