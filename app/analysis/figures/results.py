"""What training came to: final results, differences to the baseline, cost. One row or colour per variant."""

from collections.abc import Sequence
from itertools import cycle, product
from typing import Literal

import plotly.graph_objects as go

from app.analysis.blocks import blocks_of
from app.analysis.colors import SYMBOLS, Theme
from app.analysis.compared import AtLevel, Comparison, VariantComparison
from app.analysis.comparison import TITLES, colors, group_runs, results_of
from app.analysis.figures.style import (
    faint_ink,
    hover_of_reference,
    ink,
    labels,
    layout,
    plain,
    reaches,
    uid,
    uid_of_reference,
    whole,
)
from app.analysis.statistics import Stat, stat_of_percents
from app.store.plan import BEST, FINAL, MEAN, TEST
from app.store.rows import Run, State

Cost = Literal["seconds", "kilowatt_hours", "parameters", "images_per_second"]

_COSTS: dict[Cost, str] = {
    "seconds": "Training time (s)",
    "kilowatt_hours": "Energy of the GPU (kWh)",
    "parameters": "Parameters",
    "images_per_second": "Training images per second",
}
_ROW_PIXELS = 34
_SEEDS = (-0.28, 0.12)
"""The band within a variant's row where points of seeds stand; their mean stands below it."""
_MEAN = 0.3
_Row = tuple[VariantComparison, str | None]
"""A variant as a whole, or at one level of what else varies."""


def final_results(runs: Sequence[Run], comparison: Comparison, theme: Theme = "light") -> go.Figure:
    """What is compared of completed runs: a point per seed, mean and 95 % interval per variant, and final results of
    others as lines where it is a top-1.

    A seed stands at the same height in each row. Where something else varies, a variant's row is of each seed's mean
    over the levels that are averaged, and a row for each level follows.
    """
    finals, results = results_of(runs, comparison, comparison.measure)
    rows = _rows_of(comparison.variants, comparison)
    title = TITLES[comparison.measure]
    figure = _rows(theme, f"{title} (%){_averaged(comparison)}", rows, f"finals/{comparison.group}/{title}")
    heights = _heights({seed for by_level in results.values() for found in by_level.values() for seed in found})
    for row, (found, level) in enumerate(rows):
        by_seed = finals[found.variant] if level is None else results[found.variant][level]
        _add_seeds(figure, found, level, row, by_seed, heights, "%{x:.2f} %", theme)
        if mean := stat_of_percents(by_seed.values()):
            _add_mean(figure, found, level, row, mean, " %", found.verdict, theme)
    if comparison.measure in (FINAL, BEST, MEAN, TEST):
        _add_references(figure, comparison, len(rows), theme)
    return figure


def differences(runs: Sequence[Run], comparison: Comparison, theme: Theme = "light") -> go.Figure:
    """Estimation plot: top-1 minus the baseline's, a point per shared seed, mean and interval per variant.

    A mean is filled where the difference is claimed. Rows are those of `final_results`.
    """
    finals, results = results_of(runs, comparison, comparison.measure)
    rows = _rows_of([row for row in comparison.variants if row.outcome], comparison)
    baseline = comparison.baseline or ""
    label = labels(row.variant for row in comparison.variants)
    title = f"{TITLES[comparison.measure]} minus that of {label.get(baseline)}{_averaged(comparison)}"
    revision = f"differences/{comparison.group}/{baseline}"
    figure = _rows(theme, f"{title}<br>(points; filled: better or worse)", rows, revision)
    figure.update_xaxes(rangemode="tozero", zeroline=True, zerolinecolor=ink(theme), zerolinewidth=1.5)
    heights = _heights({seed for found in results.get(baseline, {}).values() for seed in found})
    for row, (found, level) in enumerate(rows):
        by_variant = finals if level is None else {name: by_level[level] for name, by_level in results.items()}
        zero = by_variant.get(baseline, {})
        by_seed = {seed: top1 - zero[seed] for seed, top1 in by_variant[found.variant].items() if seed in zero}
        _add_seeds(figure, found, level, row, by_seed, heights, "%{x:+.2f} points", theme)
        said = found if level is None else _at(found, level)
        if said.difference:
            _add_mean(
                figure,
                found,
                level,
                row,
                said.difference,
                " points",
                found.verdict,
                theme,
                filled=said.outcome in ("better", "worse"),
                named=comparison.interval,
            )
    return figure


def cost(runs: Sequence[Run], x: Cost = "seconds", group: str = "pooling", theme: Theme = "light") -> go.Figure:
    """Final top-1 of each completed run against what it cost. Raises `Invalid` for an unknown group."""
    grouped = group_runs(runs, group)
    color, label = colors(group, grouped), labels(grouped)
    blocks = blocks_of(grouped, group)
    turns = sorted({one.turn for one in color.values()})
    symbol = dict(zip(product(turns, blocks.levels), cycle(SYMBOLS), strict=False))
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
            marker={
                "color": color[variant].on(theme),
                "size": 9,
                "opacity": 0.8,
                "symbol": [symbol[color[variant].turn, blocks.level_of[run.id]] for run in done],
            },
            customdata=[
                [
                    ", ".join([f"seed {run.spec.seed}", *([whole(blocks.level_of[run.id])] if blocks.vary else [])]),
                    plain(run.device or "unknown device"),
                    run.id,
                ]
                for run in done
            ],
            hovertemplate="%{customdata[0]}: %{y:.2f} %, %{x:.4~s}<br>%{customdata[1]}"
            f"<extra>{whole(variant)}</extra>",
        )
    return figure


def _rows_of(variants: Sequence[VariantComparison], comparison: Comparison) -> list[_Row]:
    """Each variant, and below it its levels where there are several."""
    levels = [level.level for level in comparison.levels] if len(comparison.levels) > 1 else []
    return [(variant, level) for variant in variants for level in (None, *levels)]


def _at(variant: VariantComparison, level: str) -> AtLevel:
    return next(found for found in variant.levels if found.level == level)


def _averaged(comparison: Comparison) -> str:
    """What a title says of the rows that are variants."""
    averaged = sum(level.averaged for level in comparison.levels)
    return f"<br>(variants: over {averaged} of {len(comparison.levels)} blocks)" if len(comparison.levels) > 1 else ""


def _rows(theme: Theme, title: str, rows: Sequence[_Row], revision: str) -> go.Figure:
    """The first on top, tall enough for all."""
    label = labels(dict.fromkeys(name for found, level in rows for name in (found.variant, level) if name))
    figure = go.Figure(layout=layout(theme, title, "", revision))
    figure.update_layout(height=130 + _ROW_PIXELS * max(len(rows), 3))
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5],
        tickvals=list(range(len(rows))),
        ticktext=[label[found.variant] if level is None else f"at {label[level]}" for found, level in rows],
        zeroline=False,
        showgrid=False,
    )
    return figure


def _heights(seeds: set[int]) -> dict[int, float]:
    top, bottom = _SEEDS
    step = (bottom - top) / max(len(seeds) - 1, 1)
    return {seed: top + position * step for position, seed in enumerate(sorted(seeds))}


def _named(of: VariantComparison, level: str | None) -> tuple[list[str], str]:
    """What tells a row's traces from others', and its name in words."""
    return ([of.variant], of.variant) if level is None else ([of.variant, level], f"{of.variant}, {level}")


def _add_seeds(
    figure: go.Figure,
    of: VariantComparison,
    level: str | None,
    row: int,
    by_seed: dict[int, float],
    heights: dict[int, float],
    shown: str,
    theme: Theme,
) -> None:
    names, said = _named(of, level)
    figure.add_scatter(
        uid=uid("seeds", *names),
        name=plain(said),
        legendgroup=of.variant,
        showlegend=False,
        x=list(by_seed.values()),
        y=[row + heights[seed] for seed in by_seed],
        mode="markers",
        marker={"color": of.color.on(theme), "size": 6, "opacity": 0.55},
        customdata=list(by_seed),
        hovertemplate=f"seed %{{customdata}}: {shown}<extra>{whole(said)}</extra>",
    )


def _add_mean(
    figure: go.Figure,
    of: VariantComparison,
    level: str | None,
    row: int,
    found: Stat,
    unit: str,
    verdict: str,
    theme: Theme,
    filled: bool = True,
    named: str = "95 % CI",
) -> None:
    names, said = _named(of, level)
    color = of.color.on(theme)
    interval = "" if found.low is None or found.high is None else f" ({named} {found.low:.2f} to {found.high:.2f})"
    figure.add_scatter(
        uid=uid("mean", *names),
        name=plain(said),
        legendgroup=of.variant,
        showlegend=False,
        x=[found.mean],
        y=[row + _MEAN],
        mode="markers",
        marker={
            "color": color,
            "size": 11 if level is None else 8,
            "symbol": "diamond" if filled else "diamond-open",
            "line": {"width": 2, "color": color},
        },
        error_x=reaches([found]) | {"color": color, "thickness": 2, "width": 5},
        hovertemplate=f"mean %{{x:.2f}}{unit}{interval}, n = {found.n}<br>{whole(verdict)}<extra>{whole(said)}</extra>",
    )


def _add_references(figure: go.Figure, comparison: Comparison, rows: int, theme: Theme) -> None:
    """Draws others' final results alone: the best of some epochs cannot be held against ours of the last epoch."""
    color = {row.variant: row.color.on(theme) for row in comparison.variants} if comparison.group == "pooling" else {}
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
