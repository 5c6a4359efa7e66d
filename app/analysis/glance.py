"""What an experiment has found out by now, for where there is room for one line and a small picture."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.analysis.colors import VariantColor
from app.analysis.compared import Comparison, VariantComparison
from app.analysis.comparison import results_of
from app.analysis.fairness import UNFINISHED
from app.analysis.statistics import Outcome, Stat, stat_of_percents
from app.analysis.tuning import best_of, trials_of
from app.analysis.verdicts import points
from app.limits import PICTURED_VARIANTS
from app.store.rows import Run, State
from app.store.tuning import Tuning


@dataclass(frozen=True, slots=True)
class PicturedVariant:
    variant: str
    color: VariantColor
    top1: list[float]
    """Final top-1 of each seed, in percent."""
    final: Stat | None
    """Mean and interval of these; of the trials of a search the best one."""


@dataclass(frozen=True, slots=True)
class Glance:
    """An experiment in short."""

    answer: str
    """Which variant is best, by how much, and whether that is sure, as one sentence."""
    outcome: Outcome | None
    """What is claimed of the two variants in the answer; null where two have no result yet."""
    provisional: bool
    """Whether unfinished runs may change it."""
    variants: list[PicturedVariant]
    """The best first, not more than there is room for."""
    left_out: int
    """Variants that are not among these."""
    problems: list[str]
    """What is wrong, as sentences: failed runs, warnings, differences beside the variant."""


def glance(runs: Sequence[Run], comparison: Comparison, is_exploratory: bool) -> Glance:
    """What an experiment's card says of all its runs, as they are compared.

    The answer is about the best variant and the baseline or, where the baseline is best, the next after it.
    """
    finals, _ = results_of(runs, comparison)
    ranked = sorted(comparison.variants, key=lambda row: -row.final.mean if row.final else 0.0)
    answer, outcome = _answer([row for row in ranked if row.final], comparison, is_exploratory)
    return Glance(
        answer=answer,
        outcome=outcome,
        provisional=any(run.state in UNFINISHED for run in runs),
        variants=[
            PicturedVariant(row.variant, row.color, list(finals[row.variant].values()), row.final)
            for row in ranked[:PICTURED_VARIANTS]
        ],
        left_out=max(0, len(ranked) - PICTURED_VARIANTS),
        problems=_problems(runs, comparison),
    )


def glance_of_search(runs: Sequence[Run], comparison: Comparison, tuning: Tuning) -> Glance:
    """What the card of a search says: its best trial, and all of their results."""
    trials = trials_of(runs, tuning)
    best = {variant: one for variant, found in trials.items() if (one := best_of(found))}
    color = {row.variant: row.color for row in comparison.variants}
    ranked = sorted(trials, key=lambda variant: -(best[variant].top1 or 0.0) if variant in best else 0.0)
    answer = "No trial has ended yet"
    if best:
        settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in best[ranked[0]].settings.items())
        answer = (
            f"Best of the trials so far: {ranked[0]}, {best[ranked[0]].top1:.2f} % on held-out data, with {settings}"
        )
    return Glance(
        answer=answer,
        outcome=None,
        provisional=any(run.state in UNFINISHED for run in runs),
        variants=[
            PicturedVariant(
                variant=variant,
                color=color[variant],
                top1=[one.top1 for one in trials[variant] if one.top1 is not None],
                final=stat_of_percents([best[variant].top1 or 0.0]) if variant in best else None,
            )
            for variant in ranked[:PICTURED_VARIANTS]
        ],
        left_out=max(0, len(ranked) - PICTURED_VARIANTS),
        problems=_problems(runs, comparison),
    )


def _answer(
    ranked: Sequence[VariantComparison], comparison: Comparison, is_exploratory: bool
) -> tuple[str, Outcome | None]:
    if not ranked:
        return "No result yet", None
    best = ranked[0]
    if len(ranked) == 1:
        top1 = best.final.mean if best.final else 0.0
        return f"{best.variant}: {top1:.2f} % after {_seeds(best.seeds)}", None
    other, baseline = ranked[1] if best.variant == comparison.baseline else best, comparison.baseline
    difference = other.difference
    if difference is None:
        return f"{best.variant} has the highest mean, but no seed in common with others", "unclear"
    first, second = (other.variant, baseline) if difference.mean > 0 else (baseline, other.variant)
    by = points(abs(difference.mean), difference)
    if is_exploratory:
        return f"{first} leads {second} by {by}: exploratory, nothing is sure", "unclear"
    # A fixed number of seeds is judged once, at its end; what a plan has settled is not provisional.
    if other.provisional and other.outcome != "unclear":
        return f"{first} leads {second} by {by}: not sure before all runs have ended", "unclear"
    match other.outcome:
        case "better" | "worse":
            return f"{first} is better than {second} by {by}", "better"
        case "alike":
            return f"{first} and {second} are alike: {by} apart", "alike"
        case _:
            return f"{first} leads {second} by {by}: not sure after {_seeds(difference.n)}", "unclear"


def _problems(runs: Sequence[Run], comparison: Comparison) -> list[str]:
    failed = Counter(_failure(run) for run in runs if run.state is State.failed)
    found = [f"{_plural(count, 'run')} failed: {why}" for why, count in failed.items()]
    found += [f"{_plural(len(doubt.runs), 'run')}: {doubt.text}" for doubt in comparison.doubts]
    if fields := [one.field for one in comparison.fairness]:
        found.append(f"Runs differ in {', '.join(fields)} too, which may be the cause of a difference")
    return found


def _failure(run: Run) -> str:
    if run.failure in (None, "error"):
        return (run.error or "of unknown cause").partition("\n")[0]
    return run.failure or ""


def _seeds(count: int) -> str:
    return _plural(count, "seed")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
