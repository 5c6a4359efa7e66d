"""What is mistaken for what: confusion matrices as heat maps, and the difference of two variants by class."""

from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from math import sqrt
from typing import Literal

import plotly.graph_objects as go

from app.analysis.blocks import Blocks, blocks_of
from app.analysis.colors import Theme
from app.analysis.comparison import baseline_of, colors, group_runs
from app.analysis.figures.style import LONGEST, ink, labels, layout, plain, uid, whole
from app.analysis.statistics import ALPHA, Difference, differences
from app.errors import Conflict, Invalid
from app.store.rows import Confusion, Run, State

Epoch = Literal["last", "best"]
Counts = Sequence[Sequence[float]]
"""Counts by true class (rows) and predicted class (columns)."""

# One hue from the page's colour to the strongest, so that colour-blind people and grey printers see the same order.
_SHARES = {
    "light": ["#ffffff", "#c6dbef", "#6baed6", "#2171b5", "#08306b"],
    "dark": ["#1f2024", "#1d3a5f", "#2b6cb0", "#63a4e0", "#dcecff"],
}
# Blue and orange, which colour-blind people can tell apart.
_SIGNED = {
    "light": ["#2166ac", "#92c5de", "#ffffff", "#fdb863", "#b35806"],
    "dark": ["#7ab8f5", "#2c5f95", "#1f2024", "#9c5a14", "#ffb05c"],
}
_TICKS = (0, 5, 20, 50, 100)
_MANY = 20
"""Classes above which cells hold no numbers and rows stand closer."""
SHOWN = 120
"""Classes that a picture has room for."""


def class_names(run: Run, classes: int) -> list[str]:
    """Numbers where the run's dataset has no names."""
    return run.class_names if len(run.class_names) == classes else [str(number) for number in range(classes)]


def confusion(
    runs: Sequence[Run],
    found: Mapping[str, Confusion],
    group: str = "pooling",
    variant: str | None = None,
    baseline: str | None = None,
    theme: Theme = "light",
) -> go.Figure:
    """For each true class the share of each prediction, summed over the variant's runs; `found` is by run id.

    With `baseline` the variant's shares minus the baseline's, in points, over the pairs of `class_differences`.
    Of more than `SHOWN` classes those of the largest cells beside the diagonal are shown, and the label says so.
    Raises `Invalid` for an unknown group or variant and for several datasets, `Conflict` before the first epoch.
    """
    grouped = group_runs(runs, group)
    label, blocks = labels(grouped), blocks_of(grouped, group)
    if baseline is not None:
        variant, baseline = _chosen_two(grouped, variant, baseline)
        pairs, over = _pairs(grouped, variant, baseline, found, blocks)
        mine, theirs = (_shares(_sum(side)) for side in zip(*pairs.values(), strict=True))
        names = _names([*grouped[variant], *grouped[baseline]], found)
        title = f"{label[variant]} minus {label[baseline]}, {_seeds(len(pairs))}{_over(over)}"
        return _difference_map(names, mine, theirs, title, theme)
    variant = _chosen(list(grouped), variant)
    unfinished = [run for run in grouped[variant] if run.state not in (State.failed, State.cancelled)]
    members = [run for run in unfinished or grouped[variant] if run.id in found]
    if not members:
        raise Conflict(f"{variant} has no confusion matrix yet; it comes with the next epoch that is finished")
    names = _names(members, found)
    counts = _sum(found[run.id].counts for run in members)
    epochs = sorted({found[run.id].epoch for run in members})
    span = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
    if epochs == [0]:
        span = "evaluation"
    seeds = _seeds(len({run.spec.seed for run in members}))
    return _share_map(names, counts, f"{label[variant]}, {seeds}, {span}{_over(blocks.of(members))}", theme)


def class_differences(
    runs: Sequence[Run],
    found: Mapping[str, Confusion],
    group: str = "pooling",
    variant: str | None = None,
    baseline: str | None = None,
    theme: Theme = "light",
    claims: bool = True,
) -> go.Figure:
    """Recall of each class minus the baseline's: a point per shared seed, mean and 95 % interval, sorted by size.

    Runs of a seed are paired if both are completed or both have finished as many epochs. A mean is filled where the
    p value of the paired t-test, corrected after Holm for the number of classes, is below 0.05. Of more than `SHOWN`
    classes those that differ most are shown. Without `claims`, as p values do not hold, none is filled. Raises as
    `confusion`.
    """
    grouped = group_runs(runs, group)
    variant, baseline = _chosen_two(grouped, variant, baseline)
    pairs, over = _pairs(grouped, variant, baseline, found, blocks_of(grouped, group))
    names = _names([*grouped[variant], *grouped[baseline]], found)
    recalls = {seed: (_recalls(mine), _recalls(theirs)) for seed, (mine, theirs) in pairs.items()}
    tested = [label for label in range(len(names)) if all(label in mine for mine, _ in recalls.values())]
    results = {names[c]: {seed: mine[c] - theirs[c] for seed, (mine, theirs) in recalls.items()} for c in tested}
    zero = {"": dict.fromkeys(recalls, 0.0)}
    stats = {name: stat for name, stat in differences(results | zero, "").items() if stat}
    most = nlargest(SHOWN, stats, key=lambda name: abs(stats[name].mean))
    order = sorted(most, key=lambda name: -stats[name].mean)
    label, class_label = labels(grouped), labels(names)
    title = (
        f"Recall of {label[variant]}<br>minus that of {label[baseline]}, points{_over(over)}<br>({_seeds(len(pairs))}; "
        + (f"filled: clear among {len(stats):,} classes)" if claims else "nothing is claimed by class)")
    )
    if len(order) < len(stats):
        title += f"<br>the {SHOWN} classes that differ most"
    figure = go.Figure(layout=layout(theme, title, "", f"classes/{group}/{variant}/{baseline}"))
    many = len(order) > _MANY
    figure.update_layout(height=160 + (17 if many else 34) * max(len(order), 3), showlegend=False)
    figure.update_xaxes(rangemode="tozero", zeroline=True, zerolinecolor=ink(theme), zerolinewidth=1.5)
    figure.update_yaxes(
        range=[len(order) - 0.5, -0.5],
        tickvals=list(range(len(order))),
        ticktext=[class_label[name] for name in order],
        tickfont={"size": 10 if many else 13},
        zeroline=False,
        showgrid=many,
    )
    color = colors(group, grouped)[variant].on(theme) if variant in grouped else ink(theme)
    figure.add_scatter(
        uid=uid("seeds", variant),
        x=[value for name in order for value in results[name].values()],
        y=[row - 0.15 for row, name in enumerate(order) for _ in results[name]],
        customdata=[[whole(name), seed] for name in order for seed in results[name]],
        mode="markers",
        marker={"color": color, "size": 4 if many else 6, "opacity": 0.55},
        hovertemplate="%{customdata[0]}, seed %{customdata[1]}: %{x:+.1f} points<extra></extra>",
    )
    number = {name: label for label, name in enumerate(names)}
    figure.add_scatter(
        uid=uid("mean", variant),
        x=[stats[name].mean for name in order],
        y=[row + 0.15 for row in range(len(order))],
        customdata=[_told(stats[name], number[name], list(recalls.values())) for name in order],
        mode="markers",
        marker={
            "color": color,
            "size": 8 if many else 11,
            "symbol": ["diamond" if claims and _is_clear(stats[name]) else "diamond-open" for name in order],
            "line": {"width": 2, "color": color},
        },
        error_x={
            "array": [_reach(stats[name]) for name in order],
            "color": color,
            "thickness": 1.5 if many else 2,
            "width": 3 if many else 5,
        },
        hovertext=[whole(name) for name in order],
        hovertemplate="%{hovertext}: mean %{x:+.1f} points%{customdata[0]}<br>"
        f"{whole(variant)} %{{customdata[1]:.1f}} %, {whole(baseline)} %{{customdata[2]:.1f}} %<extra></extra>",
    )
    return figure


def _chosen(variants: Sequence[str], named: str | None) -> str:
    if named is not None and named not in variants:
        raise Invalid("variant", f"{named!r} cannot be shown here; choose one of {', '.join(variants)}")
    if not variants:
        raise Conflict("there are no runs of which something could be shown")
    return named or variants[0]


def _chosen_two(grouped: Mapping[str, Sequence[Run]], variant: str | None, baseline: str | None) -> tuple[str, str]:
    baseline = baseline_of(grouped, baseline)
    others = [name for name in grouped if name != baseline]
    if baseline is None or not others:
        raise Conflict("there are no runs of two variants that could be compared")
    return _chosen(others, variant), baseline


def _names(runs: Sequence[Run], found: Mapping[str, Confusion]) -> list[str]:
    """The classes' names, which all runs must share; empty before the first epoch of all."""
    sources = sorted({run.spec.source for run in runs})
    if len(sources) > 1:
        raise Invalid("run", f"the runs have different classes, those of {' and '.join(sources)}; choose one dataset")
    sizes = {len(found[run.id].counts): run for run in runs if run.id in found}
    if len(sizes) > 1:
        numbers = " and ".join(map(str, sorted(sizes)))
        raise Invalid("run", f"classes were added to {sources[0]} between the runs, which have {numbers}; choose fewer")
    return next((class_names(run, size) for size, run in sizes.items()), [])


def _pairs(
    grouped: Mapping[str, Sequence[Run]], variant: str, baseline: str, found: Mapping[str, Confusion], blocks: Blocks
) -> tuple[dict[int, tuple[Counts, Counts]], str]:
    """The matrices of variant and baseline by seed, over runs that are completed or have finished as many epochs.

    Where something else varies they are summed over the levels that both have, of seeds that both have at all of them;
    the levels are returned in words.
    """
    _names([*grouped[variant], *grouped[baseline]], found)

    def by_progress(name: str) -> dict[tuple[int, int], dict[str, Counts]]:
        matrices: dict[tuple[int, int], dict[str, list[Counts]]] = {}
        for run in grouped[name]:
            if run.id in found:
                progress = -1 if run.state is State.completed else run.epoch
                by_level = matrices.setdefault((run.spec.seed, progress), {})
                by_level.setdefault(blocks.level_of[run.id], []).append(found[run.id].counts)
        return {key: {level: _sum(of) for level, of in by_level.items()} for key, by_level in matrices.items()}

    mine, theirs = by_progress(variant), by_progress(baseline)
    has = [{level for by_level in side.values() for level in by_level} for side in (mine, theirs)]
    shared = [level for level in blocks.levels if all(level in levels for levels in has)]
    pairs = {
        key[0]: (_sum(mine[key][level] for level in shared), _sum(theirs[key][level] for level in shared))
        for key in sorted(mine.keys() & theirs.keys(), reverse=True)
        if shared and all(level in mine[key] and level in theirs[key] for level in shared)
    }
    if not pairs:
        where = f" at each {blocks.named}" if blocks.vary else ""
        raise Conflict(f"{variant} and {baseline} have no seed yet of which both have finished the same epoch{where}")
    return dict(sorted(pairs.items())), blocks.over(shared) if blocks.vary else ""


def _over(levels: str) -> str:
    return f"<br>over {whole(levels)}" if levels else ""


def _sum(matrices: Iterable[Counts]) -> list[list[float]]:
    return [[sum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*matrices, strict=True)]


def _shares(counts: Counts) -> list[list[float]]:
    """The counts in percent of the true class; 0 for a class without images."""
    totals = [sum(row) or 1 for row in counts]
    return [[100 * count / total for count in row] for row, total in zip(counts, totals, strict=True)]


def _recalls(counts: Counts) -> dict[int, float]:
    """The recall of each class that has images, by label, in percent."""
    return {label: 100 * row[label] / sum(row) for label, row in enumerate(counts) if sum(row)}


def _is_clear(difference: Difference) -> bool:
    return difference.p_corrected is not None and difference.p_corrected < ALPHA


def _reach(difference: Difference) -> float:
    """How far the interval reaches to either side."""
    return difference.high - difference.mean if difference.high is not None else 0.0


def _told(
    difference: Difference, label: int, recalls: Sequence[tuple[dict[int, float], dict[int, float]]]
) -> list[str | float]:
    """The interval in words, the mean recall of the variant and of the baseline."""
    low, high = difference.low, difference.high
    interval = "" if low is None or high is None else f" (95 % CI {low:.1f} to {high:.1f})"
    means = [sum(side[label] for side in sides) / len(recalls) for sides in zip(*recalls, strict=True)]
    return [f"{interval}, n = {difference.n}", *means]


def _seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"


def _most(cells: Counts) -> list[int]:
    """The classes to be shown: all, or those of the largest cells beside the diagonal, as many as there is room for."""
    if len(cells) <= SHOWN:
        return list(range(len(cells)))
    beside = (
        (abs(cell), row, column) for row, line in enumerate(cells) for column, cell in enumerate(line) if row != column
    )
    found: set[int] = set()
    for _, row, column in nlargest(SHOWN**2, beside):
        found |= {row, column}
        if len(found) >= SHOWN - 1:
            break
    return sorted(found)


def _part(cells: Counts, shown: Sequence[int]) -> list[list[float]]:
    return [[cells[row][column] for column in shown] for row in shown]


def _hover(names: Sequence[str], *numbers: Counts) -> tuple[list[list[list[str | float]]], str]:
    """What is told of each cell, as custom data, and the beginning of its hover text: what is taken for what.

    Long names are there in whole; only then, as there are many cells.
    """
    told: list[list[list[str | float]]] = [
        [list(cell) for cell in zip(*rows, strict=True)] for rows in zip(*numbers, strict=True)
    ]
    if all(label == plain(name) for name, label in labels(names).items()):
        return told, "%{y} taken for %{x}: "
    for true, row in zip(names, told, strict=True):
        for predicted, cell in zip(names, row, strict=True):
            cell += [whole(true), whole(predicted)]
    return told, f"%{{customdata[{len(numbers)}]}}<br>taken for %{{customdata[{len(numbers) + 1}]}}:<br>"


def _share_map(names: Sequence[str], counts: Counts, title: str, theme: Theme) -> go.Figure:
    shares = _shares(counts)
    shown = _most(shares)
    figure = _map(names, shown, "Predicted class, % of the true class", title, theme)
    names, counts, shares = [names[label] for label in shown], _part(counts, shown), _part(shares, shown)
    few, ticks = len(names) <= _MANY, list(labels(names).values())
    told, beginning = _hover(names, counts, [[round(share, 2) for share in row] for row in shares])
    figure.add_heatmap(
        uid="confusion",
        x=ticks,
        y=ticks,
        # Square roots, for else the diagonal would outshine all mistakes.
        z=[[round(sqrt(share), 3) for share in row] for row in shares],
        zmin=0,
        zmax=10,
        colorscale=_SHARES[theme],
        colorbar=_color_bar([sqrt(share) for share in _TICKS], [str(share) for share in _TICKS]),
        customdata=told,
        text=[[f"{share:.0f}" if share >= 0.5 else "" for share in row] for row in shares] if few else None,
        texttemplate="%{text}" if few else None,
        hovertemplate=f"{beginning}%{{customdata[0]:,}} times, %{{customdata[1]}} %<extra></extra>",
        xgap=1 if few else 0,
        ygap=1 if few else 0,
    )
    return figure


def _difference_map(names: Sequence[str], mine: Counts, theirs: Counts, title: str, theme: Theme) -> go.Figure:
    points = [[round(a - b, 2) for a, b in zip(*rows, strict=True)] for rows in zip(mine, theirs, strict=True)]
    shown = _most(points)
    figure = _map(names, shown, "Predicted class, difference in points", title, theme)
    names = [names[label] for label in shown]
    points, mine, theirs = (_part(cells, shown) for cells in (points, mine, theirs))
    most = max(abs(value) for row in points for value in row) or 1
    few, ticks = len(names) <= _MANY, list(labels(names).values())
    told, beginning = _hover(names, *([[round(share, 2) for share in row] for row in side] for side in (mine, theirs)))
    figure.add_heatmap(
        uid="confusion",
        x=ticks,
        y=ticks,
        z=points,
        zmin=-most,
        zmax=most,
        colorscale=_SIGNED[theme],
        colorbar=_color_bar(None, None),
        customdata=told,
        text=[[_signed(value) for value in row] for row in points] if few else None,
        texttemplate="%{text}" if few else None,
        hovertemplate=f"{beginning}%{{z:+}} points<br>%{{customdata[0]}} % against %{{customdata[1]}} %<extra></extra>",
        xgap=1 if few else 0,
        ygap=1 if few else 0,
    )
    return figure


def _signed(points: float) -> str:
    """The number in at most four characters, as much as a cell holds on a phone; empty for almost none."""
    if abs(points) < 0.05:
        return ""
    return f"{points:+.1f}" if abs(points) < 9.95 else f"{points:+.0f}"


def _map(names: Sequence[str], shown: Sequence[int], label: str, title: str, theme: Theme) -> go.Figure:
    label += f"<br>({title})"
    if len(shown) < len(names):
        label += f"<br>the {len(shown)} most confused of {len(names):,} classes"
    figure = go.Figure(layout=layout(theme, label, "True class", "confusion"))
    many = len(shown) > _MANY
    longest = min(max((len(names[label]) for label in shown), default=0), LONGEST)  # upright below the cells
    figure.update_layout(height=190 + (11 if many else 36) * len(shown) + (5 if many else 7) * max(longest - 12, 0))
    axis = {"type": "category", "showgrid": False, "zeroline": False, "tickfont": {"size": 9 if many else 12}}
    figure.update_xaxes(axis)
    figure.update_yaxes(axis | {"autorange": "reversed", "dtick": 1})
    return figure


def _color_bar(values: Sequence[float] | None, texts: Sequence[str] | None) -> dict[str, object]:
    """On top, where it costs no width."""
    return {
        "orientation": "h",
        "y": 1.0,
        "yanchor": "bottom",
        "x": 0.5,
        "len": 0.6,
        "thickness": 10,
        "outlinewidth": 0,
        "tickvals": values,
        "ticktext": texts,
        "tickangle": 0,
        "tickfont": {"size": 11},
    }
