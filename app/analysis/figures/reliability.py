"""Whether a model is as often right as it is sure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from app.analysis.blocks import blocks_of
from app.analysis.colors import Theme
from app.analysis.comparison import colors, group_runs
from app.analysis.figures.style import faint_ink, labels, layout, uid, whole
from app.store.rows import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 15
"""The number of bins is that of an epoch's calibration error."""


@dataclass(frozen=True, slots=True)
class Sureness:
    """What one run said of its validation images after an epoch; arrays with a value by image."""

    confidence: "NDArray[np.float32]"
    """Probability of the answer, 0 to 1."""
    correct: "NDArray[np.bool_]"
    """Whether it was right."""


def reliability(
    runs: Sequence[Run], found: Mapping[str, Sureness], group: str = "pooling", theme: Theme = "light"
) -> go.Figure:
    """The share of right answers against their probability, by variant over the images of all its runs.

    Answers are in equal bins of their probability, each shown at its mean, larger where it holds more; on the diagonal
    a variant is as often right as it is sure, below it is too sure. `found` is by run id. Raises `Invalid` for an
    unknown group.
    """
    import numpy as np

    grouped = group_runs(runs, group)
    color, label = colors(group, grouped), labels(grouped)
    blocks = blocks_of(grouped, group)
    figure = go.Figure(layout=layout(theme, "Probability of the answer (%)", "Right (%)", f"reliability/{group}"))
    for variant, members in grouped.items():
        sure = [found[run.id] for run in members if run.id in found]
        if not sure:
            continue
        confidence = np.concatenate([one.confidence for one in sure]).astype(float)
        correct = np.concatenate([one.correct for one in sure])
        bins = np.minimum((BINS * confidence).astype(int), BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        held = counts > 0
        sureness, right = (
            100 * np.bincount(bins, weights=values, minlength=BINS)[held] / counts[held]
            for values in (confidence, correct)
        )
        seeds = f"{len(sure)} {'run' if len(sure) == 1 else 'runs'}"
        if over := blocks.of(run for run in members if run.id in found):
            seeds += f", over {whole(over)}"
        figure.add_scatter(
            uid=uid("reliability", variant),
            name=label[variant],
            x=sureness.tolist(),
            y=right.tolist(),
            mode="lines+markers",
            line={"color": color[variant].on(theme), "width": 1.5, "dash": color[variant].dash},
            marker={
                "color": color[variant].on(theme),
                "symbol": color[variant].symbol,
                "size": (5 + 20 * np.sqrt(counts[held] / counts.sum())).tolist(),
            },
            customdata=counts[held].tolist(),
            hovertemplate="%{y:.1f} % right where %{x:.1f} % sure<br>%{customdata:,} answers of "
            f"{seeds}<extra>{whole(variant)}</extra>",
        )
    if figure.data:
        figure.add_scatter(
            uid="as_sure_as_right",
            name="as sure as right",
            x=[0, 100],
            y=[0, 100],
            mode="lines",
            line={"dash": "dash", "width": 1.5, "color": faint_ink(theme)},
            hoverinfo="skip",
        )
        figure.update_layout(xaxis_range=[0, 102], yaxis_range=[0, 102])
    return figure
