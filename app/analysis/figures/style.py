"""What all charts share: inks of the two themes, layout, identities of traces."""

import re
from typing import Literal

import plotly.graph_objects as go

Theme = Literal["light", "dark"]

_INK = {"light": ("#212529", "#e9ecef", "#868e96"), "dark": ("#dee2e6", "#373a40", "#909296")}


def ink(theme: Theme) -> str:
    """Of text."""
    return _INK[theme][0]


def faint_ink(theme: Theme) -> str:
    """Of lines that stay in the background."""
    return _INK[theme][2]


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
        hoverlabel={"align": "left"},
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


def uid(name: str) -> str:
    """A trace's identity across updates; plotly.js puts it into CSS selectors."""
    return re.sub(r"[^\w-]", "_", name)


def transparent(color: str, opacity: float) -> str:
    """`#rrggbb` with an opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
