"""A metric in the course of training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import sqrt
from statistics import fmean
from typing import Any, Literal

from app.comparison import colors, group_runs, matching_references
from app.errors import Invalid
from app.figures.style import Theme, faint_ink, layout, transparent, uid
from app.rows import Run
from app.statistics import stat
from cct.config import DATASETS, EpochRecord


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
        Metric("pooling_entropy", "Entropy of pooling weights (nats)", " nats"),
    )
}

Axis = Literal["epoch", "seconds", "images"]
Band = Literal["sd", "ci", "minmax", "none"]

_AXES: dict[Axis, str] = {"epoch": "Epoch", "seconds": "Training time (s)", "images": "Training images seen"}
_BANDS: dict[Band, str] = {"sd": "± SD", "ci": "95 % CI", "minmax": "lowest to highest", "none": ""}


@dataclass(frozen=True, slots=True)
class _Line:
    """One run's metric by epoch, and where on the x axis its epochs ended."""

    run: Run
    x: dict[int, float]
    y: dict[int, float]
    smooth: dict[int, float]


def curves(
    runs: Sequence[Run],
    records: Mapping[str, Sequence[EpochRecord]],
    metric: str = "val_top1",
    group: str = "pooling",
    theme: Theme = "light",
    *,
    x: Axis = "epoch",
    band: Band = "sd",
    smoothing: float = 0,
    log_y: bool = False,
) -> dict[str, Any]:
    """A metric per epoch: each run as a thin line and, where a variant has several seeds, their mean and a band.

    Mean and band are taken at exact epochs over the seeds that have reached them; n is shown on hover. Over seconds or
    images a mean stands at the mean x of its epoch. `smoothing` (0 to below 1) is the weight of the past in an
    exponential mean; what was measured stays visible. Top-1 results of others are dashed lines where model, dataset and
    epochs match. Returns a figure's `data` and `layout` as plain lists, for `go.Figure` takes long to check thousands
    of points. Raises `Invalid` for an unknown metric or group.
    """
    if metric not in METRICS:
        raise Invalid("metric", f"{metric!r} is not measured; choose one of {', '.join(METRICS)}")
    shown = METRICS[metric]
    grouped = group_runs(runs, group)
    color = colors(group, list(grouped))
    revision = "/".join([metric, group] + [x] * (x != "epoch") + ["log"] * log_y)
    axes = json.loads(_layout(theme, _AXES[x], shown.label, revision))
    traces: list[dict[str, Any]] = []
    drawn: list[_Line] = []
    for variant, members in grouped.items():
        lines = [line for run in members if (line := _line(run, records.get(run.id, ()), metric, x, smoothing)).y]
        several = len(lines) > 1
        for line in lines:
            _add_run(traces, variant, line, color[variant], shown, several=several, smoothed=smoothing > 0)
        if several:
            _add_mean(traces, variant, lines, color[variant], shown, band, log_y)
        drawn += lines
    if x == "epoch":
        axes["xaxis"]["tickformat"] = "d"
        if all(len(records.get(run.id, ())) <= 10 for run in runs):
            axes["xaxis"]["dtick"] = 1
    if log_y:
        axes["yaxis"]["type"] = "log"
    if metric == "val_top1" and grouped:
        span = _span(runs, drawn, x)
        if _add_references(traces, runs, group, color, faint_ink(theme), span) and span[1] > span[0]:
            axes["xaxis"]["range"] = list(span)
    return {"data": traces, "layout": axes}


@lru_cache(maxsize=64)
def _layout(theme: Theme, x: str, y: str, revision: str) -> str:
    """As JSON, of which each figure takes its own copy."""
    return json.dumps(layout(theme, x, y, revision).to_plotly_json())


def _add(traces: list[dict[str, Any]], **trace: Any) -> None:
    traces.append({"type": "scatter", **trace})


def _line(run: Run, records: Sequence[EpochRecord], metric: str, x: Axis, smoothing: float) -> _Line:
    ends: dict[int, float] = {record.epoch: record.epoch for record in records}
    if x == "seconds":
        ends = dict(zip(ends, accumulate(record.seconds for record in records), strict=True))
    elif x == "images":
        ends = {epoch: epoch * DATASETS[run.spec.dataset].train_size for epoch in ends}
    values = {record.epoch: getattr(record, metric) for record in records}
    measured = {epoch: value for epoch, value in values.items() if value is not None}
    return _Line(run, {epoch: ends[epoch] for epoch in measured}, measured, _smooth(measured, smoothing))


def _smooth(values: dict[int, float], weight: float) -> dict[int, float]:
    """Exponential mean; divided by the sum of its weights, so that it does not start at zero."""
    smooth, total, weights = {}, 0.0, 0.0
    for epoch, value in values.items():
        total = weight * total + (1 - weight) * value
        weights = weight * weights + (1 - weight)
        smooth[epoch] = total / weights
    return smooth


def _add_run(
    traces: list[dict[str, Any]],
    variant: str,
    line: _Line,
    color: str,
    metric: Metric,
    *,
    several: bool,
    smoothed: bool,
) -> None:
    measured_opacity = 0.35 if several else 1
    _add(
        traces,
        uid=uid(f"run/{line.run.id}"),
        name=variant,
        legendgroup=variant,
        showlegend=not several and not smoothed,
        x=list(line.x.values()),
        y=list(line.y.values()),
        mode="lines" if len(line.y) > 1 else "markers",
        line={"color": color, "width": 1 if several or smoothed else 2},
        opacity=min(measured_opacity, 0.25) if smoothed else measured_opacity,
        meta={"run_id": line.run.id},
        hovertemplate=f"seed {line.run.spec.seed}: %{{y:.4~g}}{metric.unit}<extra>{variant}</extra>",
    )
    if smoothed and not several:
        _add(
            traces,
            uid=uid(f"smooth/{line.run.id}"),
            name=variant,
            legendgroup=variant,
            x=list(line.x.values()),
            y=list(line.smooth.values()),
            mode="lines" if len(line.y) > 1 else "markers",
            line={"color": color, "width": 2},
            hovertemplate=f"seed {line.run.spec.seed}: %{{y:.4~g}}{metric.unit}<extra>{variant} (smoothed)</extra>",
        )


def _add_mean(
    traces: list[dict[str, Any]], variant: str, lines: list[_Line], color: str, metric: Metric, band: Band, log_y: bool
) -> None:
    epochs = sorted({epoch for line in lines for epoch in line.y})
    reached = [[line for line in lines if epoch in line.y] for epoch in epochs]
    x = [fmean(line.x[epoch] for line in at) for epoch, at in zip(epochs, reached, strict=True)]
    values = [[line.smooth[epoch] for line in at] for epoch, at in zip(epochs, reached, strict=True)]
    means = [fmean(v) for v in values]
    edges = [_edges(v, band, log_y) for v in values]
    if band != "none":
        _add(
            traces,
            uid=uid(f"band/{variant}"),
            name=f"{variant} {_BANDS[band]}",
            legendgroup=variant,
            showlegend=False,
            x=x + x[::-1],
            y=[high for _, high in edges] + [low for low, _ in edges[::-1]],
            fill="toself",
            fillcolor=transparent(color, 0.15),
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
        )
    if band in ("ci", "minmax"):
        spread = f", {_BANDS[band]} %{{customdata[0]:.4~g}} to %{{customdata[1]:.4~g}}"
        customdata = [[low, high, len(v)] for (low, high), v in zip(edges, values, strict=True)]
    else:
        spread = " ± %{customdata[0]:.2~g}"
        customdata = [[_sd(v), len(v)] for v in values]
    _add(
        traces,
        uid=uid(f"mean/{variant}"),
        name=variant,
        legendgroup=variant,
        x=x,
        y=means,
        mode="lines+markers" if len(epochs) < 3 else "lines",
        line={"color": color, "width": 2.5},
        customdata=customdata,
        hovertemplate=f"%{{y:.4~g}}{spread}{metric.unit}, %{{customdata[{len(customdata[0]) - 1}]}} seeds"
        f"<extra>{variant} (mean)</extra>",
    )


def _sd(values: list[float]) -> float:
    """Of a sample, 0 of one value; the standard library's is exact to the last digit and many times slower."""
    mean = fmean(values)
    return sqrt(sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1))


def _edges(values: list[float], band: Band, log_y: bool) -> tuple[float, float]:
    """Lower and upper end of the band over seeds at one epoch."""
    mean = fmean(values)
    if band == "minmax":
        return min(values), max(values)
    if band == "ci":
        found = stat(values)
        low, high = (
            (mean, mean) if found is None or found.low is None or found.high is None else (found.low, found.high)
        )
    else:
        sd = _sd(values)
        low, high = mean - sd, mean + sd
    # A logarithmic axis has no place for zero: the band ends at the lowest seed.
    return (min(values) if log_y and low <= 0 else low), high


def _span(runs: Sequence[Run], drawn: Sequence[_Line], x: Axis) -> tuple[float, float]:
    """Ends of the x axis: of all epochs of the runs or, since their time is unknown, of the seconds trained so far."""
    if x == "seconds":
        return 0, max((end for line in drawn for end in line.x.values()), default=0)
    per_epoch = [1 if x == "epoch" else DATASETS[run.spec.dataset].train_size for run in runs]
    return min(per_epoch), max(one * run.spec.epochs for one, run in zip(per_epoch, runs, strict=True))


def _add_references(
    traces: list[dict[str, Any]],
    runs: Sequence[Run],
    group: str,
    color: Mapping[str, str],
    ink: str,
    span: tuple[float, float],
) -> bool:
    """Dashed lines, one legend entry per origin; their values stand side by side on the left, where curves are low.

    Returns whether there are any.
    """
    first, last = span
    found = matching_references(runs)
    origins: set[str] = set()
    for position, result in enumerate(found):
        line_color = color.get(result.pooling, ink) if group == "pooling" else ink
        _add(
            traces,
            uid=uid(f"reference/{result.label}/{result.model}/{result.dataset}/{result.epochs}/{result.pooling}"),
            name=result.label,
            legendgroup=f"reference/{result.label}",
            showlegend=result.label not in origins,
            x=[first, first + (last - first) * (position + 0.5) / len(found) * 0.6, last],
            y=[result.top1] * 3,
            mode="lines+text",
            text=["", f"{result.top1:g}", ""],
            textposition="top center",
            textfont={"size": 11, "color": line_color},
            line={"dash": "dash", "width": 1.5, "color": line_color},
            hovertemplate=f"{result.label}: {result.pooling} {result.top1:g} %<extra>{result.source}</extra>",
        )
        origins.add(result.label)
    return bool(found)
