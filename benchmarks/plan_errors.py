"""How often plans err, and what they cost: simulated experiments whose truth is known, through the product's own rule.

A settled variant is never looked at again, and a plan looks after each seed, so one call over all seeds gives what
watching gives. False claims are better or worse in the wrong direction or without a difference, and alike at a
difference that is not small. Run: `python benchmarks/plan_errors.py [--experiments 2000]`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.analysis.sequential import judge
from app.store.plan import Plan

BASELINE = "seqpool"
Noise = Callable[[np.random.Generator, int], "np.ndarray[tuple[int], np.dtype[np.float64]]"]

NOISES: dict[str, Noise] = {
    "normal": lambda chance, n: chance.normal(0, 1, n),
    "t3": lambda chance, n: chance.standard_t(3, n) / 3**0.5,
    "skewed": lambda chance, n: chance.exponential(1, n) - 1,
}


@dataclass(frozen=True)
class World:
    """The truth of simulated experiments, in points of top-1."""

    name: str
    gaps: tuple[float, ...]
    """How far each variant but the baseline lies from it."""
    noise: str = "normal"
    sds: tuple[float, ...] = (0.3,)
    """Standard deviation of results, of the baseline and then the variants in turn."""
    images: int = 10_000
    failing: float = 0.0
    """Share of runs that diverge, and count as 10 %."""


@dataclass(frozen=True)
class Rates:
    """Shares of the experiments, `found` of the variants; runs per experiment."""

    false: float
    found: float
    runs: float


def simulate(world: World, experiments: int, plan: Plan | None = None, seed: int = 0) -> Rates:
    """The same rates for the same arguments."""
    plan = plan or Plan()
    chance = np.random.default_rng(seed)
    image = 100 / world.images
    false = found = runs = 0
    for _ in range(experiments):
        results = {}
        for position, gap in enumerate((0.0, *world.gaps)):
            noise = NOISES[world.noise](chance, plan.max_seeds) * world.sds[position % len(world.sds)]
            top1 = np.round((88 + gap + noise) / image) * image
            diverged = chance.random(plan.max_seeds) < world.failing
            results[f"{position}" if position else BASELINE] = dict(enumerate(np.where(diverged, 10.0, top1).tolist()))
        judged = judge(plan, results, 0, plan.max_seeds, world.images).variants
        said = [(gap, one.outcome) for gap, one in zip(world.gaps, judged.values(), strict=True)]
        false += any(_is_false(gap, outcome, plan) for gap, outcome in said)
        found += sum(
            outcome in ("better", "worse", "alike") and not _is_false(gap, outcome, plan) for gap, outcome in said
        )
        runs += sum(one.seeds for one in judged.values()) + max(one.seeds for one in judged.values())
    return Rates(false / experiments, found / experiments / len(world.gaps), runs / experiments)


def _is_false(gap: float, outcome: str, plan: Plan) -> bool:
    return (
        (outcome == "better" and gap <= 0)
        or (outcome == "worse" and gap >= 0)
        or (outcome == "alike" and abs(gap) >= plan.smallest_difference)
    )


WORLDS = (
    *(World(f"{k + 1} variants, all alike", (0.0,) * k) for k in (1, 2, 4)),
    *(World(f"3 variants, one {gap:g} apart", (gap, 0.0)) for gap in (0.5, 1.0, 2.0)),
    World("5 variants, two 0.5 and one 1 apart", (0.5, -0.5, 1.0, 0.0)),
    World("3 variants, both 0.5 apart", (0.5, -0.5)),
    World("heavy tails (t3)", (0.0, 0.0), "t3"),
    World("skewed", (0.0, 0.0), "skewed"),
    World("360 images", (0.0, 0.0), images=360),
    World("360 images, small spread", (0.0, 0.0), sds=(0.1,), images=360),
    World("one variant four times as jittery", (0.0, 0.0), sds=(0.3, 0.3, 1.2)),
    World("5 % of runs diverge", (0.0, 0.0), failing=0.05),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=2_000)
    given = parser.parse_args()
    print("| world | false claims | found | runs |\n|---|---:|---:|---:|")
    for world in WORLDS:
        rates = simulate(world, given.experiments)
        print(
            f"| {world.name} | {100 * rates.false:.1f} % | {100 * rates.found:.0f} % | {rates.runs:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()
