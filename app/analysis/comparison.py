"""Groups runs into variants and compares them with a baseline and with published results. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
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
from app.analysis.compared import AtLevel, Comparison, Level, VariantComparison
from app.analysis.doubts import doubts, imported_doubt
from app.analysis.effects import METHOD as METHOD_OF_EFFECTS
from app.analysis.effects import Effect, Factor, effects, summary
from app.analysis.fairness import UNFINISHED, inequalities
from app.analysis.held_out import validated
from app.analysis.importance import variance_shares
from app.analysis.references import matching_references, other_references
from app.analysis.statistics import METHOD, Outcome, differences, judged, stat, stat_of_percents
from app.analysis.verdicts import answer, at_each_level, caveats, left_out, method_of_blocks, unpaired, verdict
from app.errors import Invalid
from app.store.plan import BALANCED, BEST, CALIBRATION, FINAL, LIKELIHOOD, MEAN, TEST, Measure
from app.store.rows import Run, State
from app.store.variants import VARIANT
from cct.catalog import poolings
from cct.own_poolings import is_known, pooling_info
from cct.spec import RunSpec

APART = " (external)"
"""Ends the name of a variant that consists of results from elsewhere."""

GROUPS = (*(field.name for field in fields(RunSpec) if field.name != "seed"), VARIANT)
"""Spec fields by which runs can be grouped into variants, and the name that an experiment gave its variants."""

MEASURES: dict[Measure, str] = {
    FINAL: "final top-1",
    BEST: "best top-1",
    MEAN: "mean top-1 of the last 3 epochs",
    TEST: "test top-1 after the last epoch, for which each run has read the test set once",
    BALANCED: "final balanced accuracy",
    LIKELIHOOD: "final likelihood: the probability of the right class, as the geometric mean exp(-NLL) over the images",
    CALIBRATION: "final calibration: 100 % minus the expected calibration error",
}
"""In words."""
TITLES: dict[Measure, str] = {
    FINAL: "Final top-1",
    BEST: "Best top-1",
    MEAN: "Mean top-1 of the last 3 epochs",
    TEST: "Test top-1",
    BALANCED: "Final balanced accuracy",
    LIKELIHOOD: "Final likelihood",
    CALIBRATION: "Final calibration",
}
"""On axes."""


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

    Results from elsewhere that are to stand apart are groups of their own, after the others. Raises `Invalid` if there
    is no such field.
    """
    ours, others = ([run for run in runs if run.stands_apart == apart] for apart in (False, True))
    return _grouped(ours, group) | {name + APART: members for name, members in _grouped(others, group).items()}


def _grouped(runs: Sequence[Run], group: str) -> dict[str, list[Run]]:
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
    values = {
        variant: f"{value_of(members[0], first)}{APART if members[0].stands_apart else ''}"
        for variant, members in grouped.items()
    }
    color = colors_of(list(values.values()), poolings() if first in ("pooling", VARIANT) else ())
    return {variant: color[value] for variant, value in values.items()}


def compare(
    runs: Sequence[Run], group: str = "pooling", baseline: str | None = None, measure: Measure = FINAL
) -> Comparison:
    """Compares variants; the baseline is `seqpool` if it is among them, else the first, unless named.

    Whatever else varies between the runs of a variant makes blocks: differences are those between runs of the same
    block and seed, and means are over the blocks in which all compared variants have results. Raises `Invalid` if
    `group` is not a spec field, or several, or `baseline` is not a variant.

    Results from elsewhere stand beside the variants, without a difference, unless they count.
    """
    grouped = group_runs(runs, group)
    found = _compare([run for run in runs if not run.stands_apart], group, baseline, measure)
    color = colors(group, grouped)
    levels = [level.level for level in found.levels] or [""]
    beside = [
        _beside(name, members, color[name], levels) for name, members in grouped.items() if members[0].stands_apart
    ]
    variants = [replace(row, color=color[row.variant]) for row in found.variants]
    if beside and not variants:
        found = replace(
            found, answer="All of this was trained elsewhere: let it count, on the runs' pages, to compare it."
        )
    counting = [run for run in runs if run.external and run.counts]
    imported = imported_doubt({name: [run for run in members if run in counting] for name, members in grouped.items()})
    return replace(found, variants=[*variants, *beside], doubts=[*found.doubts, *imported])


def _beside(variant: str, runs: Sequence[Run], color: VariantColor, levels: Sequence[str]) -> VariantComparison:
    """The row of results from elsewhere, of which no claim is made. Of which level they are is not known: they stand at
    the first."""
    files = ", ".join(sorted({run.external.file for run in runs if run.external}))
    return VariantComparison(
        variant=variant,
        color=color,
        formula="",
        mixes_batch=None,
        runs=len(runs),
        seeds=len({run.spec.seed for run in runs}),
        finished=len(runs),
        best=stat_of_percents(run.best_top1 for run in runs if run.best_top1 is not None),
        final=stat_of_percents(run.final_top1 for run in runs if run.final_top1 is not None),
        test=None,
        minutes=stat(run.seconds / 60 for run in runs if run.seconds),
        difference=None,
        outcome=None,
        verdict=f"{variant} was trained elsewhere ({files}) and stands beside; it enters no verdict",
        provisional=False,
        levels=[
            AtLevel(
                level=level,
                runs=[] if place else [run.id for run in runs],
                final=None,
                test=None,
                difference=None,
                outcome=None,
            )
            for place, level in enumerate(levels)
        ],
    )


def _compare(runs: Sequence[Run], group: str, baseline: str | None, measure: Measure) -> Comparison:
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
