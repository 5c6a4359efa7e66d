"""Groups runs into variants and compares them with a baseline and with published results. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from app.analysis.blocks import (
    Blocks,
    Results,
    blocks_of,
    complete_levels,
    fields_of,
    over_levels,
    results_by_level,
    value_of,
)
from app.analysis.colors import VariantColor, colors_of
from app.analysis.doubts import Doubt, doubts
from app.analysis.effects import METHOD as METHOD_OF_EFFECTS
from app.analysis.effects import Effect, Factor, effects, summary
from app.analysis.fairness import UNFINISHED, Inequality, inequalities
from app.analysis.held_out import validated
from app.analysis.importance import variance_shares
from app.analysis.references import OtherReference, ReferenceResult, matching_references, other_references
from app.analysis.statistics import METHOD, Difference, Outcome, Stat, differences, judged, stat, stat_of_percents
from app.analysis.verdicts import answer, at_each_level, caveats, left_out, method_of_blocks, unpaired, verdict
from app.errors import Invalid
from app.store.plan import BEST, FINAL, MEAN, TEST, Measure
from app.store.rows import Run, State
from app.store.variants import VARIANT
from cct.catalog import poolings
from cct.own_poolings import is_known, pooling_info
from cct.spec import RunSpec

GROUPS = (*(field.name for field in fields(RunSpec) if field.name != "seed"), VARIANT)
"""Spec fields by which runs can be grouped into variants, and the name that an experiment gave its variants."""

MEASURES: dict[Measure, str] = {
    FINAL: "final top-1",
    BEST: "best top-1",
    MEAN: "mean top-1 of the last 3 epochs",
    TEST: "test top-1 after the last epoch, for which each run has read the test set once",
}
"""In words."""


@dataclass(frozen=True, slots=True)
class AtLevel:
    """A variant at one level of what else varies. Top-1 in percent; statistics are over seeds."""

    level: str
    runs: list[str]
    """Ids."""
    final: Stat | None
    test: Stat | None
    """Top-1 on the test set, of runs that hold training data out."""
    difference: Difference | None
    """The measure's result minus the baseline's at this level; null for the baseline, and where nothing else varies."""
    outcome: Outcome | None
    """What is claimed there; null like the difference."""


@dataclass(frozen=True, slots=True)
class Level:
    """A block: values of what varies besides variant and seed."""

    level: str
    """All values in words; empty where nothing else varies."""
    values: dict[str, str]
    """The values of one level, by field of the spec."""
    averaged: bool
    """Whether it counts in the variants' own numbers, as all that are compared have results there."""
    missing: list[str]
    """Variants without a completed run there."""


@dataclass(frozen=True, slots=True)
class VariantComparison:
    """One row of the comparison table. Top-1 in percent; statistics are over seeds, of which each counts with its mean
    over the levels that are averaged."""

    variant: str
    color: VariantColor
    formula: str
    """How the pooling is computed, when runs are grouped by pooling."""
    mixes_batch: bool | None
    """Whether the output for an image depends on its batch-mates in any of the runs; null until probed."""
    runs: int
    seeds: int
    """Seeds with at least one finished epoch, or an evaluation."""
    finished: int
    """Completed runs."""
    best: Stat | None
    """Highest validation top-1 of any epoch, of completed runs: others would be compared at different epochs."""
    final: Stat | None
    """Validation top-1 of the last epoch, of completed runs; the mean where several have the same seed."""
    test: Stat | None
    """Top-1 on the test set after the last epoch, read once, of completed runs that hold training data out."""
    minutes: Stat | None
    """Training time of completed runs."""
    difference: Difference | None
    """The measure's result minus the baseline's, paired by seed, over seeds that both have completed; null for the
    baseline."""
    outcome: Outcome | None
    """What is claimed of the variant against the baseline; null for the baseline."""
    verdict: str
    """The claim as a sentence, with its size and how sure it is."""
    provisional: bool
    """Whether the verdict may change because runs of the variant or of the baseline are unfinished."""
    levels: list[AtLevel]
    """One for each level of the comparison, in its order."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Variants side by side; results are comparable with `references` where model, dataset, epochs and recipe
    agree."""

    group: str
    factors: list[str]
    """The fields of the spec whose values make a variant."""
    baseline: str | None
    answer: str
    """All verdicts in short."""
    variants: list[VariantComparison]
    levels: list[Level]
    """What else varies between runs of a variant; a single level if nothing does."""
    effects: list[Effect]
    """Main effects and interactions of two factors; else none."""
    references: list[ReferenceResult]
    other_references: list[OtherReference]
    """Results for the same model or dataset that are not comparable."""
    fairness: list[Inequality]
    """All in which runs of the same level differ besides variant and seed: a difference may come from there."""
    doubts: list[Doubt]
    """Warnings that some of the runs have."""
    method: str
    """How verdicts are reached and what they assume."""
    measure: Measure
    """The result whose differences are compared."""
    importance: dict[str, float]
    """Share of the variance of results that is due to each factor and to whatever else varies, to all of these
    together, and to the rest; empty unless two vary and each combination has as many runs."""
    validated: str
    """On what the runs are validated, and by how much their best epochs flatter them, as sentences."""
    interval: str
    """What the interval of a difference is."""
    claims: bool
    """Whether p values hold: not if the number of seeds depends on what was seen. With a plan its verdicts alone do."""


def factors_of(group: str) -> list[str]:
    """Fields of the spec, of which `group` names one or several with commas between. Raises `Invalid`."""
    factors = group.split(",")
    for factor in factors:
        if factor not in GROUPS:
            raise Invalid("group", f"{factor!r} cannot group runs; choose one of {', '.join(GROUPS)}")
    if len(set(factors)) < len(factors):
        raise Invalid("group", f"{group!r} names a field twice; name each once")
    return factors


def group_runs(runs: Sequence[Run], group: str) -> dict[str, list[Run]]:
    """Runs by their values of one or several spec fields, poolings in the order of the catalog, other values sorted.

    Raises `Invalid` if there is no such field.
    """
    factors = factors_of(group)
    order = {name: position for position, name in enumerate(poolings())}
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(tuple(value_of(run, factor) for factor in factors), []).append(run)
    named = {name: position for position, name in enumerate(dict.fromkeys(run.variant for run in runs))}
    ranks = [{"pooling": order, VARIANT: named}.get(factor) for factor in factors]
    ascending = sorted(
        found,
        key=lambda values: [
            value if rank is None else rank.get(value, len(rank)) for rank, value in zip(ranks, values, strict=True)
        ],
    )
    return {_name(factors, values): found[values] for values in ascending}


def _name(factors: Sequence[str], values: Sequence[Any]) -> str:
    """The first factor's value as it is, those of others with the field's name: `seqpool, lr 0.0005`."""
    others = (f"{factor.replace('_', ' ')} {value}" for factor, value in zip(factors[1:], values[1:], strict=True))
    return ", ".join([str(values[0]), *others])


def colors(group: str, grouped: Mapping[str, Sequence[Run]]) -> dict[str, VariantColor]:
    """A look for each value of the first factor, by variant."""
    [first, *_] = factors_of(group)
    values = {variant: str(value_of(members[0], first)) for variant, members in grouped.items()}
    color = colors_of(list(values.values()), poolings() if first in ("pooling", VARIANT) else ())
    return {variant: color[value] for variant, value in values.items()}


def compare(
    runs: Sequence[Run], group: str = "pooling", baseline: str | None = None, measure: Measure = FINAL
) -> Comparison:
    """Compares variants; the baseline is `seqpool` if it is among them, else the first, unless named.

    Whatever else varies between the runs of a variant makes blocks: differences are those between runs of the same
    block and seed, and means are over the blocks in which all compared variants have results. Raises `Invalid` if
    `group` is not a spec field, or several, or `baseline` is not a variant.
    """
    factors, grouped = factors_of(group), group_runs(runs, group)
    baseline = baseline_of(grouped, baseline)
    blocks = blocks_of(grouped, group)
    by_measure = {one: results_by_level(grouped, blocks, one) for one in {FINAL, BEST, TEST, measure}}
    results = by_measure[measure]
    averaged = complete_levels(results, baseline)
    best, finals, tests = (_averaged(by_measure[one], averaged) for one in (BEST, FINAL, TEST))
    compared = _averaged(results, averaged)
    found = differences(compared, baseline) if baseline is not None else {}
    levels = _at_levels(grouped, blocks, by_measure, measure, baseline)
    color = colors(group, grouped)
    fairness = inequalities(grouped, (*fields_of(factors, runs), *blocks.fields), blocks)
    variants = []
    for variant, members in grouped.items():
        completed = [run for run in members if run.state is State.completed]
        counting = [run for run in completed if blocks.level_of[run.id] in averaged]
        probed = [run.mixes_batch for run in members if run.mixes_batch is not None]
        pooling = pooling_info(variant) if group == "pooling" and is_known(variant) else None
        difference = found.get(variant)
        mixes_batch = any(probed) if probed else None
        # Of several blocks, what is averaged depends on the runs of all variants.
        watched = runs if blocks.vary else [*members, *grouped[baseline or variant]]
        provisional = any(run.state in UNFINISHED for run in watched)
        outcome: Outcome | None = None
        if variant != baseline:
            outcome = difference.outcome if difference else "unclear"
        said = verdict(variant, baseline or "", difference, compared, provisional)
        if blocks.vary and variant != baseline and baseline is not None:
            if difference is None:
                said = unpaired(variant, baseline, results, averaged, blocks)
            said += at_each_level(
                averaged if difference else [], {at.level: at.difference for at in levels[variant]}, blocks
            )
        if mixes_batch and variant != baseline:
            said += "; its output for an image depends on the other images of the batch"
        variants.append(
            VariantComparison(
                variant=variant,
                color=color[variant],
                formula=pooling.formula if pooling else "",
                mixes_batch=mixes_batch,
                runs=len(members),
                seeds=len({run.spec.seed for run in members if run.final_top1 is not None}),
                finished=len(completed),
                best=stat_of_percents(best[variant].values()),
                final=stat_of_percents(finals[variant].values()),
                test=stat_of_percents(tests[variant].values()),
                minutes=stat(run.seconds / 60 for run in counting),
                difference=difference,
                outcome=outcome,
                verdict=said,
                provisional=provisional,
                levels=levels[variant],
            )
        )
    sentences = left_out(results, averaged, blocks) if found else []
    if found and measure != FINAL:
        sentences.append(f"Compared by {MEASURES[measure]}.")
    is_provisional, unequal = any(row.provisional for row in variants), [one.field for one in fairness]
    said = answer(baseline or "", found, sentences, is_provisional, unequal)
    of_factors: list[Effect] = []
    if len(factors) == 2 and baseline is not None and len(grouped) > 1:
        of_factors, told = _effects(runs, factors, grouped, baseline, compared)
        said = " ".join([*told, *sentences, *caveats(is_provisional, unequal)])
    return Comparison(
        group=group,
        factors=factors,
        baseline=baseline,
        answer=said,
        variants=variants,
        levels=[
            Level(level, values, level in averaged, [name for name, by_level in results.items() if not by_level[level]])
            for level, values in blocks.levels.items()
        ],
        effects=of_factors,
        references=matching_references(runs),
        other_references=other_references(runs),
        fairness=fairness,
        doubts=doubts(grouped),
        method=METHOD + (method_of_blocks(blocks) if blocks.vary else "") + (METHOD_OF_EFFECTS if of_factors else ""),
        measure=measure,
        importance=variance_shares(runs, [*factors, *blocks.fields], measure),
        validated=validated(runs),
        interval="95 % CI",
        claims=True,
    )


def _effects(
    runs: Sequence[Run],
    factors: Sequence[str],
    grouped: Mapping[str, Sequence[Run]],
    baseline: str,
    finals: Mapping[str, Mapping[int, float]],
) -> tuple[list[Effect], list[str]]:
    """The effects of two factors, and all of them in short."""
    values = {
        variant: tuple(str(value_of(members[0], factor)) for factor in factors) for variant, members in grouped.items()
    }
    first, second = (
        Factor(factor, list(group_runs(runs, factor)), of_baseline)
        for factor, of_baseline in zip(factors, values[baseline], strict=True)
    )
    cells = {(a, b): finals[variant] for variant, (a, b) in values.items()}
    found = effects(first, second, cells)
    return found, summary(first, second, found, cells)


def _at_levels(
    grouped: Mapping[str, Sequence[Run]],
    blocks: Blocks,
    by_measure: Mapping[Measure, Results],
    measure: Measure,
    baseline: str | None,
) -> dict[str, list[AtLevel]]:
    """The differences by variant; tests are corrected for all variants at all levels together."""
    results = by_measure[measure]
    others = [variant for variant in grouped if variant != baseline] if blocks.vary else []
    found = judged(
        {
            (variant, level): [
                value - results[baseline][level][seed]
                for seed, value in results[variant][level].items()
                if seed in results[baseline][level]
            ]
            for variant in others
            if baseline is not None
            for level in blocks.levels
        }
    )

    def at(variant: str, level: str) -> AtLevel:
        difference = found.get((variant, level))
        outcome: Outcome | None = "unclear" if (variant, level) in found else None
        return AtLevel(
            level=level,
            runs=[run.id for run in grouped[variant] if blocks.level_of[run.id] == level],
            final=stat_of_percents(by_measure[FINAL][variant][level].values()),
            test=stat_of_percents(by_measure[TEST][variant][level].values()),
            difference=difference,
            outcome=difference.outcome if difference else outcome,
        )

    return {variant: [at(variant, level) for level in blocks.levels] for variant in grouped}


def baseline_of(variants: Iterable[str], named: str | None) -> str | None:
    """The variant that others are compared with; None if there are no variants. Raises `Invalid`."""
    variants = list(variants)
    if named is None:
        first = [variant for variant in variants if variant == "seqpool" or variant.startswith("seqpool, ")]
        return next(iter([*first, *variants]), None)
    if named not in variants:
        raise Invalid("baseline", f"{named!r} is not compared here; choose one of {', '.join(variants)}")
    return named


def results_of(
    runs: Sequence[Run], comparison: Comparison, measure: Measure = FINAL
) -> tuple[dict[str, dict[int, float]], Results]:
    """What a comparison's numbers are of, in percent: each seed's mean by variant, and the results at each level."""
    grouped = group_runs(runs, comparison.group)
    results = results_by_level(grouped, blocks_of(grouped, comparison.group), measure)
    averaged = [level.level for level in comparison.levels if level.averaged]
    return _averaged(results, averaged), results


def _averaged(results: Results, levels: Sequence[str]) -> dict[str, dict[int, float]]:
    return {variant: over_levels(by_level, levels) for variant, by_level in results.items()}
