"""In what compared runs differ besides variant and seed: a difference in results may come from there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from app.analysis.blocks import Blocks, shown
from app.store.rows import Run, State
from cct.architecture import ARCHITECTURE
from cct.events import CODE_OF, EXTENDED
from cct.recipes import OWN, RECIPE_FIELDS
from cct.spec import RunSpec

_OF_TESTED = "test_sha256"
UNFINISHED = (State.queued, State.running)


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


_FIELDS = tuple(field.name for field in fields(RunSpec))
"""Read one by one: `asdict` copies each value, which is most of the time that a comparison takes."""


def inequalities(grouped: Mapping[str, Sequence[Run]], told: Sequence[str], blocks: Blocks) -> list[Inequality]:
    """What runs of the same level differ in besides variant and seed; failed and cancelled runs count for nothing.

    Fields that are `told`, as factors or blocks, are none.
    """
    counting = [
        (variant, run, _facts(run, told))
        for variant, members in grouped.items()
        for run in members
        if run.state in UNFINISHED or run.state is State.completed
    ]
    unequal = []
    for field in dict.fromkeys(field for _, _, facts in counting for field in facts):
        by_value: dict[str, list[tuple[str, str]]] = {}
        at_level: dict[str, set[str]] = {}
        for variant, run, facts in counting:
            # On what a run is trained is unknown until it begins. The code of a pooling concerns its own runs only,
            # and what it is tested on is known when it has ended.
            is_implied = "recipe" in told and field in RECIPE_FIELDS
            is_own = field.startswith(CODE_OF) or field == _OF_TESTED
            if field in facts or (run.device is not None and not is_own and not is_implied):
                value = facts.get(field, "not recorded")
                by_value.setdefault(value, []).append((variant, run.id))
                at_level.setdefault(blocks.level_of[run.id], set()).add(value)
        if any(len(values) > 1 for values in at_level.values()):
            settings = [
                Setting(value, list(dict.fromkeys(variant for variant, _ in having)), [run_id for _, run_id in having])
                for value, having in by_value.items()
            ]
            unequal.append(Inequality(field, settings))
    return unequal


def _facts(run: Run, told: Sequence[str]) -> dict[str, str]:
    """Spec and, once it is trained, provenance, which tells what `auto` stands for. Of a result from elsewhere what was
    given with it."""
    facts = {
        name: shown(name, value) if run.external is None or name in run.external.told else "not told"
        for name in _FIELDS
        if (value := getattr(run.spec, name)) != "auto" or name in ARCHITECTURE
    }
    if run.provenance is not None:
        facts |= run.provenance
    elif run.device is not None:
        facts["device"] = run.device
    if run.test_sha256:
        facts[_OF_TESTED] = run.test_sha256
    facts.setdefault(EXTENDED, str(run.extends_epoch or "never"))
    if facts.get("compile") == "graph":
        facts["compile"] = "off"  # it has the same operations and the same random numbers
    if "recipe" in told and run.spec.recipe != OWN:
        facts = {name: value for name, value in facts.items() if name not in RECIPE_FIELDS}
    return {name: value for name, value in facts.items() if name not in ("seed", "recipe", *told)}
