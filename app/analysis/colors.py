"""How variants look in charts and pages: the one place for their colours and markers."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

Theme = Literal["light", "dark"]

SYMBOLS = ("circle", "square", "triangle-up", "cross", "triangle-down", "star")
DASHES = ("solid", "dot", "dashdot", "longdash", "longdashdot")
"""The dashes of lines that are of one colour; those that are `dash` are others' results."""

PALETTE = (
    ("#6F86FD", "#94A9FE"),
    ("#E9690B", "#FB710B"),
    ("#559D89", "#3DF1C9"),
    ("#49541C", "#D7F738"),
    ("#792E57", "#BA859F"),
    ("#540BC1", "#815CF8"),
    ("#D92556", "#EB1D5B"),
    ("#147C94", "#A8EAFE"),
)
"""For light and for dark pages, of one hue each. Found by search: whichever of them are side by side, people of normal
sight, deuteranopes and protanopes see them apart, and each against the page (`tests/app/analysis/test_colors.py`)."""


@dataclass(frozen=True, slots=True)
class VariantColor:
    """What tells a variant from the others of its view."""

    light: str
    """On light pages, `#rrggbb`."""
    dark: str
    """On dark pages."""
    turn: int
    """0 for the first eight of a view; the next eight have the same colours with other markers and dashes."""
    symbol: str
    """The marker, by the name that Plotly has for it."""
    dash: str
    """The dash of lines, by the name that Plotly has for it."""

    def on(self, theme: Theme) -> str:
        return self.light if theme == "light" else self.dark


def colors_of(values: Collection[str], known: Iterable[str] = ()) -> dict[str, VariantColor]:
    """A look for each of the values that are seen together; no two have the same.

    One that is `known`, such as a pooling of the catalog, has its place in the palette by its place there, so it keeps
    its colour from view to view unless one before it has the same. Others take the places that follow.
    """
    place_of = {value: place for place, value in enumerate(known)}
    for value in values:
        place_of.setdefault(value, len(place_of))
    found: dict[str, VariantColor] = {}
    free: list[int] = []
    for value in sorted(set(values), key=place_of.__getitem__):
        free = free or list(range(len(PALETTE)))
        place = place_of[value] % len(PALETTE)
        place = place if place in free else free[0]
        free.remove(place)
        turn = len(found) // len(PALETTE)
        found[value] = VariantColor(*PALETTE[place], turn, SYMBOLS[turn % len(SYMBOLS)], DASHES[turn % len(DASHES)])
    return found
