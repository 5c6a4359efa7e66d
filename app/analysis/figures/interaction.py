"""Two factors at once: whether what one of them does depends on the other."""

from collections.abc import Sequence

import plotly.graph_objects as go

from app.analysis.blocks import value_of
from app.analysis.colors import SYMBOLS, Theme
from app.analysis.compared import Comparison
from app.analysis.comparison import TITLES, group_runs, results_of
from app.analysis.figures.style import labels, layout, plain, reaches, uid, whole
from app.analysis.statistics import stat_of_percents
from app.errors import Invalid
from app.store.rows import Run


def interaction(runs: Sequence[Run], comparison: Comparison, theme: Theme = "light") -> go.Figure:
    """What is compared over the second factor's values, a line for each of the first: parallel where none interacts.

    A point per seed, means with their 95 % intervals; no line leads over a combination without a result. Raises
    `Invalid` for other than two factors.
    """
    if len(comparison.factors) != 2:
        raise Invalid("group", "names two fields where an interaction is drawn, with a comma between")
    first, second = comparison.factors
    rows, columns = list(group_runs(runs, first)), list(group_runs(runs, second))
    finals, _ = results_of(runs, comparison, comparison.measure)
    at = {
        (str(value_of(members[0], first)), str(value_of(members[0], second))): variant
        for variant, members in group_runs(runs, comparison.group).items()
    }
    found = {row.variant: row for row in comparison.variants}
    row_label, column_label = labels(rows), labels(columns)
    title = second.replace("_", " ")
    figure = go.Figure(
        layout=layout(theme, title, f"{TITLES[comparison.measure]} (%)", f"interaction/{comparison.group}")
    )
    figure.update_xaxes(
        range=[-0.5, len(columns) - 0.5],
        tickvals=list(range(len(columns))),
        ticktext=[column_label[column] for column in columns],
        zeroline=False,
        showgrid=False,
    )
    for position, row in enumerate(rows):
        aside = 0.3 * ((position + 0.5) / len(rows) - 0.5)
        cells = [at.get((row, column)) for column in columns]
        color = next(found[cell].color.on(theme) for cell in cells if cell)
        stats = [stat_of_percents(finals[cell].values()) if cell else None for cell in cells]
        points = [
            (x + aside, top1, seed) for x, cell in enumerate(cells) if cell for seed, top1 in finals[cell].items()
        ]
        figure.add_scatter(
            uid=uid("seeds", row),
            name=plain(row),
            legendgroup=row,
            showlegend=False,
            x=[x for x, _, _ in points],
            y=[top1 for _, top1, _ in points],
            customdata=[seed for _, _, seed in points],
            mode="markers",
            marker={"color": color, "size": 6, "opacity": 0.45},
            hovertemplate=f"seed %{{customdata}}: %{{y:.2f}} %<extra>{whole(row)}</extra>",
        )
        figure.add_scatter(
            uid=uid("mean", row),
            name=row_label[row],
            legendgroup=row,
            x=[x + aside for x in range(len(columns))],
            y=[one.mean if one else None for one in stats],
            mode="lines+markers",
            connectgaps=False,
            line={"color": color, "width": 2},
            marker={"color": color, "size": 9, "symbol": SYMBOLS[position % len(SYMBOLS)]},
            error_y=reaches(stats) | {"color": color, "thickness": 1.5, "width": 5},
            customdata=[[whole(column), one.n if one else 0] for column, one in zip(columns, stats, strict=True)],
            hovertemplate=f"{whole(title)} %{{customdata[0]}}: mean %{{y:.2f}} %, %{{customdata[1]}} seeds"
            f"<extra>{whole(row)}</extra>",
        )
    return figure
