"""How far a variant of a plan is from being settled: its difference to the baseline and its boundaries over seeds."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.analysis.colors import Theme
from app.analysis.figures.style import faint_ink, ink, layout, transparent, uid, whole
from app.analysis.sequential import Step

_HEIGHT = 230
_BEYOND_A_CLAIM = 3
"""Seeds that are shown after one that settled the variant."""


def course(
    variant: str, color: str, steps: Sequence[Step], smallest: float, is_settled: bool, theme: Theme = "light"
) -> go.Figure:
    """Mean difference after each look, between where it would be called better, worse or, within ±`smallest`, alike.

    What is foreseen is drawn dotted: boundaries as they will be if the spread stays as it is. Without a look there is
    nothing to draw.
    """
    figure = go.Figure(layout=layout(theme, "Seeds", "Difference (points)", f"plan/{variant}"))
    figure.update_layout(height=_HEIGHT, showlegend=False, margin={"t": 8, "r": 8})
    looks = [step for step in steps if not step.is_foreseen]
    if not looks:
        return figure
    newest = looks[-1]
    if is_settled:
        steps = [step for step in steps if step.seeds <= newest.seeds + _BEYOND_A_CLAIM]
    # The first boundaries may be ten times as far as anything that follows.
    farthest = max(*(abs(step.mean) for step in looks), smallest)
    half = min(max(farthest, newest.claim_at) * 1.25, 4 * farthest)
    figure.update_yaxes(range=[-half, half], zeroline=True, zerolinecolor=faint_ink(theme))
    figure.update_xaxes(range=[looks[0].seeds - 0.5, steps[-1].seeds + 0.5], tickformat="d", showgrid=False)
    if steps[-1].seeds - looks[0].seeds < 10:
        figure.update_xaxes(dtick=1)
    _add_band(figure, steps, smallest, theme)
    past, future = looks, [newest, *(step for step in steps if step.is_foreseen)]
    for sign, says in ((1, "better"), (-1, "worse")):
        _add_boundary(figure, says, past, [sign * step.claim_at for step in past], theme, is_foreseen=False)
        _add_boundary(figure, says, future, [sign * step.claim_at for step in future], theme, is_foreseen=True)
    figure.add_scatter(
        uid=uid("course", variant),
        x=[step.seeds for step in looks],
        y=[step.mean for step in looks],
        mode="lines+markers",
        line={"color": color, "width": 2.5},
        marker={"color": color, "size": 7},
        customdata=[step.claim_at for step in looks],
        hovertemplate="%{x} seeds: %{y:+.2f} points, claimed from ±%{customdata:.2f}"
        f"<extra>{whole(variant)}</extra>",
    )
    return figure


def _add_boundary(
    figure: go.Figure, says: str, steps: Sequence[Step], at: Sequence[float], theme: Theme, is_foreseen: bool
) -> None:
    figure.add_scatter(
        uid=uid("boundary", says, "foreseen" if is_foreseen else "looks"),
        x=[step.seeds for step in steps],
        y=list(at),
        mode="lines" if is_foreseen else "lines+markers",
        line={"color": ink(theme), "width": 1.5, "dash": "dot" if is_foreseen else "solid"},
        marker={"color": ink(theme), "size": 4},
        hovertemplate=f"%{{x}} seeds: {says} beyond %{{y:+.2f}} points"
        f"{', if the spread stays as it is' if is_foreseen else ''}<extra></extra>",
    )


def _add_band(figure: go.Figure, steps: Sequence[Step], smallest: float, theme: Theme) -> None:
    """Where the mean makes the variant alike."""
    alike = [step for step in steps if step.alike_within is not None]
    if not alike:
        return
    reach = [step.alike_within or 0.0 for step in alike]
    seeds = [step.seeds for step in alike]
    figure.add_scatter(
        uid=uid("alike"),
        x=[*seeds, *reversed(seeds)],
        y=[*reach, *(-one for one in reversed(reach))],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=transparent(ink(theme), 0.18),
        hoverinfo="text",
        text=f"alike, within ±{smallest:g}",
    )
