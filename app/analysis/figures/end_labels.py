"""Names at the ends of curves, where the eye already is, in place of a legend in which it has to look up colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log10
from typing import Any

_MOST = 12
"""Above that, names would stand far from where their curves end."""
_FONT, _LINE = 11, 15
"""Pixels: the size of letters, and how far apart names are at least."""
_LEADER = 16
"""Pixels of the stroke that leads from a curve's end to its name."""
_CHARACTER = 6.3
"""Pixels, on average: plotly.js makes no room for what stands beside an axis."""
_HEIGHT = 430
"""Pixels that the large chart of a page is high, without its margins; in a higher one the names have more room."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a curve ends, on axes as they are counted, and what stands there."""

    text: str
    color: str
    x: float
    y: float


def name_ends(layout: dict[str, Any], ends: Sequence[End], values: Sequence[float]) -> bool:
    """Adds the names to a layout, and room for them to the right of its axes; whether they have found room.

    They keep clear of one another where curves end close together, on the axis that all drawn `values` make.
    """
    is_log = layout["yaxis"].get("type") == "log"
    scale = log10 if is_log else float  # on a logarithmic axis, annotations stand at powers of ten
    seen = [scale(value) for value in values if _is_on_axis(value, is_log)]
    ends = sorted((end for end in ends if _is_on_axis(end.y, is_log)), key=lambda end: end.y)
    if not ends or len(ends) > _MOST:
        return False
    pixels = _HEIGHT / ((max(seen) - min(seen)) or 1)
    heights = [scale(end.y) * pixels for end in ends]
    layout["annotations"] = [
        {
            "text": end.text,
            "x": end.x,
            "y": scale(end.y),
            "xanchor": "left",
            "ax": _LEADER,
            "ay": round(height - place, 1),
            "arrowhead": 0,
            "arrowwidth": 1.5,
            "arrowcolor": end.color,
            "font": {"size": _FONT},
        }
        for end, height, place in zip(ends, heights, _apart(heights), strict=True)
    ]
    layout["margin"]["r"] = _LEADER + 8 + _CHARACTER * max(len(end.text) for end in ends)
    return True


def _is_on_axis(value: float, is_log: bool) -> bool:
    return isfinite(value) and (value > 0 or not is_log)


def _apart(heights: Sequence[float]) -> list[float]:
    """Rising heights moved as little as keeps them a line apart: those that would touch share their middle.

    That is the isotonic regression of what is left after a line for each, by pooling of adjacent violators.
    """
    pools: list[tuple[float, int]] = []
    for number, height in enumerate(heights):
        total, count = height - number * _LINE, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    means = [total / count for total, count in pools for _ in range(count)]
    return [mean + number * _LINE for number, mean in enumerate(means)]
