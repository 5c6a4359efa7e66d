"""What training a run took of its machine, over time."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.analysis.colors import Theme
from app.analysis.figures.style import ink, layout, uid
from app.store.rows import SystemReading

_ROWS = {
    "cores": "CPU cores",
    "memory_bytes": "Memory (bytes)",
    "gpu_percent": "GPU busy (%)",
    "gpu_memory_bytes": "GPU memory (bytes)",
    "watts": "GPU power (W)",
}
_ROW_PIXELS = 130
_GAP = 0.06
"""Between rows, as a share of the whole."""
_PAUSE = 5
"""So many times as long as between the two readings before, nothing was trained: the line is broken."""


def system(readings: Sequence[SystemReading], theme: Theme = "light") -> go.Figure:
    """A row for each fact that was measured, over one axis of time; where a run was not trained its lines break."""
    rows = [name for name in _ROWS if any(getattr(reading, name) is not None for reading in readings)]
    figure = go.Figure(layout=layout(theme, "", "", "system"))
    figure.update_layout(height=60 + _ROW_PIXELS * max(1, len(rows)), showlegend=False, hovermode="x")
    height = (1 + _GAP) / max(1, len(rows)) - _GAP
    for place, name in enumerate(rows):
        axis = "" if place == 0 else str(place + 1)
        top = 1 - place * (height + _GAP)
        style = figure.layout.yaxis.to_plotly_json() | {"title": {"text": _ROWS[name], "font": {"size": 12}}}
        figure.layout[f"yaxis{axis}"] = style | {
            "domain": [max(0.0, top - height), top],
            "rangemode": "tozero",
            "exponentformat": "SI",
        }
        points = _broken(readings, name)
        figure.add_scatter(
            uid=uid("system", name),
            name=_ROWS[name],
            x=[at for at, _ in points],
            y=[value for _, value in points],
            yaxis=f"y{axis}",
            mode="lines",
            line={"color": ink(theme), "width": 1.5, "shape": "vh"},
            hovertemplate="%{y:.4~s}<extra>" + _ROWS[name] + "</extra>",
        )
    figure.update_xaxes(type="date", anchor="y" if len(rows) < 2 else f"y{len(rows)}")
    return figure


def _broken(readings: Sequence[SystemReading], name: str) -> list[tuple[str, float | None]]:
    """The readings of one fact, with nothing between those that a pause parts."""
    points: list[tuple[str, float | None]] = []
    times = [reading.at.timestamp() for reading in readings]
    for place, reading in enumerate(readings):
        gap = times[place] - times[place - 1] if place else 0
        usual = times[place - 1] - times[place - 2] if place > 1 else gap
        if gap > _PAUSE * usual:
            points.append((reading.at.isoformat(), None))
        points.append((reading.at.isoformat(), getattr(reading, name)))
    return points
