"""Which runs share a mean and a band, and how they look beside others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.analysis.blocks import blocks_of, value_of
from app.analysis.colors import DASHES, Theme
from app.analysis.comparison import colors, group_runs
from app.analysis.figures.style import labels
from app.store.rows import Run


@dataclass(frozen=True, slots=True)
class Strand:
    """Runs that may share a mean and a band: those of one variant that differ in nothing but the seed."""

    runs: list[Run]
    names: tuple[str, ...]
    """The variant, and the level of what else varies where something does."""
    label: str
    color: str
    dash: str

    @property
    def said(self) -> str:
        """The name of all of them."""
        return ", ".join(self.names)

    @property
    def dashed(self) -> dict[str, str]:
        """The dash as a line's setting; solid is what charts draw by themselves."""
        return {} if self.dash == "solid" else {"dash": self.dash}


def strands_of(runs: Sequence[Run], group: str, theme: Theme = "light") -> list[Strand]:
    """Colours stand for the first factor, dashes for the others, what else varies, and variants beyond eight."""
    grouped = group_runs(runs, group)
    blocks, others = blocks_of(grouped, group), group.split(",")[1:]
    color, label, level_label = colors(group, grouped), labels(grouped), labels(blocks.levels)
    dashes: dict[tuple[Any, ...], str] = {}
    strands = []
    for variant, members in grouped.items():
        for level in blocks.levels:
            here = [run for run in members if blocks.level_of[run.id] == level]
            if not here:
                continue
            look = (color[variant].turn, *(value_of(here[0], other) for other in others), level)
            dash = dashes.setdefault(look, DASHES[len(dashes) % len(DASHES)])
            names = (variant, level) if blocks.vary else (variant,)
            shown = f"{label[variant]}, {level_label[level]}" if blocks.vary else label[variant]
            strands.append(Strand(here, names, shown, color[variant].on(theme), dash))
    return strands
