"""What varies between compared runs besides variant and seed: blocks, within which alone differences are taken.

Results of different learning rates, averaged into one number per pooling, hide what the learning rate did, and an
average over other values on one side than on the other compares the values, not the poolings. Pure functions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from app.store.plan import FINAL, Measure
from app.store.rows import Run, State
from app.store.variants import VARIANT
from cct.architecture import ARCHITECTURE
from cct.catalog import poolings
from cct.recipes import OWN, RECIPE_FIELDS
from cct.spec import RunSpec

Results = dict[str, dict[str, dict[int, float]]]
"""Top-1 in percent by variant, level and seed."""

LISTED = 6
"""Levels at most that a sentence names one by one."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The levels of what varies besides variant and seed; a single one, without a name, if nothing does."""

    fields: tuple[str, ...]
    """Those of the spec that differ between runs of one variant."""
    levels: dict[str, dict[str, str]]
    """The value of each field, by the level's name, in ascending order."""
    level_of: dict[str, str]
    """The level of each run, by its id."""

    @property
    def vary(self) -> bool:
        """Whether anything but variant and seed does."""
        return len(self.levels) > 1

    @property
    def named(self) -> str:
        """The fields in words."""
        return listed([words(field) for field in self.fields])

    def over(self, levels: Sequence[str]) -> str:
        """Some of the levels in words."""
        if len(levels) > LISTED:
            return f"{len(levels)} values of {self.named}"
        if len(self.fields) == 1:
            [field] = self.fields
            return f"{words(field)} {listed([self.levels[level][field] for level in levels])}"
        return "; ".join(levels)

    def of(self, runs: Iterable[Run]) -> str:
        """The levels of these runs in words; empty if they have but one."""
        having = {self.level_of[run.id] for run in runs}
        return self.over([level for level in self.levels if level in having]) if len(having) > 1 else ""


def value_of(run: Run, factor: str) -> Any:
    """The run's value of a field of the spec, or the name of its variant; its pooling, if it has none."""
    return (run.variant or run.spec.pooling) if factor == VARIANT else run.spec.value_of(factor)


def fields_of(factors: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """The factors, and the fields by which named variants differ, if these are one of them."""
    return list(dict.fromkeys([*factors, *(field for run in runs for field in run.varied if VARIANT in factors)]))


def blocks_of(grouped: Mapping[str, Sequence[Run]], group: str) -> Blocks:
    """The blocks of runs that are grouped by one or several fields, with commas between.

    A field that differs between variants alone makes no block, for none of its values would have two variants: such
    runs are unequal.
    """
    members = [run for of_variant in grouped.values() for run in of_variant]
    factors = fields_of(group.split(","), members)
    recipes_tell = all(run.spec.recipe != OWN for run in members)
    values = {run.id: _values(run, factors, recipes_tell) for run in members}
    names = [
        name for name in (field.name for field in fields(RunSpec)) if any(name in found for found in values.values())
    ]
    varying = tuple(
        name
        for name in names
        if any(len({values[run.id].get(name) for run in of_variant}) > 1 for of_variant in grouped.values())
    )
    levels = {run_id: tuple(found.get(name) for name in varying) for run_id, found in values.items()}
    rank = {name: position for position, name in enumerate(poolings())}
    ascending = sorted(
        set(levels.values()),
        key=lambda level: [
            (value is not None, rank.get(str(value), len(rank)) if name == "pooling" else 0, value)
            for name, value in zip(varying, level, strict=True)
        ],
    )
    named = {
        level: {name: shown(name, value) for name, value in zip(varying, level, strict=True)} for level in ascending
    }
    label = {
        level: ", ".join(f"{words(name)} {value}" for name, value in values.items()) for level, values in named.items()
    }
    levels_by_label = {label[level]: values for level, values in named.items()}
    return Blocks(varying, levels_by_label, {run_id: label[level] for run_id, level in levels.items()})


def results_by_level(grouped: Mapping[str, Sequence[Run]], blocks: Blocks, measure: Measure = FINAL) -> Results:
    """The results of completed runs; the mean where several are the same in all, seed included."""
    results: Results = {}
    for variant, members in grouped.items():
        found: dict[str, dict[int, list[float]]] = {level: {} for level in blocks.levels}
        for run in members:
            if run.state is State.completed and (top1 := run.measured(measure)) is not None:
                found[blocks.level_of[run.id]].setdefault(run.spec.seed, []).append(top1)
        results[variant] = {
            level: {seed: fmean(values) for seed, values in sorted(by_seed.items())} for level, by_seed in found.items()
        }
    return results


def complete_levels(results: Mapping[str, Mapping[str, Mapping[int, float]]], baseline: str | None) -> list[str]:
    """Levels at which all variants have results that share any level with the baseline: those may be averaged."""
    has = {variant: {level for level, by_seed in found.items() if by_seed} for variant, found in results.items()}
    of_baseline = has.get(baseline or "", set())
    compared = [found for found in has.values() if (found & of_baseline if of_baseline else found)]
    levels: Mapping[str, object] = next(iter(results.values()), {})
    return [level for level in levels if all(level in found for found in compared)]


def over_levels(by_level: Mapping[str, Mapping[int, float]], levels: Sequence[str]) -> dict[int, float]:
    """Each seed's mean over the levels, of seeds that have a result at all of them."""
    if not levels:
        return {}
    first, *others = (by_level[level] for level in levels)
    if not others:
        return dict(first)
    return {
        seed: fmean([value, *(other[seed] for other in others)])
        for seed, value in first.items()
        if all(seed in other for other in others)
    }


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def _values(run: Run, factors: Sequence[str], recipes_tell: bool) -> dict[str, Any]:
    """What may make a block, by field of the spec. A recipe stands for its fields where all runs have one by name."""
    is_implied = recipes_tell or ("recipe" in factors and run.spec.recipe != OWN)
    found = {
        field.name: getattr(run.spec, field.name)
        for field in fields(RunSpec)
        if field.name != "seed" and field.name not in factors and not (is_implied and field.name in RECIPE_FIELDS)
    }
    if not recipes_tell:
        found.pop("recipe", None)
    if found.get("compile") in ("auto", "graph"):
        found["compile"] = "off"  # steps that are recorded have the same results
    return found


def shown(field: str, value: Any) -> str:
    """The value of a field of the spec, in words where it stands for something else."""
    if value == ARCHITECTURE.get(field, ""):
        return "the model's own" if field in ARCHITECTURE else "none"
    return "by recipe" if value is None else str(value)


def words(field: str) -> str:
    """A field's name as sentences have it."""
    return field.replace("_", " ")
