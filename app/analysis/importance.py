"""How much of what results differ in is due to each factor: analysis of variance."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from app.analysis.blocks import value_of
from app.store.plan import Measure
from app.store.rows import Run, State

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOGETHER = "interactions"
SHARED = "several at once, as runs of other combinations are missing"
REST = "seeds and the rest"

_ROUNDING = 1e-9


def variance_shares(runs: Sequence[Run], factors: Sequence[str], measure: Measure) -> dict[str, float]:
    """The share of the variance of results, from 0 to 1, that is due to each factor, to all together, and to the rest.

    A factor has the sum of squares that the others' main effects leave to it (Yates 1934; "type II" of today's
    programs). With as many runs in each combination these are Fisher's, and add up with interactions and rest. Else
    some of it may be due to one factor as well as to another, which is told as `SHARED`. Empty with fewer than two
    factors, or if results are all the same.
    """
    import numpy as np

    done = [run for run in runs if run.state is State.completed and run.measured(measure) is not None]
    results = np.array([run.measured(measure) for run in done], float)
    total = float(((results - results.mean()) ** 2).sum()) if len(done) else 0.0
    if len(factors) < 2 or not total:
        return {}
    columns = {factor: _indicators([value_of(run, factor) for run in done]) for factor in factors}
    cells: dict[tuple[Any, ...], list[float]] = {}
    for run, result in zip(done, results.tolist(), strict=True):
        cells.setdefault(tuple(value_of(run, factor) for factor in factors), []).append(result)
    within = sum((result - fmean(found)) ** 2 for found in cells.values() for result in found)
    left = _unexplained(results, [*columns.values()])
    shares = {
        factor: (_unexplained(results, [those for other, those in columns.items() if other != factor]) - left) / total
        for factor in factors
    }
    shared = 1 - left / total - sum(shares.values())
    parts = shares | {SHARED: shared, TOGETHER: (left - within) / total, REST: within / total}
    return {name: max(0.0, share) for name, share in parts.items() if name != SHARED or share > _ROUNDING}


def _indicators(values: Sequence[Any]) -> "NDArray[Any]":
    """Shape (runs, different values): where each value is."""
    import numpy as np

    return np.array([[value == column for column in dict.fromkeys(values)] for value in values], float)


def _unexplained(results: "NDArray[Any]", columns: Sequence["NDArray[Any]"]) -> float:
    """The sum of squares that main effects leave."""
    import numpy as np

    design = np.column_stack([np.ones(len(results)), *columns])
    fitted = design @ np.linalg.lstsq(design, results, rcond=None)[0]
    return float(((results - fitted) ** 2).sum())
