"""Groups runs into variants and compares them with a baseline and with published results. Pure functions."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from app.errors import Invalid
from app.rows import Run, State
from app.statistics import Stat, paired_difference, stat
from cct.catalog import poolings
from cct.config import RunSpec

# From Paul Tol's qualitative schemes, which colour-blind people can tell apart; readable on light and dark.
PALETTE = (
    *("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377"),
    *("#EE8866", "#44AA99", "#999933", "#CC6677", "#AA4499", "#77AADD"),
)

GROUPS = tuple(field.name for field in fields(RunSpec) if field.name != "seed")
"""Spec fields by which runs can be grouped into variants."""


@dataclass(frozen=True, slots=True)
class ReferenceResult:
    """A result somebody published or reported for one model, pooling, dataset and number of epochs."""

    model: str
    pooling: str
    dataset: str
    epochs: int
    top1: float
    label: str
    source: str


@dataclass(frozen=True, slots=True)
class VariantComparison:
    """One row of the comparison table. Top-1 in percent; statistics are over seeds."""

    variant: str
    color: str
    formula: str
    """Of the pooling, when runs are grouped by pooling."""
    mixes_batch: bool | None
    runs: int
    seeds: int
    """Seeds with at least one finished epoch."""
    finished: int
    """Completed runs."""
    best: Stat | None
    """Highest top-1 of any epoch, of completed runs: others would be compared at different epochs."""
    final: Stat | None
    """Top-1 of the last epoch, of completed runs."""
    minutes: Stat | None
    """Training time of completed runs."""
    difference: Stat | None
    """Final top-1 minus the baseline's, paired by seed, over seeds that both have completed; null for the baseline."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Variants side by side; results are comparable with `references` where model, dataset and epochs agree."""

    group: str
    baseline: str | None
    variants: list[VariantComparison]
    references: list[ReferenceResult]


@cache
def reference_results() -> tuple[ReferenceResult, ...]:
    """All known results of others, from `reference_results.json`."""
    rows = json.loads(files("app").joinpath("reference_results.json").read_text(encoding="utf-8"))
    return tuple(ReferenceResult(**row) for row in rows)


def matching_references(runs: Sequence[Run]) -> list[ReferenceResult]:
    """The reference results whose model, dataset and epochs are those of some run."""
    trained = {(run.spec.model, run.spec.dataset, run.spec.epochs) for run in runs}
    return [result for result in reference_results() if (result.model, result.dataset, result.epochs) in trained]


def group_runs(runs: Sequence[Run], group: str) -> dict[str, list[Run]]:
    """Runs by their value of a spec field, poolings in the order of the catalog, other values sorted.

    Raises `Invalid` if there is no such field.
    """
    if group not in GROUPS:
        raise Invalid("group", f"{group!r} cannot group runs; choose one of {', '.join(GROUPS)}")
    order = {name: position for position, name in enumerate(poolings())}
    found: dict[Any, list[Run]] = {}
    for run in runs:
        found.setdefault(asdict(run.spec)[group], []).append(run)
    values = sorted(found, key=lambda value: order.get(value, len(order)) if group == "pooling" else value)
    return {str(value): found[value] for value in values}


def colors(group: str, variants: Sequence[str]) -> dict[str, str]:
    """One colour per variant; a pooling keeps its colour wherever it appears."""
    order = list(poolings()) if group == "pooling" else list(variants)
    return {variant: PALETTE[order.index(variant) % len(PALETTE)] for variant in variants if variant in order}


def compare(runs: Sequence[Run], group: str = "pooling", baseline: str | None = None) -> Comparison:
    """Compares variants; the baseline is `seqpool` if it is among them, else the first, unless named.

    Raises `Invalid` if `group` is not a spec field or `baseline` is not a variant.
    """
    grouped = group_runs(runs, group)
    if baseline is None:
        baseline = "seqpool" if "seqpool" in grouped else next(iter(grouped), None)
    elif baseline not in grouped:
        raise Invalid("baseline", f"{baseline!r} is not compared here; choose one of {', '.join(grouped)}")
    final_by_seed = {variant: _final_by_seed(members) for variant, members in grouped.items()}
    color = colors(group, list(grouped))
    variants = []
    for variant, members in grouped.items():
        measured = [run for run in members if run.epoch]
        completed = [run for run in members if run.state is State.completed]
        probed = [run.mixes_batch for run in members if run.mixes_batch is not None]
        pooling = poolings().get(variant)
        variants.append(
            VariantComparison(
                variant=variant,
                color=color[variant],
                formula=pooling.formula if pooling and group == "pooling" else "",
                mixes_batch=any(probed) if probed else None,
                runs=len(members),
                seeds=len({run.spec.seed for run in measured}),
                finished=len(completed),
                best=stat(run.best_top1 for run in completed if run.best_top1 is not None),
                final=stat(run.final_top1 for run in completed if run.final_top1 is not None),
                minutes=stat(run.seconds / 60 for run in completed),
                difference=None
                if variant == baseline
                else paired_difference(final_by_seed[variant], final_by_seed[baseline or ""]),
            )
        )
    return Comparison(group, baseline, variants, matching_references(runs))


def _final_by_seed(runs: Sequence[Run]) -> dict[int, float]:
    completed = (run for run in runs if run.state is State.completed)
    return {run.spec.seed: run.final_top1 for run in completed if run.final_top1 is not None}
