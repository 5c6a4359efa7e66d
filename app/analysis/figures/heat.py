"""Means over two factors as a heat map."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.analysis.blocks import value_of
from app.analysis.colors import Theme
from app.analysis.compared import Comparison
from app.analysis.comparison import TITLES, group_runs, results_of
from app.analysis.figures.style import labels, layout, uid, whole
from app.errors import Invalid
from app.store.rows import Run


def heat(runs: Sequence[Run], comparison: Comparison, theme: Theme = "light") -> go.Figure:
    """The mean result of each combination of two factors, with its number of seeds; a missing one has no colour.

    Raises `Invalid` unless runs are grouped by two fields.
    """
    if len(comparison.factors) != 2:
        raise Invalid("group", "a heat map is of two fields; name two with a comma between, such as pooling,lr")
    first, second = comparison.factors
    results, _ = results_of(runs, comparison, comparison.measure)
    cells = {
        (str(value_of(members[0], first)), str(value_of(members[0], second))): list(results[variant].values())
        for variant, members in group_runs(runs, comparison.group).items()
    }
    rows, columns = list(group_runs(runs, first)), list(group_runs(runs, second))
    found = [[cells.get((row, column), []) for column in columns] for row in rows]
    means = [[sum(top1) / len(top1) if top1 else None for top1 in line] for line in found]
    text = [
        [
            f"{mean:.2f} %<br>n = {len(top1)}" if mean is not None else "missing"
            for mean, top1 in zip(*both, strict=True)
        ]
        for both in zip(means, found, strict=True)
    ]
    label, across = labels(rows), labels(columns)
    figure = go.Figure(layout=layout(theme, second.replace("_", " "), "", f"heat/{comparison.group}"))
    figure.add_heatmap(
        uid=uid("heat"),
        z=means,
        x=[across[column] for column in columns],
        y=[label[row] for row in rows],
        text=text,
        texttemplate="%{text}",
        customdata=[[[whole(row), whole(column)] for column in columns] for row in rows],
        colorscale="Blues" if theme == "light" else "Cividis",
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": f"{TITLES[comparison.measure]} (%)"}, "thickness": 12},
        hovertemplate=f"%{{customdata[0]}}, {whole(second)} %{{customdata[1]}}: %{{text}}<extra></extra>",
        hoverongaps=False,
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_layout(height=max(320, 90 + 70 * len(rows)))
    return figure
