"""What the statistics say, as sentences: which variant is better, by how much, and how sure that is."""

from collections.abc import Mapping, Sequence

from app.analysis.blocks import LISTED, Blocks, Results, listed
from app.analysis.statistics import SMALLEST_DIFFERENCE, Difference, Outcome

CLAIMS: tuple[Outcome, ...] = ("better", "worse")


def verdict(
    variant: str,
    baseline: str,
    difference: Difference | None,
    finals: Mapping[str, Mapping[int, float]],
    provisional: bool,
) -> str:
    """One variant against the baseline; `finals` are the results by variant and seed that `difference` came from."""
    if variant == baseline:
        return "the baseline"
    if difference is None:
        return _without_pairs(variant, baseline, finals)
    return ("so far, " if provisional else "") + _claim(variant, baseline, difference)


def answer(
    baseline: str,
    differences: Mapping[str, Difference | None],
    of_blocks: Sequence[str],
    provisional: bool,
    unequal: Sequence[str],
) -> str:
    """All variants against the baseline, what is claimed first; empty if there is nothing to compare.

    `of_blocks` are sentences about what is averaged.
    """
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
        by = f" by {points(abs(difference.mean), difference)}" if difference and outcome in CLAIMS else ""
        named[outcome].append(variant + by)
    sentences = [f"{heads[outcome]}: {', '.join(variants)}." for outcome, variants in named.items() if variants]
    sentences += of_blocks
    return " ".join([*sentences, *caveats(provisional, unequal)])


def caveats(provisional: bool, unequal: Sequence[str]) -> list[str]:
    """Why an answer may not be the last word, as sentences."""
    sentences = []
    if provisional:
        sentences.append("Some runs are unfinished, so this may change.")
    if unequal:
        sentences.append(f"The runs differ in {', '.join(unequal)} too, which may be the cause.")
    return sentences


def at_each_level(averaged: Sequence[str], differences: Mapping[str, Difference | None], blocks: Blocks) -> str:
    """What follows a verdict: over which levels its difference is the mean, and the difference at each, once."""
    said = ""
    if averaged:
        said = f", on average over {blocks.over(averaged)}" if len(averaged) > 1 else f", at {averaged[0]}"
    known = {level: difference for level, difference in differences.items() if difference and [level] != averaged}
    for level, difference in list(known.items())[:LISTED]:
        ends = f"{interval(difference)}, " if difference.low is not None else ""
        claimed = f", {difference.outcome}" if difference.outcome != "unclear" else ""
        seeds = f"{difference.n} {'seed' if difference.n == 1 else 'seeds'}"
        sign = "+" if difference.mean > 0 else ""
        said += f"; at {level} {sign}{points(difference.mean, difference)} ({ends}{seeds}{claimed})"
    return said + (f"; {len(known) - LISTED} more in the table" if len(known) > LISTED else "")


def unpaired(variant: str, baseline: str, results: Results, averaged: Sequence[str], blocks: Blocks) -> str:
    """Why there is no difference on average, where something else varies."""
    having = {name: [level for level, found in results[name].items() if found] for name in (baseline, variant)}
    if lacking := [name for name, levels in having.items() if not levels]:
        return f"cannot tell: no completed run of {' and '.join(lacking)}"
    if not set(having[variant]) & set(having[baseline]):
        return f"cannot tell: {variant} and {baseline} were completed at no equal {blocks.named}"
    if not averaged:
        return f"no average: no {blocks.named} was completed by all variants"
    return f"no average: no seed was completed by both {variant} and {baseline} at each of {blocks.over(averaged)}"


def left_out(results: Results, averaged: Sequence[str], blocks: Blocks) -> list[str]:
    """What is averaged where something else varies, and which cells are missing; nothing if nothing else does."""
    if not blocks.vary:
        return []
    incomplete = {
        level: [variant for variant, by_level in results.items() if not by_level[level]]
        for level in blocks.levels
        if level not in averaged
    }
    if not averaged:
        sentences = [f"Nothing is averaged: no {blocks.named} was completed by all variants."]
    elif len(averaged) == 1:
        sentences = [f"This is at {averaged[0]} alone."]
    else:
        sentences = [f"This is on average over {blocks.over(averaged)}, paired within each."]
    for level, missing in list(incomplete.items())[:LISTED]:
        sentences.append(f"Left out: {level}, with no completed run of {listed(missing)}.")
    if len(incomplete) > LISTED:
        sentences.append(f"{len(incomplete) - LISTED} more are left out, see the table.")
    return sentences


def method_of_blocks(blocks: Blocks) -> str:
    """What follows the method where something else varies."""
    return (
        f" The runs of a variant differ in {blocks.named}, too: each combination of values is a block. Differences are "
        "taken between runs of equal block and seed. The difference of a seed is its mean over the blocks in which all "
        "compared variants have completed runs, all with equal weight, and a seed counts if both sides have completed "
        "it in each of them; what is claimed holds for the average over these very values. A block in which a variant "
        "is missing is left out of it, and named. The difference in each block is told beside; its p is corrected "
        "after Holm for all variants in all blocks together, apart from the averages."
    )


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
            sure = f"{interval(d, sign)}, {seeds}" if d.low is not None else f"on each of {seeds}"
            return f"{variant} is {direction} than {baseline} by {points(abs(d.mean), d)} ({sure})"
        case "alike" if d.low is None:
            return f"{variant} gives the very results of {baseline} ({seeds})"
        case "alike":
            return (
                f"{variant} is like {baseline}: a difference of {SMALLEST_DIFFERENCE:g} points or more is unlikely "
                f"({points(d.mean, d)}, {interval(d)}, {seeds})"
            )
    if d.n == 1:
        return f"cannot tell: one seed ({points(d.mean, d)})"
    observed = f"{points(d.mean, d)}, {interval(d)}" if d.low is not None else f"{points(d.mean, d)} on each"
    further = "over 1,000 more" if d.further_seeds is None else f"roughly {d.further_seeds} more"
    return f"cannot tell yet: {seeds} ({observed}), {further} to resolve {d.target:.1f} points"


def interval(difference: Difference, sign: int = 1) -> str:
    """Ends in ascending order, of the difference times `sign`."""
    low, high = sorted((sign * (difference.low or 0.0), sign * (difference.high or 0.0)))
    return f"95 % CI {_number(low, difference)} to {_number(high, difference)}"


def points(value: float, difference: Difference) -> str:
    """The value with the decimals that the interval's width warrants."""
    return f"{_number(value, difference)} points"


def _number(value: float, difference: Difference) -> str:
    """The value with the decimals that the interval's width warrants."""
    wide = difference.low is not None and difference.high is not None and difference.high - difference.low > 0.3
    digits = 1 if wide else 2
    return f"{round(value, digits) + 0.0:.{digits}f}"
