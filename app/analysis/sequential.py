"""The rule by which a plan ends: claims that may be looked for after each seed, at an error rate that holds.

d_1 … d_n are a variant's differences to the baseline, paired by seed and in the order of seeds, p_n the p value of
their two-sided t-test. The variant differs at the first n at which n·p_n ≤ c, where c is such that the chance ever to
get there, up to 200 seeds, is the error rate if there is no difference (Holm's procedure over the variants). It is
alike at the first n at which both one-sided tests against ±smallest_difference have p ≤ x·w_n, with w_n = n/N up to the
N seeds that were planned and (N/n)² after, and x such that the chance ever to get there is the variant's share of the
error rate. Both chances are recursions over r_n = S_n/√(n·ΣX²), a Markov chain without a scale under every null whose
differences are spherically symmetric.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from app.store.plan import MOST_SEEDS, Plan

FIRST = 3
"""Differences at the first look."""
_GRID = 321
_LEVELS = (0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625, 0.003, 0.0015, 0.0007)
_BOUNDS = (0.244737, 0.102563, 0.044618, 0.0199065, 0.00903308, 0.00412879, 0.0018011, 0.000801914, 0.000304187)
"""c by level, by `chance_to_cross`, rounded towards fewer claims."""
_FEW = 0.003
"""Below it the grid is too coarse to be exact."""

Outcome = Literal["open", "better", "worse", "alike", "undecided"]


@dataclass(frozen=True)
class Judged:
    """One variant against the baseline, in percentage points."""

    outcome: Outcome
    seeds: int
    """Differences that counted: for a claim those at which it was made, else all without a gap before them."""
    mean: float | None = None
    low: float | None = None
    """Lower end of the interval that holds however often anyone looks; None before the first look.

    For all open variants together; of one that is settled at the level of its claim, which it so never contradicts.
    """
    high: float | None = None
    sd: float | None = None
    """Sample standard deviation of the differences."""


@dataclass(frozen=True)
class Step:
    """One look at a variant: its mean difference, and where it would have been settled, in percentage points."""

    seeds: int
    mean: float
    claim_at: float
    """So far from zero it is better or worse."""
    alike_within: float | None
    """So near to zero it is alike; None where the spread is still too large for that at any mean."""
    is_foreseen: bool = False
    """A look that is yet to come, if the spread stays as it is; it has the newest mean."""


@dataclass(frozen=True)
class Judgement:
    """All variants but the baseline, and the results (variant, seed) without which an open one cannot go on."""

    variants: dict[str, Judged]
    needed: list[tuple[str, int]]


def judge(
    plan: Plan, results: Mapping[str, Mapping[int, float]], first_seed: int, max_seeds: int, images: int | None
) -> Judgement:
    """What can be claimed by now. `results` are percent by variant (baseline included) and seed, of seeds from
    `first_seed` on, of which at most `max_seeds` may be used; `images` is how many a result was measured on.
    """
    smallest_spread = _spread_of_rounding(images)
    found = _differences(plan, results, first_seed, max_seeds)
    settled, _ = _gone_through(plan, found, smallest_spread)
    variants = {
        name: _judged(plan, found[name], settled.get(name), len(found), max_seeds, smallest_spread) for name in found
    }
    needed = {
        (member, seed)
        for name, one in variants.items()
        if one.outcome == "open"
        for seed in range(first_seed, first_seed + max(one.seeds + 1, plan.first_look))
        for member in (plan.baseline, name)
        if seed not in results[member]
    }
    return Judgement(variants, sorted(needed, key=lambda key: key[1]))


def course(
    plan: Plan, results: Mapping[str, Mapping[int, float]], first_seed: int, max_seeds: int, images: int | None
) -> dict[str, list[Step]]:
    """The way of each variant to its boundaries, look by look until it was settled, and then as it would go on, to
    about twice as many seeds. Arguments as those of `judge`; a variant without a look has no steps.
    """
    found = _differences(plan, results, first_seed, max_seeds)
    _, trails = _gone_through(plan, found, _spread_of_rounding(images))
    share = plan.alpha / max(1, len(found))
    steps: dict[str, list[Step]] = {}
    for name, trail in trails.items():
        steps[name] = [_step(plan, share, look.n, look.mean, look.spread, bound) for look, bound in trail]
        if trail:
            newest, bound = trail[-1]
            steps[name] += [
                _step(plan, share, n, newest.mean, newest.spread, bound, is_foreseen=True)
                for n in range(newest.n + 1, min(max_seeds, 2 * newest.n + 10) + 1)
            ]
    return steps


def _step(
    plan: Plan, share: float, n: int, mean: float, spread: float, bound: float, is_foreseen: bool = False
) -> Step:
    from scipy.special import stdtrit

    error = spread / math.sqrt(n)
    near = plan.smallest_difference - float(stdtrit(n - 1, 1 - _alike_at(plan, share, n))) * error
    far = float(stdtrit(n - 1, 1 - bound / (2 * n))) * error
    return Step(n, mean, far, near if near > 0 else None, is_foreseen)


def _spread_of_rounding(images: int | None) -> float:
    return (100 / images if images else 1e-6) / math.sqrt(6)


def _differences(
    plan: Plan, results: Mapping[str, Mapping[int, float]], first_seed: int, max_seeds: int
) -> dict[str, list[float]]:
    """The differences of each variant to the baseline, in the order of seeds, up to the first that is missing."""
    base = results[plan.baseline]
    found: dict[str, list[float]] = {}
    for name, by_seed in results.items():
        if name != plan.baseline:
            differences = found[name] = []
            for seed in range(first_seed, first_seed + max_seeds):
                if seed not in by_seed or seed not in base:
                    break
                differences.append(by_seed[seed] - base[seed])
    return found


class _Look:
    """The first n differences of a variant."""

    def __init__(self, differences: Sequence[float], smallest_spread: float) -> None:
        self.n = len(differences)
        self.mean = statistics.fmean(differences)
        self.sd = statistics.stdev(differences)
        self.spread = max(self.sd, smallest_spread)
        self.error = self.spread / math.sqrt(self.n)
        self.p = 2 * self.tail(abs(self.mean))

    def tail(self, distance: float) -> float:
        """The one-sided p value of lying so far from where a null has it."""
        from scipy.special import stdtr

        return float(stdtr(self.n - 1, -distance / self.error))


def _gone_through(
    plan: Plan, found: Mapping[str, Sequence[float]], smallest_spread: float
) -> tuple[dict[str, "_Settled"], dict[str, list[tuple[_Look, float]]]]:
    """What is settled, going through the looks in their order: what is settled by then stands, and takes no part in
    later looks, though it may have more seeds and others' claims ease what is left. Beside it each variant's looks
    until then, with the c that it needed.
    """
    share = plan.alpha / max(1, len(found))
    settled: dict[str, _Settled] = {}
    trails: dict[str, list[tuple[_Look, float]]] = {name: [] for name in found}
    strongest: dict[str, _Look] = {}
    rest = len(found)
    for n in range(plan.first_look, max(map(len, found.values()), default=0) + 1):
        newest = {
            name: _Look(differences[:n], smallest_spread)
            for name, differences in found.items()
            if name not in settled and len(differences) >= n
        }
        for name, look in newest.items():
            strongest[name] = min(strongest.get(name, look), look, key=_evidence)
        for name in sorted(newest, key=lambda name: _evidence(strongest[name])):
            bound = claim_bound(plan.alpha / rest)
            if _evidence(strongest[name]) > bound:
                break
            settled[name] = _Settled("better" if strongest[name].mean > 0 else "worse", strongest[name], bound)
            rest -= 1
        for name, look in newest.items():
            trails[name].append((look, settled[name].bound if name in settled else claim_bound(plan.alpha / rest)))
            far = look.tail(plan.smallest_difference - abs(look.mean))
            if name not in settled and far <= _alike_at(plan, share, n):
                settled[name] = _Settled("alike", look, claim_bound(share))
    return settled, trails


def _alike_at(plan: Plan, share: float, n: int) -> float:
    """The one-sided p at which a variant counts as alike after n seeds."""
    return min(share, alike_bound(share, plan.max_seeds) * _weight(n, plan.max_seeds))


class _Settled(NamedTuple):
    outcome: Outcome
    look: _Look
    """That the claim rests on."""
    bound: float
    """c at the level of the claim."""


def _evidence(look: _Look) -> float:
    return look.n * look.p


def _judged(
    plan: Plan,
    differences: Sequence[float],
    settled: _Settled | None,
    variants: int,
    max_seeds: int,
    smallest_spread: float,
) -> Judged:
    from scipy.special import stdtrit

    if len(differences) < plan.first_look:
        return Judged("open", len(differences))
    still: Outcome = "undecided" if len(differences) >= max_seeds else "open"
    newest = _Look(differences, smallest_spread)
    outcome, look, bound = settled or _Settled(still, newest, claim_bound(plan.alpha / variants))
    half = float(stdtrit(look.n - 1, 1 - bound / (2 * look.n))) * look.error
    return Judged(outcome, look.n, look.mean, look.mean - half, look.mean + half, look.sd)


def _weight(n: int, planned: int) -> float:
    return n / planned if n <= planned else (planned / n) ** 2


def claim_bound(level: float) -> float:
    """c: the chance that n·p_n ever falls to it without a difference is at most `level` (0 to 0.2)."""
    if level < _LEVELS[-1]:
        return level / sum(1 / n for n in range(FIRST, MOST_SEEDS + 1))  # holds in any case
    place = next(i for i in range(1, len(_LEVELS)) if level >= _LEVELS[i])
    (a, b), (at_a, at_b) = _LEVELS[place - 1 : place + 1], _BOUNDS[place - 1 : place + 1]
    return math.exp(math.log(at_b) + math.log(at_a / at_b) * math.log(level / b) / math.log(a / b))


@lru_cache(maxsize=256)
def alike_bound(level: float, planned: int) -> float:
    """x: the chance that p_n ever falls to x·w_n at a difference that is not small is at most `level`."""
    weights = {n: _weight(n, planned) for n in range(FIRST, MOST_SEEDS + 1)}
    found = low = level / sum(weights.values())  # holds in any case
    if level < _FEW:
        return low
    # The chance is nearly a power of x: secants through its logarithms meet the level in four steps.
    x, slope, before = low, 0.85, (0.0, 0.0)
    for step in range(4):
        chance = chance_to_cross({n: x * weight for n, weight in weights.items()}, two_sided=False)
        here = (math.log(x), math.log(chance / level))
        if step:
            slope = (here[1] - before[1]) / (here[0] - before[0])
        if chance <= level:
            found = max(found, x)
        following = min(8 * low, 1.0, 0.999 * math.exp(here[0] - here[1] / slope))
        if abs(following / x - 1) < 0.003:
            break
        x, before = following, here
    return found


def chance_to_cross(p_bounds: Mapping[int, float], two_sided: bool) -> float:
    """The chance that p_n ≤ p_bounds[n] for any n (from 3 on, without gaps) if there is no difference; a little too
    large, as it is interpolated between points of a grid.

    With X_{n+1}/√(ΣX²) = sin ψ, which has a density proportional to cos^(n-1) ψ whatever r_n is,
    r_{n+1} = √(n/(n+1))·cos ψ·r_n + sin ψ/√(n+1). Going back from the last n, `later` is the chance to cross after n.
    """
    import numpy as np
    from scipy.special import gammaln, stdtrit

    nodes, weights = np.polynomial.legendre.leggauss(24)

    def grid(n: int) -> tuple[float, float]:
        t = float(stdtrit(n - 1, 1 - p_bounds[n] / (2 if two_sided else 1)))
        high = t / math.sqrt(n - 1 + t * t)
        return (-high if two_sided else -1.0), high

    def points(n: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        low, high = grid(n)
        return np.sin(np.linspace(math.asin(low), math.asin(high), _GRID))

    last = max(p_bounds)
    after, later = points(last), np.zeros(_GRID)
    for n in range(last - 1, FIRST - 1, -1):
        now = points(n)
        low, high = grid(n + 1)
        along, across = math.sqrt(n / (n + 1)) * now, 1 / math.sqrt(n + 1)
        size, turn = np.hypot(along, across), np.arctan2(along, across)
        start, end = np.arcsin(np.clip(low / size, -1, 1)), np.arcsin(np.clip(high / size, -1, 1))
        scale = math.exp(math.log(math.pi) / 2 + float(gammaln(n / 2) - gammaln((n + 1) / 2)))
        widest = min(math.pi / 2, 9 / math.sqrt(n))  # beyond there is nothing of the density
        crossing = np.ones(_GRID)
        for begin, stop in ((start, end), (math.pi - end, math.pi - start), (-math.pi - end, -math.pi - start)):
            begin, stop = np.maximum(begin, turn - widest), np.minimum(stop, turn + widest)
            half = np.maximum(stop - begin, 0) / 2
            angles = (begin + stop)[:, None] / 2 + half[:, None] * nodes
            density = np.maximum(np.cos(angles - turn[:, None]), 0) ** (n - 1) * weights * half[:, None] / scale
            reached = np.interp(size[:, None] * np.sin(angles), after, later)
            crossing += (density * (reached - 1)).sum(axis=1)
        after, later = now, crossing
    inner = float(np.sum((later[1:] + later[:-1]) / 2 * np.diff(after))) / 2  # r_3 is uniform
    return 1 - float(after[-1] - after[0]) / 2 + inner
