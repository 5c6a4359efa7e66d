"""Stored rows to Plotly figures. Pure functions; every chart of the product is one of them."""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

from app.comparison import colors, group_runs, matching_references
from app.errors import Invalid
from app.rows import Run
from cct.config import EpochRecord

Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A field of `EpochRecord` as charts label it; `unit` follows values on hover."""

    name: str
    label: str
    unit: str = ""


METRICS = {
    metric.name: metric
    for metric in (
        Metric("val_top1", "Validation top-1 (%)", " %"),
        Metric("val_loss", "Validation loss"),
        Metric("val_top5", "Validation top-5 (%)", " %"),
        Metric("train_top1", "Training top-1 (%)", " %"),
        Metric("train_loss", "Training loss"),
        Metric("lr", "Learning rate"),
        Metric("seconds", "Seconds per epoch", " s"),
        Metric("images_per_second", "Training images per second"),
        Metric("peak_memory_bytes", "Peak memory (bytes)"),
    )
}

_INK = {"light": ("#212529", "#e9ecef", "#868e96"), "dark": ("#dee2e6", "#373a40", "#909296")}


def curves(
    runs: Sequence[Run],
    records: Mapping[str, Sequence[EpochRecord]],
    metric: str = "val_top1",
    group: str = "pooling",
    theme: Theme = "light",
) -> go.Figure:
    """A metric per epoch: each run as a thin line and, where a variant has several seeds, their mean and ±1 SD band.

    Mean and SD are taken at exact epochs over the seeds that have reached them; n is shown on hover. Top-1 results of
    others are dashed lines where model, dataset and epochs match. Raises `Invalid` for an unknown metric or group.
    """
    if metric not in METRICS:
        raise Invalid("metric", f"{metric!r} is not measured; choose one of {', '.join(METRICS)}")
    shown = METRICS[metric]
    grouped = group_runs(runs, group)
    color = colors(group, list(grouped))
    figure = go.Figure(layout=_layout(shown, theme, f"{metric}/{group}"))
    for variant, members in grouped.items():
        found = [(run, _values(records.get(run.id, ()), metric)) for run in members]
        lines = [(run, line) for run, line in found if line]
        several = len(lines) > 1
        for run, line in lines:
            figure.add_scatter(
                uid=_uid(f"run/{run.id}"),
                name=variant,
                legendgroup=variant,
                showlegend=not several,
                x=list(line),
                y=list(line.values()),
                mode="lines" if len(line) > 1 else "markers",
                line={"color": color[variant], "width": 1 if several else 2},
                opacity=0.35 if several else 1,
                meta={"run_id": run.id},
                hovertemplate=f"seed {run.spec.seed}: %{{y:.4~g}}{shown.unit}<extra>{variant}</extra>",
            )
        if several:
            _add_mean(figure, variant, [line for _, line in lines], color[variant], shown)
    if all(len(records.get(run.id, ())) <= 10 for run in runs):
        figure.update_xaxes(dtick=1)
    if metric == "val_top1" and grouped:
        _add_references(figure, runs, group, color, _INK[theme][2])
    return figure


def _values(records: Sequence[EpochRecord], metric: str) -> dict[int, float]:
    return {record.epoch: getattr(record, metric) for record in records}


def _add_mean(figure: go.Figure, variant: str, lines: list[dict[int, float]], color: str, metric: Metric) -> None:
    epochs = sorted({epoch for line in lines for epoch in line})
    values = [[line[epoch] for line in lines if epoch in line] for epoch in epochs]
    means = [statistics.fmean(v) for v in values]
    spreads = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values]
    upper = [mean + sd for mean, sd in zip(means, spreads, strict=True)]
    lower = [mean - sd for mean, sd in zip(means, spreads, strict=True)]
    figure.add_scatter(
        uid=_uid(f"band/{variant}"),
        name=f"{variant} ± SD",
        legendgroup=variant,
        showlegend=False,
        x=epochs + epochs[::-1],
        y=upper + lower[::-1],
        fill="toself",
        fillcolor=_transparent(color, 0.15),
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
    )
    figure.add_scatter(
        uid=_uid(f"mean/{variant}"),
        name=variant,
        legendgroup=variant,
        x=epochs,
        y=means,
        mode="lines+markers" if len(epochs) < 3 else "lines",
        line={"color": color, "width": 2.5},
        customdata=[[sd, len(v)] for sd, v in zip(spreads, values, strict=True)],
        hovertemplate=f"%{{y:.4~g}} ± %{{customdata[0]:.2~g}}{metric.unit}, %{{customdata[1]}} seeds"
        f"<extra>{variant} (mean)</extra>",
    )


def _add_references(figure: go.Figure, runs: Sequence[Run], group: str, color: Mapping[str, str], ink: str) -> None:
    """Dashed lines, one legend entry per origin; their values stand side by side on the left, where curves are low."""
    last = max(run.spec.epochs for run in runs)
    found = matching_references(runs)
    origins: set[str] = set()
    for position, result in enumerate(found):
        line_color = color.get(result.pooling, ink) if group == "pooling" else ink
        figure.add_scatter(
            uid=_uid(f"reference/{result.label}/{result.model}/{result.dataset}/{result.epochs}/{result.pooling}"),
            name=result.label,
            legendgroup=f"reference/{result.label}",
            showlegend=result.label not in origins,
            x=[1, 1 + (last - 1) * (position + 0.5) / len(found) * 0.6, last],
            y=[result.top1] * 3,
            mode="lines+text",
            text=["", f"{result.top1:g}", ""],
            textposition="top center",
            textfont={"size": 11, "color": line_color},
            line={"dash": "dash", "width": 1.5, "color": line_color},
            hovertemplate=f"{result.label}: {result.pooling} {result.top1:g} %<extra>{result.source}</extra>",
        )
        origins.add(result.label)
    if found and last > 1:
        figure.update_xaxes(range=[1, last])


def _layout(metric: Metric, theme: Theme, revision: str) -> go.Layout:
    ink, grid, faint = _INK[theme]
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
        font={"color": ink, "size": 13, "family": "system-ui, sans-serif"},
        margin={"l": 64, "r": 16, "t": 16, "b": 48},
        hovermode="closest",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "font": {"size": 12}, "tracegroupgap": 0},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": faint, "activecolor": ink},
        xaxis=axis | {"title": {"text": "Epoch", "font": {"size": 13}}, "tickformat": "d"},
        yaxis=axis | {"title": {"text": metric.label, "font": {"size": 13}}},
    )


def _uid(name: str) -> str:
    """A trace's identity across updates; plotly.js puts it into CSS selectors."""
    return re.sub(r"[^\w-]", "_", name)


def _transparent(color: str, opacity: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
