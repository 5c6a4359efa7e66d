from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from app.analysis import comparison, figures, report
from app.analysis.compared import Comparison
from app.errors import Invalid
from app.limits import NAME_LENGTH
from app.store.plan import FINAL, Measure
from app.store.rows import Confusion, Run
from app.store.run_store import RunStore
from app.web.dependencies import SelectedRuns, Store
from app.web.plans import compared, courses, with_measure
from cct.events import EpochRecord

router = APIRouter(tags=["figures"])

_FACTORS = "The spec field whose values are the variants, or several with commas between, whose combinations are"
Group = Annotated[str, Query(description=_FACTORS, examples=["pooling", "pooling,lr"])]
OwnGroup = Annotated[str | None, Query(description=f"{_FACTORS}; without it a field that the experiment varies")]
OfExperiment = Annotated[str | None, Query(description="All runs of this experiment")]
Baseline = Annotated[str | None, Query(description="The variant that others are compared with")]
OfMeasure = Annotated[
    Measure | None, Query(description="The result that is compared; without it the final top-1, or that of a plan")
]
Figure: dict[str, Any] = {
    "response_class": Response,
    "responses": {200: {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Figure"}}}}},
}


@router.get("/comparison", summary="Compare variants")
def compare(
    store: Store,
    runs: SelectedRuns,
    group: OwnGroup = None,
    baseline: Baseline = None,
    experiment: OfExperiment = None,
    measure: OfMeasure = None,
) -> Comparison:
    """Which variant is better, by how much, how sure that is, and in what else the runs differ.

    What else varies between the runs of a variant makes levels: differences are taken within each of them.
    An experiment with a plan is compared as its plan says, if group and baseline are the plan's.
    """
    if experiment:
        return compared(store, store.experiment(experiment), runs, group, baseline, measure)
    measure = measure or FINAL
    return comparison.compare(with_measure(store, runs, measure), group or "pooling", baseline, measure)


@router.get("/figures/curves", summary="Draw a metric in the course of training", **Figure)
def draw_curves(
    store: Store,
    runs: SelectedRuns,
    metric: Annotated[str, Query(description="A metric of the catalog", examples=["val_top1"])] = "val_top1",
    group: Group = "pooling",
    theme: figures.Theme = "light",
    x: Annotated[figures.Axis, Query(description="The horizontal axis")] = "epoch",
    band: Annotated[figures.Band, Query(description="What is shaded around the mean of several seeds")] = "sd",
    smoothing: Annotated[float, Query(ge=0, le=0.99, description="Weight of the past in an exponential mean")] = 0,
    log_y: Annotated[bool, Query(description="A logarithmic vertical axis")] = False,
    hidden: Annotated[frozenset[str], Query(description="Ids of runs that are not drawn")] = frozenset(),
    crosshair: Annotated[
        bool, Query(description="Show all that was measured at an epoch, not the nearest point")
    ] = False,
    named_ends: Annotated[
        bool, Query(description="Names at the ends of the curves in place of a legend, if they are few")
    ] = False,
) -> Response:
    """A Plotly figure (`data` and `layout`): one thin line per run, mean and band per variant, published results."""
    drawn = figures.curves(
        runs,
        _records(store, runs),
        metric,
        group,
        theme,
        x=x,
        band=band,
        smoothing=smoothing,
        log_y=log_y,
        hidden=hidden,
        crosshair=crosshair,
        named_ends=named_ends,
    )
    return Response(orjson.dumps(drawn), media_type="application/json")


@router.get("/figures/finals", summary="Draw final results", **Figure)
def draw_finals(
    store: Store,
    runs: SelectedRuns,
    group: OwnGroup = None,
    baseline: Baseline = None,
    experiment: OfExperiment = None,
    measure: OfMeasure = None,
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: a point per seed, mean and 95 % confidence interval per variant, published results."""
    found = compare(store, runs, group, baseline, experiment, measure)
    return sent(figures.final_results(with_measure(store, runs, found.measure), found, theme))


@router.get("/figures/differences", summary="Draw differences to the baseline", **Figure)
def draw_differences(
    store: Store,
    runs: SelectedRuns,
    group: OwnGroup = None,
    baseline: Baseline = None,
    experiment: OfExperiment = None,
    measure: OfMeasure = None,
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: per variant a point per seed, mean and interval of the paired differences.

    Intervals and claims of an experiment with a plan are those of its plan, if group and baseline are the plan's.
    """
    found = compare(store, runs, group, baseline, experiment, measure)
    return sent(figures.differences(with_measure(store, runs, found.measure), found, theme))


def _counting(runs: list[Run]) -> list[Run]:
    """Without results from elsewhere that stand apart, which are no cell of a grid."""
    return [run for run in runs if not run.stands_apart]


@router.get("/figures/interaction", summary="Draw two factors at once", **Figure)
def draw_interaction(
    store: Store,
    runs: SelectedRuns,
    group: Annotated[str, Query(description="Two fields of the spec with a comma between", examples=["pooling,lr"])],
    experiment: OfExperiment = None,
    measure: OfMeasure = None,
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: final top-1 over the second field's values, a line for each of the first, a point per seed."""
    runs = _counting(runs)
    found = compare(store, runs, group, None, experiment, measure)
    return sent(figures.interaction(with_measure(store, runs, found.measure), found, theme))


@router.get("/figures/heat", summary="Draw means over two factors", **Figure)
def draw_heat(
    store: Store,
    runs: SelectedRuns,
    group: Annotated[str, Query(description="Two fields of the spec with a comma between", examples=["pooling,lr"])],
    experiment: OfExperiment = None,
    measure: OfMeasure = None,
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: a heat map of the mean result of each combination, with its number of seeds."""
    runs = _counting(runs)
    found = compare(store, runs, group, None, experiment, measure)
    return sent(figures.heat(with_measure(store, runs, found.measure), found, theme))


@router.get("/figures/factors", summary="Draw results over all that varies", **Figure)
def draw_factors(
    store: Store,
    runs: SelectedRuns,
    group: OwnGroup = None,
    experiment: OfExperiment = None,
    measure: OfMeasure = None,
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: parallel coordinates, a line for each completed run over all that varies, and its result."""
    runs = _counting(runs)
    found = compare(store, runs, group, None, experiment, measure)
    return sent(figures.over_factors(with_measure(store, runs, found.measure), found, theme))


@router.get("/figures/plan", summary="Draw how far a variant of a plan is from being settled", **Figure)
def draw_plan(
    store: Store,
    experiment: Annotated[str, Query(description="An experiment with a plan")],
    variant: Annotated[str, Query(description="One that its plan compares with the baseline")],
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: the mean difference after each look, and the boundaries of its outcomes over seeds."""
    row, runs = store.experiment(experiment), store.experiment_runs(experiment)
    found = courses(store, row, runs)
    if row.plan is None or row.planning is None or variant not in found:
        raise Invalid("variant", f"{variant!r} is not compared here; choose one of {', '.join(found)}")
    factor = row.planning.factor
    color = comparison.colors(factor, comparison.group_runs(runs, factor))[variant].on(theme)
    is_settled = row.planning.variants[variant].settled_at is not None
    return sent(figures.course(variant, color, found[variant], row.plan.smallest_difference, is_settled, theme))


@router.get("/figures/cost", summary="Draw results against their cost", **Figure)
def draw_cost(
    runs: SelectedRuns,
    x: Annotated[figures.Cost, Query(description="The cost")] = "seconds",
    group: Group = "pooling",
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: final top-1 of each completed run against training time, size or speed."""
    return sent(figures.cost(runs, x, group, theme))


@router.get("/figures/system", summary="Draw what training a run took of its machine", **Figure)
def draw_system(
    store: Store,
    run: Annotated[str, Query(description="A run")],
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: cores, memory and, where there is a GPU, its load, memory and power over time."""
    return sent(figures.system(store.system(run), theme))


@router.get("/report", summary="Save a comparison as one HTML file", response_class=HTMLResponse)
def save_report(
    store: Store,
    runs: SelectedRuns,
    title: Annotated[str, Query(max_length=NAME_LENGTH)] = "Comparison of CCT runs",
    group: OwnGroup = None,
    baseline: Baseline = None,
    experiment: OfExperiment = None,
    measure: OfMeasure = None,
) -> HTMLResponse:
    """Answer, table, figures (interactive, plotly.js inside), methods and runs; nothing is loaded when it is read."""
    found = compare(store, runs, group, baseline, experiment, measure)
    runs = [*with_measure(store, runs, found.measure)]
    page = report.html(title, runs, _records(store, runs), confusions(store, runs, "last"), found)
    return HTMLResponse(page, headers={"Content-Disposition": 'attachment; filename="cctboard-report.html"'})


@router.get("/epochs.csv", summary="Save all epochs of runs as CSV", response_class=PlainTextResponse)
def save_epochs(store: Store, runs: SelectedRuns) -> PlainTextResponse:
    """One line per run and epoch, with the run's spec."""
    headers = {"Content-Disposition": 'attachment; filename="cctboard-epochs.csv"'}
    return PlainTextResponse(report.epochs_csv(runs, _records(store, runs)), headers=headers, media_type="text/csv")


def _records(store: RunStore, runs: Sequence[Run]) -> dict[str, list[EpochRecord]]:
    ids = [run.id for run in runs]
    return dict(zip(ids, store.epochs(ids), strict=True))


def confusions(store: RunStore, runs: Sequence[Run], epoch: figures.Epoch) -> dict[str, Confusion]:
    """The epochs of each run that has finished one, by run id."""
    ids = [run.id for run in runs]
    return {run_id: found for run_id, found in zip(ids, store.confusions(ids, epoch), strict=True) if found}


def sent(figure: Any) -> Response:
    return Response(figure.to_json(remove_uids=False), media_type="application/json")
