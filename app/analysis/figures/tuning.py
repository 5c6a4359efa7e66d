"""Trials of a search: their results one after the other, and what was set in each."""

from collections.abc import Sequence
from math import log
from typing import Any

import plotly.graph_objects as go

from app.analysis.colors import Theme
from app.analysis.comparison import colors, group_runs
from app.analysis.figures.style import labels, layout, transparent, uid, whole
from app.analysis.tuning import Settings, best_of, trials_of
from app.store.rows import Run
from app.store.tuning import Searched, Tuning
from app.store.variants import VARIANT


def trials(runs: Sequence[Run], tuning: Tuning, theme: Theme = "light") -> go.Figure:
    """Held-out top-1 of each trial as points, in their order, and the best so far as a line per variant."""
    found, color = trials_of(runs, tuning), colors(VARIANT, group_runs(runs, VARIANT))
    label = labels(found)
    figure = go.Figure(layout=layout(theme, "Trial", "Final top-1 on held-out data (%)", "trials"))
    figure.update_xaxes(range=[0.5, tuning.trials + 0.5])
    for variant, members in found.items():
        known = [one for one in members if one.top1 is not None]
        look = color[variant].on(theme)
        figure.add_scatter(
            uid=uid("trials", variant),
            name=label[variant],
            legendgroup=variant,
            x=[one.number for one in known],
            y=[one.top1 for one in known],
            mode="markers",
            marker={"color": look, "size": 8, "symbol": color[variant].symbol},
            customdata=[whole(settings_told(one.settings)) for one in known],
            hovertemplate=f"trial %{{x}}: %{{y:.2f}} %<br>%{{customdata}}<extra>{whole(variant)}</extra>",
        )
        lined = [one for one in members if one.best_so_far is not None]
        figure.add_scatter(
            uid=uid("best so far", variant),
            legendgroup=variant,
            showlegend=False,
            x=[one.number for one in lined],
            y=[one.best_so_far for one in lined],
            mode="lines",
            line={"color": transparent(look, 0.6), "shape": "hv", "width": 2},
            hovertemplate=f"best of %{{x}} trials: %{{y:.2f}} %<extra>{whole(variant)}</extra>",
        )
    return figure


def parallel(runs: Sequence[Run], tuning: Tuning, theme: Theme = "light") -> go.Figure:
    """Parallel coordinates: a line for each trial over the fields that are searched, and its result at the right.

    The best trial of each variant is drawn thick. Axes are scaled from the lowest to the highest value; a logarithmic
    range by its logarithm.
    """
    found, color = trials_of(runs, tuning), colors(VARIANT, group_runs(runs, VARIANT))
    label = labels(found)
    results = [one.top1 for members in found.values() for one in members if one.top1 is not None]
    low, high = min(results, default=0.0), max(results, default=100.0)
    axes = [*(name.replace("_", " ") for name in tuning.fields), "top-1"]
    figure = go.Figure(layout=layout(theme, "", "", "parallel"))
    for variant, members in found.items():
        best = best_of(members)
        for one in members:
            if one.top1 is None:
                continue
            places = [_place(searched, one.settings[name]) for name, searched in tuning.fields.items()]
            figure.add_scatter(
                uid=uid("parallel", one.run),
                name=label[variant],
                legendgroup=variant,
                showlegend=one is best,
                x=axes,
                y=[*places, (one.top1 - low) / (high - low) if high > low else 0.5],
                mode="lines+markers",
                line={
                    "color": transparent(color[variant].on(theme), 1 if one is best else 0.35),
                    "width": 3 if one is best else 1.2,
                },
                marker={"size": 5},
                hovertemplate=f"trial {one.number}: {one.top1:.2f} %<br>{whole(settings_told(one.settings))}"
                f"<extra>{whole(variant)}</extra>",
            )
    ends = [*((_end(one, True), _end(one, False)) for one in tuning.fields.values()), (f"{low:.1f} %", f"{high:.1f} %")]
    figure.update_yaxes(visible=False, range=[-0.12, 1.12])
    figure.update_xaxes(categoryorder="array", categoryarray=axes)
    for axis, (lowest, highest) in zip(axes, ends, strict=True):
        for y, text in ((-0.08, lowest), (1.08, highest)):
            figure.add_annotation(x=axis, y=y, text=whole(text), showarrow=False)
    return figure


def settings_told(settings: Settings) -> str:
    """`lr 0.002, dropout 0.1`."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())


def _place(searched: Searched, value: Any) -> float:
    """From 0 to 1."""
    if searched.choices is not None:
        return searched.choices.index(value) / (len(searched.choices) - 1)
    low, high = searched.low or 0.0, searched.high or 0.0
    if searched.log:
        return log(value / low) / log(high / low)
    return float((value - low) / (high - low))


def _end(searched: Searched, is_low: bool) -> str:
    if searched.choices is not None:
        return str(searched.choices[0 if is_low else -1])
    return f"{searched.low if is_low else searched.high:g}"
