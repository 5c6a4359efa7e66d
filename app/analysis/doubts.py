"""Which of the compared runs have warnings: what is said of their variants may rest on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.store.rows import Run


@dataclass(frozen=True, slots=True)
class Doubt:
    """A kind of warning that some of the compared runs have."""

    code: str
    text: str
    """The warning of the first of them; the numbers in the others' may be others."""
    variants: list[str]
    runs: list[str]
    """Ids."""


def doubts(grouped: Mapping[str, Sequence[Run]]) -> list[Doubt]:
    """The warnings of runs by variant, by kind."""
    found: dict[str, Doubt] = {}
    for variant, members in grouped.items():
        for run in members:
            for warning in run.warnings:
                doubt = found.setdefault(warning.code, Doubt(warning.code, warning.text, [], []))
                doubt.runs.append(run.id)
                if variant not in doubt.variants:
                    doubt.variants.append(variant)
    return list(found.values())


def imported_doubt(grouped: Mapping[str, Sequence[Run]]) -> list[Doubt]:
    """Says that verdicts rest on results from elsewhere, if some do: the runs by variant that are such."""
    having = {variant: runs for variant, runs in grouped.items() if runs}
    if not having:
        return []
    runs = [run for members in having.values() for run in members]
    files = ", ".join(sorted({run.external.file for run in runs if run.external}))
    text = f"Trained elsewhere and counted nevertheless: what is not known of it may differ ({files})."
    return [Doubt("external", text, list(having), [run.id for run in runs])]
