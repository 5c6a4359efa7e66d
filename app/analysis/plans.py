"""What a plan says in place of tests that hold for one look alone: its verdicts, as sentences. Pure functions."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from app.analysis.compared import Comparison, VariantComparison
from app.analysis.sequential import Judged
from app.analysis.statistics import Difference, Outcome
from app.store.plan import Plan, PlannedVariant, Planning

OUTCOMES: dict[str, Outcome] = {"better": "better", "worse": "worse", "alike": "alike"}
"""What else a plan says is no claim."""
INTERVAL = "interval that holds at every look"
EXPLORATORY = (
    "Exploratory: seeds were added after results were seen, so these p values do not hold. Ask again on new seeds, "
    "with a plan."
)
BESIDE_PLAN = (
    "Exploratory, nothing is claimed: this experiment's plan compares {factor} with {baseline} by {measure}, "
    "and how many seeds there are depends on what was seen of that."
)
METHOD = (
    "Declared {time}, before the first run: results are compared by {measure}, paired by seed, with {baseline}. A "
    "variant is better or worse at the first number of seeds n, from {first} on, at which n times p of the paired "
    "t-test falls to a bound that holds however often one looks: repeated significance tests (Armitage, McPherson and "
    "Rowe 1969) whose chance to claim is computed exactly, as for sequential t-tests (Jennison and Turnbull 1991), "
    "with Holm's procedure (1979) over the variants and an error rate of {alpha:g} %. It is alike at the first n at "
    "which both one-sided tests against ±{smallest:g} points (Schuirmann 1987) do. Intervals hold at every look "
    "(Jennison and Turnbull 1989). At most {most} seeds. The difference at which a plan stops is a little too large on "
    "average."
)


def with_plan(
    found: Comparison,
    plan: Plan,
    planned_at: datetime,
    planning: Planning,
    max_seeds: int,
    judgements: Mapping[str, Judged],
) -> Comparison:
    """The comparison with the plan's verdicts, and intervals that hold at every look, in place of its own.

    `judgements` are those of its results, by variant; what was settled or is void is told by `planning`.
    """
    method = METHOD.format(
        measure=plan.measure,
        baseline=plan.baseline,
        alpha=100 * plan.alpha,
        smallest=plan.smallest_difference,
        first=plan.first_look,
        time=f"{planned_at:%Y-%m-%d %H:%M} UTC",
        most=max_seeds if max_seeds == plan.max_seeds else f"{max_seeds} (declared: {plan.max_seeds})",
    )
    rows = [
        _row(row, planning.variants[row.variant], judgements[row.variant], plan, max_seeds)
        if row.variant in judgements
        else row
        for row in found.variants
    ]
    answer = _answer(plan, planning)
    return replace(
        found, variants=rows, answer=answer, method=method, measure=plan.measure, interval=INTERVAL, claims=False
    )


def beside_plan(found: Comparison, plan: Plan, planning: Planning) -> Comparison:
    """The comparison of an experiment with a plan by something else than its plan: numbers without a claim."""
    answer = BESIDE_PLAN.format(factor=planning.factor, baseline=plan.baseline, measure=plan.measure)
    return unclaimed(found, answer)


def unclaimed(found: Comparison, answer: str) -> Comparison:
    """The comparison's numbers, of which nothing is claimed, with why."""
    rows = [
        replace(row, outcome="unclear", difference=_without_p(row), verdict=_unclaimed(row)) if row.outcome else row
        for row in found.variants
    ]
    return replace(found, variants=rows, answer=answer, effects=[], claims=False)


def _without_p(row: VariantComparison) -> Difference | None:
    return row.difference and replace(row.difference, p=None, p_corrected=None, p_sign_flip=None, further_seeds=None)


def _unclaimed(row: VariantComparison) -> str:
    if row.difference is None:
        return "no seed in common yet"
    return f"{row.difference.mean:+.2f} points over {row.difference.n} seeds, nothing is claimed"


def exploratory(found: Comparison) -> Comparison:
    """The comparison of an experiment whose seeds were added after results were seen."""
    return replace(found, answer=f"{found.answer} {EXPLORATORY}".strip(), claims=False)


def _row(row: VariantComparison, planned: PlannedVariant, one: Judged, plan: Plan, max_seeds: int) -> VariantComparison:
    unclaimed = _without_p(row)
    difference = unclaimed and replace(
        unclaimed,
        low=one.low,
        high=one.high,
        mean=unclaimed.mean if one.mean is None else one.mean,
        sd=one.sd,
        effect_size=one.mean / one.sd if one.mean is not None and one.sd else None,
        n=one.seeds,
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
