"""Means, intervals and tests of differences paired by seed. Pure functions over stored rows.

SciPy is imported where it is first needed: it takes half a second, which the API's start does not have.
"""

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

ALPHA = 0.05
"""Highest corrected p at which a difference is claimed; intervals cover 1 - ALPHA."""
POWER = 0.8
SMALLEST_DIFFERENCE = 0.3
"""Points of top-1 below which variants count as alike: on 10,000 images 30 images, about the spread between seeds."""
MOST_FURTHER_SEEDS = 1_000
MOST_PAIRS_ENUMERATED = 20
"""The exact test looks at 2 to the power of the number of pairs."""
_ROUNDING = 1e-9
"""Spreads below it, in points, come from floating-point arithmetic."""

METHOD = (
    "Final top-1 of completed runs. Differences are paired by seed: runs with the same seed share what the seed fixes, "
    "so each seed gives one difference, and seeds that only one side has completed do not count. The p value is that "
    "of a two-sided paired t-test, which assumes that the differences are roughly normal; it is corrected after Holm "
    "for all variants that are compared with the baseline, those without results included. A variant is called better "
    "or worse only if the corrected p is below 0.05, and alike if the 95 % confidence interval lies within 0.3 points "
    "of zero. Intervals are t intervals and not corrected; those of a result, not of a difference, are taken on the "
    "logit scale, so that they stay between 0 and 100. The exact sign-flip test assumes less, only that a "
    "difference could as well have had the other sign; it is shown beside, since on 5 pairs its p cannot fall below "
    "0.0625. Where all differences are equal there is no spread, and its p replaces that of the t-test. The number of "
    "further seeds is a rough figure: it takes the observed spread for the true one, at 80 % power. Decide how many "
    "seeds to train before looking: whoever adds seeds until a difference appears will find one. Runs that differ in "
    "more than variant and seed are listed, for then a difference may have another cause."
)

Name = TypeVar("Name", bound=Hashable)
Outcome = Literal["better", "worse", "alike", "unclear"]


@dataclass(frozen=True, slots=True)
class Stat:
    """Mean and sample standard deviation (n - 1) of n values; `sd` is null for a single value."""

    mean: float
    sd: float | None
    n: int
    low: float | None
    """Lower end of the 95 % confidence interval (Student's t, of percents on the logit scale); null for a single value
    and for equal values."""
    high: float | None
    """Its upper end."""


@dataclass(frozen=True, slots=True)
class Difference(Stat):
    """Statistics of the differences to the baseline, one per seed, and tests of whether they are zero on average."""

    effect_size: float | None
    """Mean over standard deviation of the differences (d_z); null without spread."""
    p: float | None
    """The p value of the two-sided paired t-test, or of the sign-flip test where all differences are equal; null for
    one seed."""
    p_corrected: float | None
    """The p value after Holm's correction for all variants that are compared with the baseline."""
    p_sign_flip: float | None
    """The p value of the exact two-sided sign-flip test; null for one seed and for more than 20."""
    target: float
    """The difference in points that `further_seeds` would resolve: the observed one, 0.3 if that is less."""
    further_seeds: int | None
    """About how many more show a difference of `target` with 80 % power; null if unknown or above 1,000; 0 when the
    outcome is clear."""

    @property
    def outcome(self) -> Outcome:
        """What can be claimed about the variant."""
        if self.p_corrected is not None and self.p_corrected < ALPHA:
            return "better" if self.mean > 0 else "worse"
        identical = self.n > 1 and not _has_spread(self.sd) and abs(self.mean) < _ROUNDING
        low, high = self.low, self.high
        if identical or (low is not None and high is not None and max(-low, high) < SMALLEST_DIFFERENCE):
            return "alike"
        return "unclear"


def stat(values: Iterable[float]) -> Stat | None:
    """None for no values."""
    found = list(values)
    if not found:
        return None
    mean, n = statistics.fmean(found), len(found)
    sd = statistics.stdev(found) if n > 1 else None
    if sd is None or not _has_spread(sd):
        return Stat(mean, sd, n, None, None)
    half = _t_quantile(n - 1, 1 - ALPHA / 2) * sd / math.sqrt(n)
    return Stat(mean, sd, n, mean - half, mean + half)


def stat_of_percents(values: Iterable[float]) -> Stat | None:
    """As `stat`, of percentages, whose interval stays in 0 to 100: Student's t on the logit scale, by the delta method.

    Where the interval is short beside the distance from 0 and 100 it is that of `stat`.
    """
    found = stat(values)
    if found is None or found.high is None:
        return found
    share = found.mean / 100
    at = math.log(share / (1 - share))
    half = (found.high - found.mean) / 100 / (share * (1 - share))
    return replace(found, low=_percent(at - half), high=_percent(at + half))


def _percent(logit: float) -> float:
    """Written with tanh, which does not overflow."""
    return 50 * (1 + math.tanh(logit / 2))


def differences(results: Mapping[str, Mapping[int, float]], baseline: str) -> dict[str, Difference | None]:
    """Each variant's results minus the baseline's over the seeds that both have; None if they share none.

    `results` are percent by variant and seed. The correction counts every variant, so results that arrive later for
    one can only strengthen what is said of another.
    """
    return judged(
        {
            variant: [value - results[baseline][seed] for seed, value in by_seed.items() if seed in results[baseline]]
            for variant, by_seed in results.items()
            if variant != baseline
        }
    )


def judged(paired: Mapping[Name, list[float]]) -> dict[Name, Difference | None]:
    """Whether the differences of each name are zero on average, corrected after Holm for all names; None for none."""
    p_values = {name: _p_value(found) for name, found in paired.items()}
    corrected = holm([1.0 if p is None else p for p in p_values.values()])
    return {
        name: _difference(paired[name], p, p_corrected, comparisons=len(paired))
        for (name, p), p_corrected in zip(p_values.items(), corrected, strict=True)
    }


def _difference(found: list[float], p: float | None, p_corrected: float, comparisons: int) -> Difference | None:
    summary = stat(found)
    if summary is None:
        return None
    target = max(abs(summary.mean), SMALLEST_DIFFERENCE)
    difference = Difference(
        *(summary.mean, summary.sd, summary.n, summary.low, summary.high),
        effect_size=summary.mean / summary.sd if summary.sd and _has_spread(summary.sd) else None,
        p=p,
        p_corrected=None if p is None else p_corrected,
        p_sign_flip=sign_flip_p(found) if 2 <= len(found) <= MOST_PAIRS_ENUMERATED else None,
        target=target,
        further_seeds=0,
    )
    if difference.outcome != "unclear":
        return difference
    return replace(difference, further_seeds=_further_seeds(summary, target, ALPHA / comparisons))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979): claims below a level have that familywise error rate."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = highest
    return corrected


def sign_flip_p(found: Sequence[float]) -> float:
    """Share of the 2^n ways to sign the differences whose mean is at least as far from zero as the observed one."""
    import numpy as np

    sums = np.array([found[0]])  # the other sign of the first gives the same distances from zero
    for value in found[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(np.abs(sums) >= abs(sum(found)) - _ROUNDING))


def _p_value(found: Sequence[float]) -> float | None:
    if len(found) < 2:
        return None
    sd = statistics.stdev(found)
    if not _has_spread(sd):
        return 2.0 ** (1 - len(found)) if abs(found[0]) > _ROUNDING else 1.0
    t = statistics.fmean(found) / sd * math.sqrt(len(found))
    return 2 * _t_cdf(len(found) - 1, -abs(t))


def _further_seeds(summary: Stat, target: float, alpha: float) -> int | None:
    if summary.sd is None:
        return None
    fewest_for_sign_flip = math.ceil(1 - math.log2(alpha))
    needed = _seeds_needed(target / summary.sd, alpha) if _has_spread(summary.sd) else fewest_for_sign_flip
    further = max(1, needed - summary.n)
    return further if further <= MOST_FURTHER_SEEDS else None


def _seeds_needed(effect_size: float, alpha: float) -> int:
    """Fewest pairs on which a paired t-test finds the effect with 80 % probability; 2^15 stands for more."""
    from scipy.special import nctdtr

    def power(pairs: int) -> float:
        degrees = pairs - 1
        return 1 - float(nctdtr(degrees, effect_size * math.sqrt(pairs), _t_quantile(degrees, 1 - alpha / 2)))

    enough = 2
    while enough < 2**15 and power(enough) < POWER:
        enough *= 2
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        too_few, enough = (too_few, middle) if power(middle) >= POWER else (middle, enough)
    return enough


def _has_spread(sd: float | None) -> bool:
    return sd is not None and sd > _ROUNDING


def _t_cdf(degrees: int, t: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(degrees, t))


def _t_quantile(degrees: int, probability: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))
