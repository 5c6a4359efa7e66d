"""A metric in the course of training."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from app.analysis.colors import Theme
from app.analysis.comparison import colors, group_runs
from app.analysis.figures.end_labels import End, name_ends
from app.analysis.figures.lines import Axis, Band, Line, Seeds, line_of, short, train_size
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
from app.errors import Invalid
from app.store.rows import Run
from cct.events import EpochRecord

_AXES: dict[Axis, str] = {"epoch": "Epoch", "seconds": "Training time (s)", "images": "Training images seen"}
_BANDS: dict[Band, str] = {"sd": "± SD", "ci": "95 % CI", "minmax": "lowest to highest", "none": ""}


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
    named_ends: bool = False,
) -> dict[str, Any]:
    """A metric per epoch: each run as a thin line and, where a variant has several seeds, their mean and a band.

    Where something else varies between its runs, each of its levels has a mean and a band of its own. Mean and band are
    taken at exact epochs over the seeds that have reached them; n is shown on hover. Over seconds or images a mean
    stands at the mean x of its epoch. `smoothing` (0 to below 1) is the weight of the past in an exponential mean; what
    was measured stays visible. Top-1 results of others are dashed lines where model, dataset, epochs and recipe match:
    final ones, else those of the best epoch, as their names tell. `hidden` runs are in no mean and have traces without
    points; all others look as they do beside them. `crosshair` shows what was measured at one epoch together, of a
    variant with several seeds the mean. `named_ends` writes each variant's name and value where its curve ends, in
    place of the legend, unless they are too many or there is one epoch only. Returns a figure's `data` and `layout` as
    plain lists, for `go.Figure` takes long to check thousands of points. Raises `Invalid` for an unknown metric or
    group.
    """
    if metric not in METRICS:
        raise Invalid("metric", f"{metric!r} is not measured; choose one of {', '.join(METRICS)}")
    shown = METRICS[metric]
    strands = strands_of(runs, group, theme)
    revision = "/".join([metric, group] + [x] * (x != "epoch") + ["log"] * log_y)
    axes = json.loads(_layout(theme, _AXES[x], shown.label, revision))
    traces: list[dict[str, Any]] = []
    drawn: list[Line] = []
    ends: list[End] = []
    for strand in strands:
        lines = [line for run in strand.runs if (line := line_of(run, records.get(run.id, ()), metric, x, smoothing)).y]
        for line in lines:
            if line.run.id in hidden:
                _add_hidden(traces, strand, line.run)
        lines = [line for line in lines if line.run.id not in hidden]
        several = len(lines) > 1
        for line in lines:
            _add_run(traces, strand, line, shown, several=several, smoothed=smoothing > 0, crosshair=crosshair)
        if several:
            _add_mean(traces, strand, lines, shown, band, log_y)
        if lines:
            x_end, y_end = traces[-1]["x"][-1], traces[-1]["y"][-1]
            said = f"{y_end:.1f}" if shown.is_percent else f"{y_end:.3g}"
            ends.append(End(f"{strand.label} {said}", strand.color, x_end, y_end))
        drawn += lines
    if log_y:
        axes["yaxis"]["type"] = "log"
    first, reached = _reached(drawn)
    last, of_runs = reached, [*traces]
    if metric == "val_top1" and strands:
        span = _span(runs, drawn, x)
        color = {variant: one.on(theme) for variant, one in colors(group, group_runs(runs, group)).items()}
        if _add_references(traces, runs, group, color, faint_ink(theme), span) and span[1] > span[0]:
            axes["xaxis"]["range"] = list(span)
            last = span[1]
    if named_ends and first < reached and name_ends(axes, ends, [y for trace in traces for y in trace["y"]]):
        axes["xaxis"]["autorangeoptions"] = {"minallowed": first, "maxallowed": reached}  # not as wide as the names
        for trace in of_runs:
            trace["showlegend"] = False
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
    line: Line,
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
    lines: list[Line],
    metric: Metric,
    band: Band,
    log_y: bool,
) -> None:
    seeds = Seeds.at_each_epoch(lines)
    x, means = short(seeds.x), short(seeds.mean)
    if band != "none":
        low, high = (short(edge) for edge in seeds.edges(band, log_y, metric.is_percent))
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
        shown = [short(seeds.sd)]
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


def _reached(drawn: Sequence[Line]) -> tuple[float, float]:
    """Where the x axis of what was measured begins and ends."""
    return min((line.x[0] for line in drawn), default=0), max((line.x[-1] for line in drawn), default=0)


def _span(runs: Sequence[Run], drawn: Sequence[Line], x: Axis) -> tuple[float, float]:
    """Ends of the x axis: of all epochs of the runs or, since their time is unknown, of the seconds trained so far."""
    if x == "seconds":
        return 0, max((end for line in drawn for end in line.x), default=0)
    per_epoch = [1 if x == "epoch" else train_size(run) for run in runs]
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
