"""What a plan says in place of tests that hold for one look alone: its verdicts, as sentences. Pure functions."""

from collections.abc import Mapping
from dataclasses import replace

from app.analysis.comparison import Comparison, VariantComparison
from app.analysis.sequential import Judged
from app.analysis.statistics import Outcome
from app.store.plan import Plan, PlannedVariant, Planning

OUTCOMES: dict[str, Outcome] = {"better": "better", "worse": "worse", "alike": "alike"}
"""What else a plan says is no claim."""
INTERVAL = "interval that holds at every look"
EXPLORATORY = (
    "Exploratory: seeds were added after results were seen, so these p values do not hold. Ask again on new seeds, "
    "with a plan."
)
METHOD = (
    "Declared before the first run: results are compared by {measure}, paired by seed, with {baseline}. A variant is "
    "better or worse at the first number of seeds n at which n times p of the paired t-test falls below a bound that "
    "holds however often one looks (Holm over the variants, error rate {alpha:g} %), and alike at the first at which "
    "both one-sided tests against ±{smallest:g} points do; at most {most} seeds. The difference at which a plan stops "
    "is a little too large on average."
)


def with_plan(
    found: Comparison, plan: Plan, planning: Planning, max_seeds: int, judgements: Mapping[str, Judged]
) -> Comparison:
    """The comparison with the plan's verdicts, and intervals that hold at every look, in place of its own.

    `judgements` are those of its results, by variant; what was settled or is void is told by `planning`.
    """
    method = METHOD.format(
        measure=plan.measure,
        baseline=plan.baseline,
        alpha=100 * plan.alpha,
        smallest=plan.smallest_difference,
        most=max_seeds,
    )
    rows = [
        _row(row, planning.variants[row.variant], judgements[row.variant], plan, max_seeds)
        if row.variant in judgements
        else row
        for row in found.variants
    ]
    answer = _answer(plan, planning)
    return replace(found, variants=rows, answer=answer, method=method, measure=plan.measure, interval=INTERVAL)


def exploratory(found: Comparison) -> Comparison:
    """The comparison of an experiment whose seeds were added after results were seen."""
    return replace(found, answer=f"{found.answer} {EXPLORATORY}".strip())


def _row(row: VariantComparison, planned: PlannedVariant, one: Judged, plan: Plan, max_seeds: int) -> VariantComparison:
    difference = row.difference and replace(
        row.difference,
        low=one.low,
        high=one.high,
        mean=row.difference.mean if one.mean is None else one.mean,
        sd=one.sd,
        effect_size=one.mean / one.sd if one.mean is not None and one.sd else None,
        n=one.seeds,
        p=None,
        p_corrected=None,
        p_sign_flip=None,
        further_seeds=None,
    )
    outcome = OUTCOMES.get(planned.outcome, "unclear")
    said = _sentence(planned, one, plan, max_seeds)
    return replace(row, difference=difference, outcome=outcome, verdict=said, provisional=planned.outcome == "open")


def _sentence(planned: PlannedVariant, one: Judged, plan: Plan, max_seeds: int) -> str:
    if planned.why:
        return planned.why
    if one.mean is None or one.low is None or one.high is None:
        return f"open: {one.seeds} of {max_seeds} seeds, first look at seed {plan.first_look}"
    holds = f"between {one.low:.2f} and {one.high:.2f}"
    match planned.outcome:
        case "better" | "worse" as direction:
            sign = 1 if direction == "better" else -1
            ends = sorted((sign * one.low, sign * one.high))
            by = f"{sign * one.mean:.2f} ({ends[0]:.2f} to {ends[1]:.2f}, holds however often you look)"
            return f"{direction} by {by}, settled after {planned.seeds} seeds"
        case "alike":
            return f"within ±{plan.smallest_difference:g}, settled after {planned.seeds} seeds"
        case "undecided":
            return f"budget of {max_seeds} seeds spent: {holds}"
        case _:
            return f"open: {one.seeds} of {max_seeds} seeds, next look at seed {one.seeds + 1}; {holds}"


def _answer(plan: Plan, planning: Planning) -> str:
    heads = {
        "better": f"Better than {plan.baseline}",
        "worse": f"Worse than {plan.baseline}",
        "alike": f"Like {plan.baseline}",
        "undecided": "Undecided, the budget is spent",
        "open": "Still open",
        "void": "Guarantee void",
    }
    named = {
        head: [name for name, one in planning.variants.items() if one.outcome == outcome]
        for outcome, head in heads.items()
    }
    return " ".join(f"{head}: {', '.join(names)}." for head, names in named.items() if names)
