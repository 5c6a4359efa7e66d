"""How much of what results differ in is due to each factor: classical analysis of variance on balanced grids."""

from collections.abc import Sequence
from itertools import product
from statistics import fmean
from typing import Any

from app.analysis.blocks import value_of
from app.store.plan import Measure
from app.store.rows import Run, State

TOGETHER = "interactions"
REST = "seeds and the rest"


def variance_shares(runs: Sequence[Run], factors: Sequence[str], measure: Measure) -> dict[str, float]:
    """The share of the variance of results, from 0 to 1, that is due to each factor, to all together, and to the rest.

    Fisher's decomposition, of sums of squares (eta squared). Empty with fewer than two factors, if results are all the
    same, or if the grid is not balanced: with other numbers of runs in some cells the parts do not add up.
    """
    cells: dict[tuple[Any, ...], list[float]] = {}
    for run in runs:
        if run.state is State.completed and (top1 := run.measured(measure)) is not None:
            cells.setdefault(tuple(value_of(run, factor) for factor in factors), []).append(top1)
    values = [list(dict.fromkeys(cell[place] for cell in cells)) for place in range(len(factors))]
    sizes = {len(cells.get(cell, ())) for cell in product(*values)}
    if len(factors) < 2 or len(sizes) != 1 or sizes == {0}:
        return {}
    results = [top1 for found in cells.values() for top1 in found]
    mean = fmean(results)
    total = sum((top1 - mean) ** 2 for top1 in results)
    if not total:
        return {}
    within = sum((top1 - fmean(found)) ** 2 for found in cells.values() for top1 in found)
    shares = {}
    for place, factor in enumerate(factors):
        by_value = [
            [top1 for cell, found in cells.items() if cell[place] == value for top1 in found] for value in values[place]
        ]
        shares[factor] = sum(len(found) * (fmean(found) - mean) ** 2 for found in by_value) / total
    return shares | {TOGETHER: max(0.0, 1 - within / total - sum(shares.values())), REST: within / total}
