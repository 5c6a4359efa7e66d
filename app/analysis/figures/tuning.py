"""Trials of a search: their results one after the other, and what was set in each."""

from collections.abc import Sequence
from math import log
from typing import Any

import plotly.graph_objects as go

from app.analysis.blocks import words
from app.analysis.colors import Theme
from app.analysis.comparison import colors, group_runs
from app.analysis.figures.parallel import Coordinate, Line, parallel_coordinates, scaled
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
    axes = [
        Coordinate(words(name), [(-0.08, whole(_end(one, True))), (1.08, whole(_end(one, False)))])
        for name, one in tuning.fields.items()
    ]
    axes.append(Coordinate("top-1", [(-0.08, f"{low:.1f} %"), (1.08, f"{high:.1f} %")]))
    lines = []
    for variant, members in found.items():
        best = best_of(members)
        for one in members:
            if one.top1 is None:
                continue
            places = [_place(searched, one.settings[name]) for name, searched in tuning.fields.items()]
            lines.append(
                Line(
                    run=one.run,
                    group=variant,
                    label=label[variant],
                    color=color[variant].on(theme),
                    places=[*places, scaled(one.top1, low, high)],
                    said=f"trial {one.number}: {one.top1:.2f} %<br>{whole(settings_told(one.settings))}",
                    is_best=one is best,
                )
            )
    return parallel_coordinates(axes, lines, theme, "parallel", beside=False)


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
