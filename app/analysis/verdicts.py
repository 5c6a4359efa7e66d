"""What the statistics say, as sentences: which variant is better, by how much, and how sure that is."""

from collections.abc import Mapping, Sequence

from app.analysis.statistics import SMALLEST_DIFFERENCE, Difference, Outcome

CLAIMS: tuple[Outcome, ...] = ("better", "worse")


def verdict(
    variant: str,
    baseline: str,
    difference: Difference | None,
    finals: Mapping[str, Mapping[int, float]],
    provisional: bool,
    mixes_batch: bool,
) -> str:
    """One variant against the baseline; `finals` are the results by variant and seed that `difference` came from."""
    if variant == baseline:
        return "the baseline"
    if difference is None:
        said = _without_pairs(variant, baseline, finals)
    else:
        said = ("so far, " if provisional else "") + _claim(variant, baseline, difference)
    return said + ("; its output for an image depends on the other images of the batch" if mixes_batch else "")


def answer(
    baseline: str,
    differences: Mapping[str, Difference | None],
    provisional: bool,
    unequal: Sequence[str],
) -> str:
    """All variants against the baseline, what is claimed first; empty if there is nothing to compare."""
    if not differences:
        return ""
    heads: dict[Outcome, str] = {
        "better": f"Better than {baseline}",
        "worse": f"Worse than {baseline}",
        "alike": f"Like {baseline}",
        "unclear": "Cannot tell yet",
    }
    named: dict[Outcome, list[str]] = {outcome: [] for outcome in heads}
    for variant, difference in differences.items():
        outcome = difference.outcome if difference else "unclear"
        by = f" by {_points(abs(difference.mean), difference)}" if difference and outcome in CLAIMS else ""
        named[outcome].append(variant + by)
    sentences = [f"{heads[outcome]}: {', '.join(variants)}." for outcome, variants in named.items() if variants]
    if provisional:
        sentences.append("Some runs are unfinished, so this may change.")
    if unequal:
        sentences.append(f"The runs differ in {', '.join(unequal)} too, which may be the cause.")
    return " ".join(sentences)


def _without_pairs(variant: str, baseline: str, finals: Mapping[str, Mapping[int, float]]) -> str:
    lacking = [name for name in (baseline, variant) if not finals[name]]
    if lacking:
        return f"cannot tell: no completed run of {' and '.join(lacking)}"
    return f"cannot tell: no seed was completed by both {variant} and {baseline}"


def _claim(variant: str, baseline: str, difference: Difference) -> str:
    d, seeds = difference, f"{difference.n} seeds"
    match d.outcome:
        case "better" | "worse" as direction:
            sign = 1 if d.mean > 0 else -1
            sure = f"{_interval(d, sign)}, {seeds}" if d.low is not None else f"on each of {seeds}"
            return f"{variant} is {direction} than {baseline} by {_points(abs(d.mean), d)} ({sure})"
        case "alike" if d.low is None:
            return f"{variant} gives the very results of {baseline} ({seeds})"
        case "alike":
            return (
                f"{variant} is like {baseline}: a difference of {SMALLEST_DIFFERENCE:g} points or more is unlikely "
                f"({_points(d.mean, d)}, {_interval(d)}, {seeds})"
            )
    if d.n == 1:
        return f"cannot tell: one seed ({_points(d.mean, d)})"
    observed = f"{_points(d.mean, d)}, {_interval(d)}" if d.low is not None else f"{_points(d.mean, d)} on each"
    further = "over 1,000 more" if d.further_seeds is None else f"roughly {d.further_seeds} more"
    return f"cannot tell yet: {seeds} ({observed}), {further} to resolve {d.target:.1f} points"


def _interval(difference: Difference, sign: int = 1) -> str:
    """Ends in ascending order, of the difference times `sign`."""
    low, high = sorted((sign * (difference.low or 0.0), sign * (difference.high or 0.0)))
    return f"95 % CI {_number(low, difference)} to {_number(high, difference)}"


def _points(value: float, difference: Difference) -> str:
    return f"{_number(value, difference)} points"


def _number(value: float, difference: Difference) -> str:
    """With the decimals that the interval's width warrants."""
    wide = difference.low is not None and difference.high is not None and difference.high - difference.low > 0.3
    digits = 1 if wide else 2
    return f"{round(value, digits) + 0.0:.{digits}f}"
