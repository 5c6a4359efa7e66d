"""Groups runs into variants and compares them with a baseline and with published results. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

from app.analysis.doubts import Doubt, doubts
from app.analysis.references import OtherReference, ReferenceResult, matching_references, other_references
from app.analysis.statistics import METHOD, Difference, Outcome, Stat, differences, stat
from app.analysis.verdicts import answer, verdict
from app.errors import Invalid
from app.store.plan import FINAL, Measure
from app.store.rows import Run, State
from cct.catalog import poolings
from cct.events import CODE_OF, EXTENDED
from cct.recipes import OWN, RECIPE_FIELDS
from cct.spec import RunSpec

# From Paul Tol's qualitative schemes, which colour-blind people can tell apart; readable on light and dark.
PALETTE = (
    *("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377"),
    *("#EE8866", "#44AA99", "#999933", "#CC6677", "#AA4499", "#77AADD"),
)

GROUPS = tuple(field.name for field in fields(RunSpec) if field.name != "seed")
"""Spec fields by which runs can be grouped into variants."""


UNFINISHED = (State.queued, State.running)


@dataclass(frozen=True, slots=True)
class VariantComparison:
    """One row of the comparison table. Top-1 in percent; statistics are over seeds."""

    variant: str
    color: str
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
    """Highest top-1 of any epoch, of completed runs: others would be compared at different epochs."""
    final: Stat | None
    """Top-1 of the last epoch, of completed runs; the mean where several have the same seed."""
    minutes: Stat | None
    """Training time of completed runs."""
    difference: Difference | None
    """Final top-1 minus the baseline's, paired by seed, over seeds that both have completed; null for the baseline."""
    outcome: Outcome | None
    """What is claimed of the variant against the baseline; null for the baseline."""
    verdict: str
    """The claim as a sentence, with its size and how sure it is."""
    provisional: bool
    """Whether the verdict may change because runs of the variant or of the baseline are unfinished."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that some of the compared runs have."""

    value: str
    variants: list[str]
    runs: list[str]
    """Ids."""


@dataclass(frozen=True, slots=True)
class Inequality:
    """A field of the spec or of the provenance in which the compared runs differ."""

    field: str
    settings: list[Setting]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Variants side by side; results are comparable with `references` where model, dataset, epochs and recipe
    agree."""

    group: str
    baseline: str | None
    answer: str
    """All verdicts in short."""
    variants: list[VariantComparison]
    references: list[ReferenceResult]
    other_references: list[OtherReference]
    """Results for the same model or dataset that are not comparable."""
    fairness: list[Inequality]
    """All in which the runs differ besides variant and seed: a difference in results may come from there."""
    doubts: list[Doubt]
    """Warnings that some of the runs have."""
    method: str
    """How verdicts are reached and what they assume."""
    measure: Measure
    """The result whose differences are compared."""
    interval: str
    """What the interval of a difference is."""
    claims: bool
    """Whether p values hold: not if the number of seeds depends on what was seen. With a plan its verdicts alone do."""


def group_runs(runs: Sequence[Run], group: str) -> dict[str, list[Run]]:
    """Runs by their value of a spec field, poolings in the order of the catalog, other values sorted.

    Raises `Invalid` if there is no such field.
    """
    if group not in GROUPS:
        raise Invalid("group", f"{group!r} cannot group runs; choose one of {', '.join(GROUPS)}")
    order = {name: position for position, name in enumerate(poolings())}
    found: dict[Any, list[Run]] = {}
    for run in runs:
        found.setdefault(getattr(run.spec, group), []).append(run)
    values = sorted(found, key=lambda value: order.get(value, len(order)) if group == "pooling" else value)
    return {str(value): found[value] for value in values}


def colors(group: str, variants: Sequence[str]) -> dict[str, str]:
    """One colour per variant; a pooling keeps its colour wherever it appears, those that are gone come last."""
    order = list(dict.fromkeys([*(poolings() if group == "pooling" else ()), *variants]))
    return {variant: PALETTE[order.index(variant) % len(PALETTE)] for variant in variants}


def compare(runs: Sequence[Run], group: str = "pooling", baseline: str | None = None) -> Comparison:
    """Compares variants; the baseline is `seqpool` if it is among them, else the first, unless named.

    Raises `Invalid` if `group` is not a spec field or `baseline` is not a variant.
    """
    grouped = group_runs(runs, group)
    baseline = baseline_of(grouped, baseline)
    finals = results_by_seed(grouped)
    found = differences(finals, baseline) if baseline is not None else {}
    color = colors(group, list(grouped))
    fairness = inequalities(grouped, group)
    variants = []
    for variant, members in grouped.items():
        completed = [run for run in members if run.state is State.completed]
        probed = [run.mixes_batch for run in members if run.mixes_batch is not None]
        pooling = poolings().get(variant)
        difference = found.get(variant)
        mixes_batch = any(probed) if probed else None
        provisional = any(run.state in UNFINISHED for run in [*members, *grouped[baseline or variant]])
        outcome: Outcome | None = None
        if variant != baseline:
            outcome = difference.outcome if difference else "unclear"
        variants.append(
            VariantComparison(
                variant=variant,
                color=color[variant],
                formula=pooling.formula if pooling and group == "pooling" else "",
                mixes_batch=mixes_batch,
                runs=len(members),
                seeds=len({run.spec.seed for run in members if run.final_top1 is not None}),
                finished=len(completed),
                best=stat(_by_seed((run, run.best_top1) for run in completed).values()),
                final=stat(finals[variant].values()),
                minutes=stat(run.seconds / 60 for run in completed),
                difference=difference,
                outcome=outcome,
                verdict=verdict(variant, baseline or "", difference, finals, provisional, bool(mixes_batch)),
                provisional=provisional,
            )
        )
    return Comparison(
        group=group,
        baseline=baseline,
        answer=answer(
            baseline or "",
            found,
            any(row.provisional for row in variants),
            [inequality.field for inequality in fairness],
        ),
        variants=variants,
        references=matching_references(runs),
        other_references=other_references(runs),
        fairness=fairness,
        doubts=doubts(grouped),
        method=METHOD,
        measure=FINAL,
        interval="95 % CI",
        claims=True,
    )


def baseline_of(variants: Iterable[str], named: str | None) -> str | None:
    """The variant that others are compared with; None if there are no variants. Raises `Invalid`."""
    variants = list(variants)
    if named is None:
        return "seqpool" if "seqpool" in variants else next(iter(variants), None)
    if named not in variants:
        raise Invalid("baseline", f"{named!r} is not compared here; choose one of {', '.join(variants)}")
    return named


def results_by_seed(grouped: Mapping[str, Sequence[Run]], measure: Measure = FINAL) -> dict[str, dict[int, float]]:
    """Top-1 of completed runs in percent by variant and seed, the mean where several have the same seed."""
    return {
        variant: _by_seed((run, run.measured(measure)) for run in members if run.state is State.completed)
        for variant, members in grouped.items()
    }


def _by_seed(results: Iterable[tuple[Run, float | None]]) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for run, top1 in results:
        if top1 is not None:
            found.setdefault(run.spec.seed, []).append(top1)
    return {seed: fmean(values) for seed, values in sorted(found.items())}


def inequalities(grouped: Mapping[str, Sequence[Run]], group: str) -> list[Inequality]:
    """In what the runs differ besides variant and seed; failed and cancelled runs count for nothing."""
    counting = [
        (variant, run, _facts(run, group))
        for variant, members in grouped.items()
        for run in members
        if run.state in UNFINISHED or run.state is State.completed
    ]
    unequal = []
    for field in dict.fromkeys(field for _, _, facts in counting for field in facts):
        by_value: dict[str, list[tuple[str, str]]] = {}
        for variant, run, facts in counting:
            # On what a run is trained is unknown until it begins. The code of a pooling concerns its own runs only.
            is_implied = group == "recipe" and field in RECIPE_FIELDS
            if field in facts or (run.device is not None and not field.startswith(CODE_OF) and not is_implied):
                by_value.setdefault(facts.get(field, "not recorded"), []).append((variant, run.id))
        if len(by_value) > 1:
            settings = [
                Setting(value, list(dict.fromkeys(variant for variant, _ in having)), [run_id for _, run_id in having])
                for value, having in by_value.items()
            ]
            unequal.append(Inequality(field, settings))
    return unequal


def _facts(run: Run, group: str) -> dict[str, str]:
    """Spec and, once it is trained, provenance, which tells what `auto` stands for."""
    facts = {name: str(value) or "none" for name, value in asdict(run.spec).items() if value != "auto"}
    if run.provenance is not None:
        facts |= run.provenance
    elif run.device is not None:
        facts["device"] = run.device
    facts.setdefault(EXTENDED, str(run.extends_epoch or "never"))
    if facts.get("compile") == "graph":
        facts["compile"] = "off"  # it has the same operations and the same random numbers
    if group == "recipe" and run.spec.recipe != OWN:
        facts = {name: value for name, value in facts.items() if name not in RECIPE_FIELDS}
    return {name: value for name, value in facts.items() if name not in ("seed", "recipe", group)}
