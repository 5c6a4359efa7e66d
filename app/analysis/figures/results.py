"""What training came to: final results, differences to the baseline, cost. One row or colour per variant."""

from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go

from app.analysis.comparison import Comparison, colors, group_runs, results_by_seed
from app.analysis.figures.style import (
    Theme,
    faint_ink,
    hover_of_reference,
    ink,
    labels,
    layout,
    plain,
    uid,
    uid_of_reference,
    whole,
)
from app.analysis.statistics import Stat
from app.store.plan import FINAL, MEAN, Measure
from app.store.rows import Run, State

Cost = Literal["seconds", "parameters", "images_per_second"]

_COSTS: dict[Cost, str] = {
    "seconds": "Training time (s)",
    "parameters": "Parameters",
    "images_per_second": "Training images per second",
}
_MEASURES: dict[Measure, str] = {
    FINAL: "Final top-1",
    "best val_top1": "Best top-1",
    MEAN: "Mean top-1 of the last 3 epochs",
}
_ROW_PIXELS = 34
_SEEDS = (-0.28, 0.12)
"""The band within a variant's row where points of seeds stand; their mean stands below it."""
_MEAN = 0.3


def final_results(runs: Sequence[Run], comparison: Comparison, theme: Theme = "light") -> go.Figure:
    """Final top-1 of completed runs: a point per seed, mean and 95 % interval per variant, final results of others as
    lines.

    A seed stands at the same height in each variant's row.
    """
    finals = results_by_seed(group_runs(runs, comparison.group))
    variants = [row.variant for row in comparison.variants]
    figure = _rows(theme, "Final top-1 (%)", variants, f"finals/{comparison.group}")
    heights = _heights({seed for by_seed in finals.values() for seed in by_seed})
    for row, found in enumerate(comparison.variants):
        by_seed = finals[found.variant]
        _add_seeds(figure, found.variant, found.color, row, by_seed, heights, "%{x:.2f} %")
        if found.final:
            _add_mean(figure, found.variant, found.color, row, found.final, " %", found.verdict)
    _add_references(figure, comparison, theme)
    return figure


def differences(runs: Sequence[Run], comparison: Comparison, theme: Theme = "light") -> go.Figure:
    """Estimation plot: top-1 minus the baseline's, a point per shared seed, mean and interval per variant.

    A mean is filled where the difference is claimed.
    """
    finals = results_by_seed(group_runs(runs, comparison.group), comparison.measure)
    others = [row for row in comparison.variants if row.outcome]
    label, baseline = labels(finals), comparison.baseline or ""
    title = f"{_MEASURES[comparison.measure]} minus that of {label.get(baseline)}<br>(points; filled: better or worse)"
    figure = _rows(theme, title, [row.variant for row in others], f"differences/{comparison.group}/{baseline}")
    figure.update_xaxes(rangemode="tozero", zeroline=True, zerolinecolor=ink(theme), zerolinewidth=1.5)
    zero = finals.get(baseline, {})
    heights = _heights(set(zero))
    for row, found in enumerate(others):
        by_seed = {seed: top1 - zero[seed] for seed, top1 in finals[found.variant].items() if seed in zero}
        _add_seeds(figure, found.variant, found.color, row, by_seed, heights, "%{x:+.2f} points")
        if found.difference:
            _add_mean(
                figure,
                found.variant,
                found.color,
                row,
                found.difference,
                " points",
                found.verdict,
                filled=found.outcome in ("better", "worse"),
                named=comparison.interval,
            )
    return figure


def cost(runs: Sequence[Run], x: Cost = "seconds", group: str = "pooling", theme: Theme = "light") -> go.Figure:
    """Final top-1 of each completed run against what it cost. Raises `Invalid` for an unknown group."""
    grouped = group_runs(runs, group)
    color, label = colors(group, list(grouped)), labels(grouped)
    figure = go.Figure(layout=layout(theme, _COSTS[x], "Final top-1 (%)", f"cost/{group}/{x}"))
    for variant, members in grouped.items():
        done = [run for run in members if run.state is State.completed and getattr(run, x) is not None]
        if not done:
            continue
        figure.add_scatter(
            uid=uid("cost", variant),
            name=label[variant],
            x=[getattr(run, x) for run in done],
            y=[run.final_top1 for run in done],
            mode="markers",
            marker={"color": color[variant], "size": 9, "opacity": 0.8},
            customdata=[[run.spec.seed, plain(run.device or "unknown device"), run.id] for run in done],
            hovertemplate="seed %{customdata[0]}: %{y:.2f} %, %{x:.4~s}<br>%{customdata[1]}"
            f"<extra>{whole(variant)}</extra>",
        )
    return figure


def _rows(theme: Theme, title: str, variants: Sequence[str], revision: str) -> go.Figure:
    """One row per variant, the first on top, tall enough for all."""
    label = labels(variants)
    figure = go.Figure(layout=layout(theme, title, "", revision))
    figure.update_layout(height=130 + _ROW_PIXELS * max(len(variants), 3))
    figure.update_yaxes(
        range=[len(variants) - 0.5, -0.5],
        tickvals=list(range(len(variants))),
        ticktext=[label[variant] for variant in variants],
        zeroline=False,
        showgrid=False,
    )
    return figure


def _heights(seeds: set[int]) -> dict[int, float]:
    top, bottom = _SEEDS
    step = (bottom - top) / max(len(seeds) - 1, 1)
    return {seed: top + position * step for position, seed in enumerate(sorted(seeds))}


def _add_seeds(
    figure: go.Figure,
    variant: str,
    color: str,
    row: int,
    by_seed: dict[int, float],
    heights: dict[int, float],
    shown: str,
) -> None:
    figure.add_scatter(
        uid=uid("seeds", variant),
        name=plain(variant),
        legendgroup=variant,
        showlegend=False,
        x=list(by_seed.values()),
        y=[row + heights[seed] for seed in by_seed],
        mode="markers",
        marker={"color": color, "size": 6, "opacity": 0.55},
        customdata=list(by_seed),
        hovertemplate=f"seed %{{customdata}}: {shown}<extra>{whole(variant)}</extra>",
    )


def _add_mean(
    figure: go.Figure,
    variant: str,
    color: str,
    row: int,
    found: Stat,
    unit: str,
    verdict: str,
    filled: bool = True,
    named: str = "95 % CI",
) -> None:
    reach = found.high - found.mean if found.high is not None else 0.0
    interval = "" if found.low is None or found.high is None else f" ({named} {found.low:.2f} to {found.high:.2f})"
    figure.add_scatter(
        uid=uid("mean", variant),
        name=plain(variant),
        legendgroup=variant,
        showlegend=False,
        x=[found.mean],
        y=[row + _MEAN],
        mode="markers",
        marker={
            "color": color,
            "size": 11,
            "symbol": "diamond" if filled else "diamond-open",
            "line": {"width": 2, "color": color},
        },
        error_x={"array": [reach], "color": color, "thickness": 2, "width": 5},
        hovertemplate=f"mean %{{x:.2f}}{unit}{interval}, n = {found.n}<br>{whole(verdict)}"
        f"<extra>{whole(variant)}</extra>",
    )


def _add_references(figure: go.Figure, comparison: Comparison, theme: Theme) -> None:
    """Of the final results alone: one that is the best of its epochs cannot be held against those of the last epoch."""
    rows = len(comparison.variants)
    color = {row.variant: row.color for row in comparison.variants} if comparison.group == "pooling" else {}
    origins: set[str] = set()
    for result in comparison.references:
        if result.final is None:
            continue
        line_color = color.get(result.pooling, faint_ink(theme))
        figure.add_scatter(
            uid=uid_of_reference(result),
            name=plain(result.label),
            legendgroup=f"reference/{result.label}",
            showlegend=result.label not in origins,
            x=[result.final] * 2,
            y=[rows - 0.5, -0.5],
            mode="lines",
            line={"dash": "dash", "width": 1.5, "color": line_color},
            hovertemplate=hover_of_reference(result),
        )
        origins.add(result.label)
