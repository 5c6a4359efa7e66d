"""Means, spreads and differences paired by seed. Pure functions over stored rows."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stat:
    """Mean and sample standard deviation (n - 1) of n values; `sd` is null for a single value."""

    mean: float
    sd: float | None
    n: int


def stat(values: Iterable[float]) -> Stat | None:
    """None for no values."""
    found = list(values)
    if not found:
        return None
    return Stat(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> Stat | None:
    """Mean and spread of `values[seed] - baseline[seed]` over the seeds that both have; None if they share none."""
    return stat(value - baseline[seed] for seed, value in values.items() if seed in baseline)
