"""How often the comparison claims a difference: between variants that are alike, and where there is one to find.

Simulated experiments go through the functions that the product uses. A final top-1 is the variant's true value, plus
what its seed does to all variants, plus noise, rounded to what the number of validation images allows. The defaults are
the spread between seeds seen on CIFAR-10. Target: at most 5 % of experiments with a wrong claim, up to the simulation's
own error. Run: `python benchmarks/verdict_errors.py [--experiments 10000]` (5 minutes).
"""

import argparse
import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from app.analysis.statistics import differences

BASELINE = "baseline"


@dataclass(frozen=True)
class World:
    """The truth of simulated experiments, in points of top-1. One variant is better by `gap`, the others are alike."""

    variants: int
    seeds: int
    gap: float = 0.0
    noise: float = 0.3
    """Standard deviation of results of one variant, apart from what the seed does to all."""
    shared: float = 0.0
    """Standard deviation of what a seed does to all variants alike; pairing removes it."""
    images: int = 10_000


@dataclass(frozen=True)
class Rates:
    """Shares of the experiments."""

    wrong: float
    """With any variant called better or worse that is not."""
    found: float
    """With the better variant called better."""


def simulate(world: World, experiments: int, seed: int = 0, peeking: bool = False) -> Rates:
    """The same rates for the same arguments. Who is `peeking` looks after each seed and stops at the first claim."""
    chance = random.Random(repr((world, seed)))
    wrong = found = 0
    for _ in range(experiments):
        results = _experiment(world, chance)
        for seeds in range(2 if peeking else world.seeds, world.seeds + 1):
            claims = _claims({variant: dict(islice(by_seed.items(), seeds)) for variant, by_seed in results.items()})
            if claims:
                break
        true = {("better", "better")} if world.gap else set()
        wrong += bool(claims - true)
        found += bool(claims & true)
    return Rates(wrong / experiments, found / experiments)


def _claims(results: Mapping[str, Mapping[int, float]]) -> set[tuple[str, str]]:
    judged = differences(results, BASELINE).items()
    outcomes = {(variant, difference.outcome) for variant, difference in judged if difference}
    return {(variant, outcome) for variant, outcome in outcomes if outcome in ("better", "worse")}


def _experiment(world: World, chance: random.Random) -> dict[str, dict[int, float]]:
    names = [BASELINE, "better" if world.gap else "other 1", *(f"other {i}" for i in range(2, world.variants))]
    by_seed = [chance.gauss(88, world.shared) for _ in range(world.seeds)]
    truth = {name: world.gap if name == "better" else 0.0 for name in names}
    image = 100 / world.images
    return {
        name: {
            seed: round((common + truth[name] + chance.gauss(0, world.noise)) / image) * image
            for seed, common in enumerate(by_seed)
        }
        for name in names
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=World.noise)
    parser.add_argument("--shared", type=float, default=World.shared)
    parser.add_argument("--images", type=int, default=World.images)
    given = parser.parse_args()
    print("| variants | seeds | claimed, all alike | same, looking at each seed | 1 point found | 0.5 points found |")
    print("|---:|---:|---:|---:|---:|---:|")
    for variants, seeds in itertools.product((3, 5), (3, 5, 10)):
        alike, one, half = (
            World(variants, seeds, gap, given.noise, given.shared, given.images) for gap in (0.0, 1.0, 0.5)
        )
        shares = (
            simulate(alike, given.experiments, given.seed).wrong,
            simulate(alike, given.experiments, given.seed, peeking=True).wrong,
            simulate(one, given.experiments, given.seed).found,
            simulate(half, given.experiments, given.seed).found,
        )
        print(f"| {variants} | {seeds} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
