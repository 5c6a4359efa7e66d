"""Two factors: what each does on average over the other, and whether they interact. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from app.analysis.blocks import complete_levels, listed, over_levels, words
from app.analysis.statistics import Difference, Outcome, judged
from app.analysis.verdicts import CLAIMS, interval, points

Cells = Mapping[tuple[str, str], Mapping[int, float]]
"""Top-1 in percent by seed, by the values of both factors."""
Kind = Literal["main", "interaction"]


@dataclass(frozen=True, slots=True)
class Factor:
    """A field of the spec with its values, of which all others are compared with the baseline's."""

    name: str
    values: list[str]
    baseline: str

    @property
    def others(self) -> list[str]:
        """All values but the baseline's."""
        return [value for value in self.values if value != self.baseline]


@dataclass(frozen=True, slots=True)
class Effect:
    """A main effect, of one value of a factor, or an interaction, of a value of each. Points of top-1."""

    kind: Kind
    factor: str
    """The field of the first value."""
    value: str
    at: str
    """For an interaction the other factor's value; for a main effect the values that it is the mean over, in words."""
    difference: Difference | None
    """Against the baseline's value; for an interaction the one at `at` minus that at the other factor's baseline."""
    outcome: Outcome
    """Better: by how much more, if it is an interaction."""
    text: str
    """The effect as a sentence."""


METHOD = (
    " With two factors, the main effect of a value is its difference to the baseline's value, in each seed the mean "
    "over those values of the other factor at which all have completed runs. An interaction is the difference at one "
    "value of the other factor minus the difference at its baseline, in each seed. All main effects and interactions "
    "are corrected after Holm together, the comparisons of single combinations among themselves."
)


def effects(first: Factor, second: Factor, cells: Cells) -> list[Effect]:
    """Main effects of the first factor, of the second, and interactions.

    Tests are corrected for all of them together, those without results included.
    """
    rows = {a: {b: cells.get((a, b), {}) for b in second.values} for a in first.values}
    columns = {b: {a: cells.get((a, b), {}) for a in first.values} for b in second.values}
    paired: dict[tuple[Kind, str, str], list[float]] = {}
    averaged = {}
    for factor, by_value in ((first, rows), (second, columns)):
        averaged[factor.name] = levels = complete_levels(by_value, factor.baseline)
        means = {value: over_levels(found, levels) for value, found in by_value.items()}
        for value in factor.others:
            paired["main", factor.name, value] = list(_minus(means[value], means[factor.baseline]).values())
    simple: dict[tuple[str, str], tuple[float, float]] = {}
    for a in first.others:
        here = _minus(rows[a][second.baseline], rows[first.baseline][second.baseline])
        for b in second.others:
            there = _minus(rows[a][b], rows[first.baseline][b])
            both = here.keys() & there.keys()
            paired["interaction", a, b] = list(_minus(there, here).values())
            if both:
                simple[a, b] = fmean(there[seed] for seed in both), fmean(here[seed] for seed in both)
    found = judged(paired)
    return [
        *(
            _main(factor, other, value, averaged[factor.name], found["main", factor.name, value])
            for factor, other in ((first, second), (second, first))
            for value in factor.others
        ),
        *(
            _interaction(first, second, a, b, simple.get((a, b)), found["interaction", a, b])
            for a in first.others
            for b in second.others
        ),
    ]


def summary(first: Factor, second: Factor, found: Sequence[Effect], cells: Cells) -> list[str]:
    """All effects in short, as sentences, and which combinations have no result."""
    sentences = []
    for factor in (first, second):
        of_factor = [effect for effect in found if effect.kind == "main" and effect.factor == factor.name]
        at = of_factor[0].at if of_factor else ""
        heads: dict[Outcome, str] = {
            "better": f"better than {factor.baseline}",
            "worse": f"worse than {factor.baseline}",
            "alike": f"like {factor.baseline}",
            "unclear": "cannot tell yet",
        }
        told = [
            f"{head}: {listed(values)}" for outcome, head in heads.items() if (values := _named(of_factor, outcome))
        ]
        if told:
            sentences.append(f"By {words(factor.name)}, {at}: {'; '.join(told)}.")
    interactions = [effect for effect in found if effect.kind == "interaction"]
    sentences += [effect.text for effect in interactions if effect.outcome in CLAIMS]
    heads = {"alike": "of no note", "unclear": "not known yet"}
    told = [f"{head}: {listed(names)}" for outcome, head in heads.items() if (names := _named(interactions, outcome))]
    if told:
        sentences.append(f"Interactions: {'; '.join(told)}.")
    pairs = [(a, b) for a in first.values for b in second.values if not cells.get((a, b))]
    if pairs:
        missing = "; ".join(f"{a} with {words(second.name)} {b}" for a, b in pairs)
        sentences.append(f"The grid is incomplete: no result of {missing}.")
    return sentences


def _named(found: Sequence[Effect], outcome: Outcome) -> list[str]:
    def name(effect: Effect) -> str:
        by = f" by {points(abs(effect.difference.mean), effect.difference)}" if effect.difference else ""
        pair = f"{effect.value} with {effect.at}" if effect.kind == "interaction" else effect.value
        return pair + (by if outcome in CLAIMS else "")

    return [name(effect) for effect in found if effect.outcome == outcome]


def _main(factor: Factor, other: Factor, value: str, levels: Sequence[str], found: Difference | None) -> Effect:
    at = f"on average over {words(other.name)} {listed(levels)}"
    if len(levels) == 1:
        at = f"at {words(other.name)} {levels[0]} alone"
    if not levels:
        at = f"nothing averaged, as no {words(other.name)} has all"
    name = f"{words(factor.name)} {value} against {factor.baseline}"
    if found is None:
        return Effect("main", factor.name, value, at, None, "unclear", f"{name}: cannot tell, {at}.")
    said = f"{name}: {_signed(found)}, {at}{_claimed(found.outcome)}."
    return Effect("main", factor.name, value, at, found, found.outcome, said)


def _interaction(
    first: Factor, second: Factor, a: str, b: str, simple: tuple[float, float] | None, found: Difference | None
) -> Effect:
    """`simple` are the differences at both values of the second factor, over the seeds that have all four results."""
    at, at_baseline = (f"{words(second.name)} {value}" for value in (b, second.baseline))
    if found is None or simple is None:
        missing = f"Interaction of {a} with {at}: cannot tell, no seed has all four results."
        return Effect("interaction", first.name, a, at, None, "unclear", missing)
    there, here = (
        f"{'gains' if difference > 0 else 'loses'} {points(abs(difference), found)}" for difference in simple
    )
    said = (
        f"{a} {there} against {first.baseline} at {at} and {here} at {at_baseline}: "
        f"interaction of {_signed(found)}{_claimed(found.outcome)}."
    )
    return Effect("interaction", first.name, a, at, found, found.outcome, said)


def _signed(found: Difference) -> str:
    ends = f"{interval(found)}, " if found.low is not None else ""
    seeds = f"{found.n} {'seed' if found.n == 1 else 'seeds'}"
    return f"{'+' if found.mean > 0 else ''}{points(found.mean, found)} ({ends}{seeds})"


def _claimed(outcome: Outcome) -> str:
    return "" if outcome in CLAIMS else {"alike": ", too small to matter", "unclear": ", not shown"}[outcome]


def _minus(mine: Mapping[int, float], theirs: Mapping[int, float]) -> dict[int, float]:
    """The differences by seed, of the seeds that both have."""
    return {seed: value - theirs[seed] for seed, value in mine.items() if seed in theirs}
