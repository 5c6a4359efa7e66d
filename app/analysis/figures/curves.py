"""A metric in the course of training."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, compress
from math import ceil, inf, log10
from typing import TYPE_CHECKING, Any, Literal, cast

from app.analysis.colors import Theme
from app.analysis.comparison import colors, group_runs
from app.analysis.figures.metrics import METRICS, Metric
from app.analysis.figures.strands import Strand, strands_of
from app.analysis.figures.style import (
    faint_ink,
    hover_of_reference,
    layout,
    plain,
    transparent,
    uid,
    uid_of_reference,
    whole,
)
from app.analysis.references import matching_references
from app.analysis.statistics import ALPHA
from app.errors import Invalid
from app.store.rows import Run
from cct.events import EpochRecord
from cct.named_datasets import DATASETS

if TYPE_CHECKING:
    from numpy.typing import NDArray


Axis = Literal["epoch", "seconds", "images"]
Band = Literal["sd", "ci", "minmax", "none"]

_AXES: dict[Axis, str] = {"epoch": "Epoch", "seconds": "Training time (s)", "images": "Training images seen"}
_BANDS: dict[Band, str] = {"sd": "± SD", "ci": "95 % CI", "minmax": "lowest to highest", "none": ""}


@dataclass(frozen=True, slots=True)
class _Line:
    """One run's metric at the epochs that measured it, and where on the x axis these epochs ended."""

    run: Run
    epochs: list[int]
    x: list[float]
    y: list[float]
    smooth: list[float]


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
    hidden: Collection[str] = (),
    crosshair: bool = False,
) -> dict[str, Any]:
    """A metric per epoch: each run as a thin line and, where a variant has several seeds, their mean and a band.

    Where something else varies between its runs, each of its levels has a mean and a band of its own. Mean and band are
    taken at exact epochs over the seeds that have reached them; n is shown on hover. Over seconds or images a mean
    stands at the mean x of its epoch. `smoothing` (0 to below 1) is the weight of the past in an exponential mean; what
    was measured stays visible. Top-1 results of others are dashed lines where model, dataset, epochs and recipe match:
    final ones, else those of the best epoch, as their names tell. `hidden` runs are in no mean and have traces without
    points; all others look as they do beside them. `crosshair` shows what was measured at one epoch together, of a
    variant with several seeds the mean. Returns a figure's `data` and `layout` as plain
    lists, for `go.Figure` takes long to check thousands of points. Raises `Invalid` for an unknown metric or group.
    """
    if metric not in METRICS:
        raise Invalid("metric", f"{metric!r} is not measured; choose one of {', '.join(METRICS)}")
    shown = METRICS[metric]
    strands = strands_of(runs, group, theme)
    revision = "/".join([metric, group] + [x] * (x != "epoch") + ["log"] * log_y)
    axes = json.loads(_layout(theme, _AXES[x], shown.label, revision))
    traces: list[dict[str, Any]] = []
    drawn: list[_Line] = []
    for strand in strands:
        lines = [line for run in strand.runs if (line := _line(run, records.get(run.id, ()), metric, x, smoothing)).y]
        for line in lines:
            if line.run.id in hidden:
                _add_hidden(traces, strand, line.run)
        lines = [line for line in lines if line.run.id not in hidden]
        several = len(lines) > 1
        for line in lines:
            _add_run(traces, strand, line, shown, several=several, smoothed=smoothing > 0, crosshair=crosshair)
        if several:
            _add_mean(traces, strand, lines, shown, band, log_y)
        drawn += lines
    if log_y:
        axes["yaxis"]["type"] = "log"
    last = max((line.x[-1] for line in drawn), default=0)
    if metric == "val_top1" and strands:
        span = _span(runs, drawn, x)
        color = {variant: one.on(theme) for variant, one in colors(group, group_runs(runs, group)).items()}
        if _add_references(traces, runs, group, color, faint_ink(theme), span) and span[1] > span[0]:
            axes["xaxis"]["range"] = list(span)
            last = span[1]
    if crosshair:
        axes |= {"hovermode": "x unified", "hoverdistance": -1}  # the nearest epoch, however far
    if x == "epoch":
        axes["xaxis"]["tickformat"] = "d"
        if last <= 10:
            axes["xaxis"]["dtick"] = 1
    return {"data": traces, "layout": axes}


@lru_cache(maxsize=64)
def _layout(theme: Theme, x: str, y: str, revision: str) -> str:
    """The layout as JSON, of which each figure takes its own copy."""
    return json.dumps(layout(theme, x, y, revision).to_plotly_json())


def _add(traces: list[dict[str, Any]], **trace: Any) -> None:
    traces.append({"type": "scatter", **trace})


def _line(run: Run, records: Sequence[EpochRecord], metric: str, x: Axis, smoothing: float) -> _Line:
    epochs = [record.epoch for record in records]
    ends: list[float] = [*epochs]
    if x == "seconds":
        ends = list(accumulate(record.seconds for record in records))
    elif x == "images":
        per_epoch = _train_size(run)
        ends = [epoch * per_epoch for epoch in epochs]
    values = [getattr(record, metric) for record in records]
    measured = [value is not None for value in values]
    y = list(compress(values, measured))
    smooth = _smooth(y, smoothing) if smoothing else y
    return _Line(run, list(compress(epochs, measured)), list(compress(ends, measured)), y, smooth)


def _train_size(run: Run) -> int:
    """Raises `Invalid` for a dataset that this version does not have."""
    known = DATASETS[run.spec.dataset].train_size if run.spec.dataset in DATASETS else None
    found = (run.provenance or {}).get("train_images", known)  # fewer, if some were held out
    if found is None:
        raise Invalid("x", f"the size of {run.spec.source} is not known here; choose another axis than images")
    return int(found)


def _smooth(values: list[float], weight: float) -> list[float]:
    """Exponential mean; divided by the sum of its weights, so that it does not start at zero."""
    smooth, total, weights = [], 0.0, 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        weights = weight * weights + (1 - weight)
        smooth.append(total / weights)
    return smooth


def _told(run: Run) -> dict[str, Any]:
    """What pages read from the trace of a run."""
    return {"run_id": run.id, "seed": run.spec.seed}


def _add_hidden(traces: list[dict[str, Any]], strand: Strand, run: Run) -> None:
    _add(
        traces,
        uid=uid("run", run.id),
        name=strand.label,
        legendgroup=strand.said,
        visible=False,
        x=[],
        y=[],
        line={"color": strand.color} | strand.dashed,
        meta=_told(run),
    )


def _add_run(
    traces: list[dict[str, Any]],
    strand: Strand,
    line: _Line,
    metric: Metric,
    *,
    several: bool,
    smoothed: bool,
    crosshair: bool,
) -> None:
    measured_opacity = 0.35 if several else 1
    hover = f"seed {line.run.spec.seed}: %{{y:.4~g}}{metric.unit}<extra>{whole(strand.said)}</extra>"
    _add(
        traces,
        uid=uid("run", line.run.id),
        name=strand.label,
        legendgroup=strand.said,
        showlegend=not several and not smoothed,
        x=line.x,
        y=line.y,
        mode="lines" if len(line.y) > 1 else "markers",
        line={"color": strand.color, "width": 1 if several or smoothed else 2} | strand.dashed,
        opacity=min(measured_opacity, 0.25) if smoothed else measured_opacity,
        meta=_told(line.run),
        **{"hoverinfo": "skip"} if crosshair and several else {"hovertemplate": hover},
    )
    if smoothed and not several:
        _add(
            traces,
            uid=uid("smooth", line.run.id),
            name=strand.label,
            legendgroup=strand.said,
            x=line.x,
            y=line.smooth,
            mode="lines" if len(line.y) > 1 else "markers",
            line={"color": strand.color, "width": 2} | strand.dashed,
            hovertemplate=f"seed {line.run.spec.seed}: %{{y:.4~g}}{metric.unit}"
            f"<extra>{whole(strand.said)} (smoothed)</extra>",
        )


def _add_mean(
    traces: list[dict[str, Any]],
    strand: Strand,
    lines: list[_Line],
    metric: Metric,
    band: Band,
    log_y: bool,
) -> None:
    seeds = _Seeds.at_each_epoch(lines)
    x, means = _short(seeds.x), _short(seeds.mean)
    if band != "none":
        low, high = (_short(edge) for edge in seeds.edges(band, log_y, metric.is_percent))
        _add(
            traces,
            uid=uid("band", *strand.names),
            name=f"{strand.label} {_BANDS[band]}",
            legendgroup=strand.said,
            showlegend=False,
            x=x + x[::-1],
            y=high + low[::-1],
            fill="toself",
            fillcolor=transparent(strand.color, 0.15),
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
        )
    if band in ("ci", "minmax"):
        spread = f", {_BANDS[band]} %{{customdata[0]:.4~g}} to %{{customdata[1]:.4~g}}"
        shown = [low, high]
    else:
        spread = " ± %{customdata[0]:.2~g}"
        shown = [_short(seeds.sd)]
    customdata = [list(values) for values in zip(*shown, seeds.n.tolist(), strict=True)]
    _add(
        traces,
        uid=uid("mean", *strand.names),
        name=strand.label,
        legendgroup=strand.said,
        x=x,
        y=means,
        mode="lines+markers" if len(x) < 3 else "lines",
        line={"color": strand.color, "width": 2.5, **strand.dashed},
        customdata=customdata,
        hovertemplate=f"%{{y:.4~g}}{spread}{metric.unit}, %{{customdata[{len(customdata[0]) - 1}]}} seeds"
        f"<extra>{whole(strand.said)} (mean)</extra>",
    )


@dataclass(frozen=True, slots=True)
class _Seeds:
    """Statistics over the seeds that have reached an epoch: arrays with a value per epoch."""

    x: "NDArray[Any]"
    """Where the epoch ended, on average."""
    n: "NDArray[Any]"
    mean: "NDArray[Any]"
    sd: "NDArray[Any]"
    """The standard deviation of a sample; 0 of one value."""
    lowest: "NDArray[Any]"
    highest: "NDArray[Any]"

    @classmethod
    def at_each_epoch(cls, lines: Sequence[_Line]) -> "_Seeds":
        import numpy as np

        epochs = sorted({epoch for line in lines for epoch in line.epochs})
        place = {epoch: column for column, epoch in enumerate(epochs)}
        reached = np.zeros((len(lines), len(epochs)), bool)
        x, y = np.zeros((2, *reached.shape))
        for row, line in enumerate(lines):
            columns = slice(None) if line.epochs == epochs else [place[epoch] for epoch in line.epochs]
            reached[row, columns], x[row, columns], y[row, columns] = True, line.x, line.smooth
        n = reached.sum(axis=0)
        mean = y.sum(axis=0) / n
        squares = np.where(reached, y - mean, 0) ** 2
        return cls(
            x.sum(axis=0) / n,
            n,
            mean,
            np.sqrt(squares.sum(axis=0) / np.maximum(n - 1, 1)),
            np.where(reached, y, np.inf).min(axis=0),
            np.where(reached, y, -np.inf).max(axis=0),
        )

    def edges(self, band: Band, log_y: bool, is_percent: bool) -> tuple["NDArray[Any]", "NDArray[Any]"]:
        """Lower and upper ends of the band."""
        import numpy as np

        if band == "minmax":
            return self.lowest, self.highest
        half = self.sd
        if band == "ci":
            from scipy.special import stdtrit

            half = stdtrit(np.maximum(self.n - 1, 1), 1 - ALPHA / 2) * self.sd / np.sqrt(self.n)
            if is_percent:
                return _within_percents(self.mean, half)
        low, high = self.mean - half, self.mean + half
        if is_percent:
            low, high = np.maximum(low, 0), np.minimum(high, 100)
        # A logarithmic axis has no place for zero: the band ends at the lowest seed.
        return np.where(low <= 0, self.lowest, low) if log_y else low, high


def _within_percents(mean: "NDArray[Any]", half: "NDArray[Any]") -> tuple["NDArray[Any]", "NDArray[Any]"]:
    """The ends of an interval on the logit scale, as `stat_of_percents` has them, by epoch."""
    import numpy as np

    share = np.clip(mean / 100, 1e-12, 1 - 1e-12)
    at, reach = np.log(share / (1 - share)), half / 100 / (share * (1 - share))
    return 50 * (1 + np.tanh((at - reach) / 2)), 50 * (1 + np.tanh((at + reach) / 2))


def _short(values: "NDArray[Any]") -> list[float]:
    """Rounded to eight digits of the largest. Charts show four, and what nobody sees would be half of what is sent."""
    largest = float(abs(values).max(initial=0))
    if 0 < largest < inf:
        values = values.round(8 - ceil(log10(largest)))
    return cast(list[float], values.tolist())


def _span(runs: Sequence[Run], drawn: Sequence[_Line], x: Axis) -> tuple[float, float]:
    """Ends of the x axis: of all epochs of the runs or, since their time is unknown, of the seconds trained so far."""
    if x == "seconds":
        return 0, max((end for line in drawn for end in line.x), default=0)
    per_epoch = [1 if x == "epoch" else _train_size(run) for run in runs]
    last = max(one * run.spec.epochs for one, run in zip(per_epoch, runs, strict=True))
    # An evaluation stands at 0.
    return (0, last or 1) if any(run.spec.is_evaluation for run in runs) else (min(per_epoch), last)


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
        top1, origin = result.final, result.label
        if top1 is None:
            top1, origin = result.best, f"{result.label}, best epoch"
        _add(
            traces,
            uid=uid_of_reference(result),
            name=plain(origin),
            legendgroup=f"reference/{origin}",
            showlegend=origin not in origins,
            x=[first, first + (last - first) * (position + 0.5) / len(found) * 0.6, last],
            y=[top1] * 3,
            mode="lines+text",
            text=["", f"{top1:g}", ""],
            textposition="top center",
            textfont={"size": 11, "color": line_color},
            line={"dash": "dash", "width": 1.5, "color": line_color},
            hovertemplate=hover_of_reference(result),
        )
        origins.add(origin)
    return bool(found)
