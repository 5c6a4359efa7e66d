from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app import comparison, figures
from app.dependencies import SelectedRuns, Store

router = APIRouter(tags=["figures"])

Group = Annotated[str, Query(description="The spec field whose values are the variants", examples=["pooling"])]


@router.get("/comparison", summary="Compare variants")
def compare(
    runs: SelectedRuns,
    group: Group = "pooling",
    baseline: Annotated[str | None, Query(description="The variant that others are compared with")] = None,
) -> comparison.Comparison:
    """The table variant, seeds, best, final, minutes, difference to the baseline; and comparable published results."""
    return comparison.compare(runs, group, baseline)


@router.get(
    "/figures/curves",
    summary="Draw a metric per epoch",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Figure"}}}}},
)
def draw_curves(
    store: Store,
    runs: SelectedRuns,
    metric: Annotated[str, Query(description="A metric of the catalog", examples=["val_top1"])] = "val_top1",
    group: Group = "pooling",
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure (`data` and `layout`): one thin line per run, mean and SD per variant, published results."""
    records: dict[str, Any] = dict(zip((run.id for run in runs), store.epochs(run.id for run in runs), strict=True))
    figure = figures.curves(runs, records, metric, group, theme)
    return Response(figure.to_json(remove_uids=False), media_type="application/json")
