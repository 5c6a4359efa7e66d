"""How often a comparison of poolings, learning rates and seeds claims what is not there, with a whole grid and without.

Simulated experiments go through the comparison that the product makes. A final top-1 is what its pooling, its learning
rate, both together and its seed do, plus noise. Target: at most 5 % of experiments with a wrong claim, up to the
simulation's own error; an average over other learning rates on one side than on the other would be wrong nearly always.
Run: `python benchmarks/factor_errors.py [--experiments 2000]` (4 minutes).
"""

import argparse
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from app.analysis.comparison import compare
from app.analysis.statistics import differences
from app.store.rows import Run, State
from cct.spec import RunSpec

POOLINGS = ("seqpool", "mean", "max")
RATES = (0.0005, 0.002)


@dataclass(frozen=True)
class World:
    """The truth of simulated experiments, in points of top-1."""

    rate: float = 3.0
    """What the higher learning rate adds to all poolings."""
    interaction: float = 0.0
    """What it adds to `mean` beyond that. Half of it is a main effect of `mean`."""
    lacking: bool = False
    """Whether `mean` has no run at the lower rate."""
    seeds: int = 5
    noise: float = 0.3
    """Standard deviation of results, apart from what the seed does to all of a learning rate."""
    shared: float = 0.3
    """Standard deviation of what a seed does to all runs of a learning rate."""


@dataclass(frozen=True)
class Shares:
    """Shares of the experiments in which something is claimed."""

    pooling: float
    """A difference between poolings, with pooling as the only factor."""
    at_level: float
    """The same at one learning rate."""
    main: float
    """A main effect of a pooling, with both factors."""
    interaction: float
    unseen_average: float
    """A difference between poolings, if each seed's results were averaged over whatever learning rates there are."""


def simulate(world: World, experiments: int, seed: int = 0) -> Shares:
    """The same shares for the same arguments."""
    chance = random.Random(repr((world, seed)))
    grid = _grid(world)
    claims = dict.fromkeys(Shares.__dataclass_fields__, 0)
    for _ in range(experiments):
        runs = _trained(grid, world, chance)
        by_pooling, by_both = compare(runs), compare(runs, "pooling,lr")
        claims["pooling"] += _claimed(row.outcome for row in by_pooling.variants)
        claims["at_level"] += _claimed(at.outcome for row in by_pooling.variants for at in row.levels)
        effects = by_both.effects
        claims["main"] += _claimed(one.outcome for one in effects if one.kind == "main" and one.factor == "pooling")
        claims["interaction"] += _claimed(one.outcome for one in effects if one.kind == "interaction")
        averaged = differences(_averaged(runs), POOLINGS[0]).values()
        claims["unseen_average"] += _claimed(found.outcome for found in averaged if found)
    return Shares(**{name: count / experiments for name, count in claims.items()})


def _grid(world: World) -> list[Run]:
    """Completed runs without a result yet."""
    specs = [
        RunSpec(pooling=pooling, lr=lr, seed=seed)
        for seed in range(world.seeds)
        for pooling in POOLINGS
        for lr in RATES
        if not (world.lacking and (pooling, lr) == ("mean", RATES[0]))
    ]
    return [
        Run.model_validate({"id": str(n), "created_at": "0", "spec": asdict(spec), "state": State.completed})
        for n, spec in enumerate(specs)
    ]


def _trained(grid: Sequence[Run], world: World, chance: random.Random) -> list[Run]:
    of_seed = {(lr, seed): chance.gauss(88, world.shared) for lr in RATES for seed in range(world.seeds)}

    def top1(run: Run) -> float:
        found = of_seed[run.spec.lr, run.spec.seed] + chance.gauss(0, world.noise)
        if run.spec.lr == RATES[1]:
            found += world.rate + (world.interaction if run.spec.pooling == "mean" else 0)
        return round(found, 2)

    return [run.model_copy(update={"final_top1": (found := top1(run)), "best_top1": found}) for run in grid]


def _averaged(runs: Sequence[Run]) -> dict[str, dict[int, float]]:
    return {
        pooling: {
            seed: fmean(run.final_top1 or 0.0 for run in runs if (run.spec.pooling, run.spec.seed) == (pooling, seed))
            for seed in {run.spec.seed for run in runs}
        }
        for pooling in POOLINGS
    }


def _claimed(outcomes: Iterable[str | None]) -> bool:
    return any(outcome in ("better", "worse") for outcome in outcomes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| world | pooling | at one rate | main effect | interaction | average that nobody sees |")
    print("|---|---:|---:|---:|---:|---:|")
    worlds = {
        "poolings alike": World(),
        "poolings alike, one cell missing": World(lacking=True),
        "poolings alike, 3 seeds": World(seeds=3),
        "interaction of 1 point": World(interaction=1),
        "interaction of 2 points": World(interaction=2),
        "interaction of 2 points, one cell missing": World(interaction=2, lacking=True),
    }
    for name, world in worlds.items():
        shares = asdict(simulate(world, given.experiments, given.seed)).values()
        print(f"| {name} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
