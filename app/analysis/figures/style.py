"""What all charts share: inks of the two themes, layout, identities of traces, and how text of users is shown."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from textwrap import wrap
from typing import Any
from unicodedata import east_asian_width
from zlib import crc32

import plotly.graph_objects as go

from app.analysis.colors import Theme
from app.analysis.references import ReferenceResult
from app.analysis.statistics import Stat

_INK = {"light": ("#212529", "#e9ecef", "#868e96"), "dark": ("#dee2e6", "#373a40", "#909296")}

LONGEST = 24
"""Characters of a name on an axis, in a legend or a title; wide ones count twice."""
_LINE = 60
"""Characters; more on a line would not fit on a phone."""
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "%": "&#37;", "$": "&#36;"})


def ink(theme: Theme) -> str:
    """The colour of text."""
    return _INK[theme][0]


def faint_ink(theme: Theme) -> str:
    """The colour of lines that stay in the background."""
    return _INK[theme][2]


def hover_of_reference(result: ReferenceResult) -> str:
    """A hover text for a published result: its numbers and where it is from."""
    said = f"{result.label}: {result.pooling}, {result.said}"
    return f"{whole(said)}<extra>{whole(result.source)}</extra>"


def uid_of_reference(result: ReferenceResult) -> str:
    names = (result.label, result.model, result.dataset, str(result.epochs), result.recipe, result.pooling)
    return uid("reference", *names, *map(str, result.changed.values()))


def layout(theme: Theme, x: str, y: str, revision: str) -> go.Layout:
    """Axes labelled `x` and `y`; zoom and hidden traces survive updates while `revision` stays the same."""
    text, grid, faint = _INK[theme]
    axis = {
        "gridcolor": grid,
        "zerolinecolor": grid,
        "linecolor": faint,
        "ticks": "outside",
        "tickcolor": grid,
        "automargin": True,
    }
    return go.Layout(
        template="none",
        uirevision=revision,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": text, "size": 13, "family": "system-ui, sans-serif"},
        margin={"l": 64, "r": 16, "t": 16, "b": 48},
        hovermode="closest",
        hoverlabel={"align": "left", "namelength": -1},
        # On top of the container: beside the plot it would have to move with the margin that it makes itself, and
        # does not always do so after a resize. With many variants on a phone it scrolls.
        legend={
            "orientation": "h",
            "yref": "container",
            "yanchor": "top",
            "y": 1,
            "maxheight": 0.35,
            "x": 0,
            "font": {"size": 12},
            "tracegroupgap": 0,
        },
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": faint, "activecolor": text},
        xaxis=axis | {"title": {"text": x, "font": {"size": 13}}},
        yaxis=axis | {"title": {"text": y, "font": {"size": 13}}},
    )


def uid(kind: str, *names: str) -> str:
    """A trace's identity across updates; plotly.js puts it into CSS selectors.

    A name with other characters than letters, digits, `_` and `-` is told from its like by a checksum.
    """
    clean = re.sub(r"[^\w-]", "_", "_".join([kind, *names]))
    return (
        clean if all(re.fullmatch(r"[\w-]*", name) for name in names) else f"{clean}_{crc32(repr(names).encode()):08x}"
    )


def plain(text: str) -> str:
    """The text of a user so that Plotly shows it as it is: for Plotly some tags are links and line breaks, `%{…}` in a
    hover text is a value, and what stands between dollars is a formula."""
    return text.translate(_MARKUP)


@lru_cache(maxsize=1_000)
def whole(text: str) -> str:
    """The text of a user for where it is shown when the pointer is over a point: plain, in lines that fit on a page."""
    lines = wrap(
        text, _LINE, expand_tabs=False, replace_whitespace=False, drop_whitespace=False, break_on_hyphens=False
    )
    return "<br>".join(map(plain, lines))


def labels(names: Iterable[str]) -> dict[str, str]:
    """Each name as axes, legends and titles have room for it: plain, and if it is long with its middle left out.

    No two labels are the same; those that would be get numbers.
    """
    names, short = list(names), {}
    taken = {name for name in names if _width(name) <= LONGEST}
    for name in names:
        label, number = _cut(name, LONGEST), 1
        while label != name and label in taken:
            number += 1
            label = f"{_cut(name, LONGEST - 4)} ({number})"
        taken.add(label)
        short[name] = plain(label)
    return short


def _cut(name: str, most: int) -> str:
    if _width(name) <= most:
        return name
    return f"{_beginning(name, most // 2)}…{_beginning(name[::-1], (most - 1) // 2)[::-1]}"


def _beginning(text: str, most: int) -> str:
    widths = accumulate(map(_width, text))
    return "".join(character for character, width in zip(text, widths, strict=True) if width <= most)


def _width(text: str) -> int:
    return sum(2 if character in "MW@" or east_asian_width(character) in "WF" else 1 for character in text)


def reaches(stats: Sequence[Stat | None]) -> dict[str, Any]:
    """How far each interval reaches from its mean, for a trace's error bars; 0 where there is none."""
    return {
        "symmetric": False,
        "array": [one.high - one.mean if one and one.high is not None else 0.0 for one in stats],
        "arrayminus": [one.mean - one.low if one and one.low is not None else 0.0 for one in stats],
    }


def transparent(color: str, opacity: float) -> str:
    """`#rrggbb` with an opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
