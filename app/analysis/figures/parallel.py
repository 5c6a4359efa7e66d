"""Parallel coordinates: a line for each run over all that varies, to its result at the right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from app.analysis.blocks import shown, value_of, words
from app.analysis.colors import Theme
from app.analysis.compared import Comparison
from app.analysis.comparison import TITLES, colors, group_runs
from app.analysis.figures.style import labels, layout, transparent, uid, whole
from app.errors import Invalid
from app.store.rows import Run, State

_BEHIND = {"light": "rgba(255,255,255,0.85)", "dark": "rgba(30,33,37,0.85)"}
"""The colour of the page, for text that lines run through."""

MIN_FACTORS = 3
"""Fewer are seen better in a figure of interactions."""


@dataclass(frozen=True, slots=True)
class Coordinate:
    """A vertical axis, from 0 at its lower end to 1."""

    name: str
    marks: list[tuple[float, str]]
    """Places, and what is written there, as Plotly shows it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A run: its place on each axis."""

    run: str
    group: str
    label: str
    color: str
    places: list[float]
    said: str
    """On hover, as Plotly shows it."""
    is_best: bool
    """Of its group, for which it stands in the legend; it is drawn thick."""


def parallel_coordinates(
    axes: Sequence[Coordinate], lines: Sequence[Line], theme: Theme, revision: str, *, beside: bool
) -> go.Figure:
    """`beside`: what is written stands at the right of its axis, not above and below it."""
    names = [whole(axis.name) for axis in axes]
    figure = go.Figure(layout=layout(theme, "", "", revision))
    for line in lines:
        figure.add_scatter(
            uid=uid("parallel", line.run),
            name=line.label,
            legendgroup=line.group,
            showlegend=line.is_best,
            x=names,
            y=line.places,
            mode="lines+markers",
            line={
                "color": transparent(line.color, 1 if line.is_best else 0.35),
                "width": 3 if line.is_best else 1.2,
            },
            marker={"size": 5},
            hovertemplate=f"{line.said}<extra>{whole(line.group)}</extra>",
        )
    figure.update_yaxes(visible=False, range=[-0.12, 1.12])
    figure.update_xaxes(categoryorder="array", categoryarray=names)
    where: dict[str, Any] = {"xanchor": "left", "xshift": 6, "bgcolor": _BEHIND[theme]} if beside else {}
    for name, axis in zip(names, axes, strict=True):
        for y, text in axis.marks:
            figure.add_annotation(x=name, y=y, text=text, showarrow=False, **where)
    return figure


def over_factors(runs: Sequence[Run], comparison: Comparison, theme: Theme = "light") -> go.Figure:
    """A line for each completed run over all factors and all else that varies, in the colour of the first factor.

    Each axis has the values of its field, in their order, at equal distances. Raises `Invalid` with fewer than three.
    """
    levels = [name for level in comparison.levels for name in level.values]
    fields = list(dict.fromkeys([*comparison.factors, *levels]))
    if len(fields) < MIN_FACTORS:
        told = " and ".join(fields)
        raise Invalid("group", f"{told} alone vary here; choose a figure of interactions, or of final results")
    grouped = group_runs(runs, fields[0])
    color, label = colors(fields[0], grouped), labels(grouped)
    results = {
        run.id: top1
        for run in runs
        if run.state is State.completed and (top1 := run.measured(comparison.measure)) is not None
    }
    low, high = min(results.values(), default=0.0), max(results.values(), default=100.0)
    by_value = {name: group_runs(runs, name) for name in fields}
    place = {
        name: {value: at / (len(found) - 1) if len(found) > 1 else 0.5 for at, value in enumerate(found)}
        for name, found in by_value.items()
    }
    lines = []
    for variant, members in grouped.items():
        known = [run for run in members if run.id in results]
        best = max(known, key=lambda run: results[run.id], default=None)
        for run in known:
            at = {name: str(value_of(run, name)) for name in fields}
            lines.append(
                Line(
                    run=run.id,
                    group=variant,
                    label=label[variant],
                    color=color[variant].on(theme),
                    places=[
                        *(place[name][value] for name, value in at.items()),
                        scaled(results[run.id], low, high),
                    ],
                    said="<br>".join(
                        [
                            f"seed {run.spec.seed}: {results[run.id]:.2f} %",
                            *(whole(f"{words(name)} {shown(name, value_of(run, name))}") for name in fields[1:]),
                        ]
                    ),
                    is_best=run is best,
                )
            )
    axes = []
    for name, found in by_value.items():
        written = [shown(name, value_of(having[0], name)) for having in found.values()]
        cut = labels(written)
        marks = [(at, cut[text]) for at, text in zip(place[name].values(), written, strict=True)]
        axes.append(Coordinate(words(name), marks))
    axes.append(Coordinate(TITLES[comparison.measure], [(0.0, f"{low:.1f} %"), (1.0, f"{high:.1f} %")]))
    return parallel_coordinates(axes, lines, theme, f"over-factors/{comparison.group}", beside=True)


def scaled(value: float, low: float, high: float) -> float:
    """The place of a result between the lowest and the highest."""
    return (value - low) / (high - low) if high > low else 0.5
