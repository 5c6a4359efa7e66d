from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from app.analysis import figures
from app.analysis.comparison import group_runs
from app.web.dependencies import SelectedRuns, Store
from app.web.routes.figures import Baseline, Figure, Group, OfExperiment, confusions, sent

router = APIRouter(tags=["figures"])


class ConfusionOfRun(BaseModel):
    run_id: str
    variant: str
    seed: int
    dataset: str
    epoch: int
    counts: list[list[int]] = Field(description="Test images of each class (rows) taken for each class (columns)")


class Confusions(BaseModel):
    class_names: dict[str, list[str]] = Field(description="By dataset, in the order of rows and columns")
    runs: list[ConfusionOfRun] = Field(description="Those that have finished an epoch")


Epoch = Annotated[figures.Epoch, Query(description="Each run's last epoch, or that with its highest validation top-1")]
Variant = Annotated[str | None, Query(description="A value of the spec field; the first that is not the baseline")]


@router.get("/confusion", summary="See what is mistaken for what")
def read_confusions(store: Store, runs: SelectedRuns, group: Group = "pooling", epoch: Epoch = "last") -> Confusions:
    """The confusion matrix of each run over the whole test split."""
    found = confusions(store, runs, epoch)
    seen = [
        ConfusionOfRun(
            run_id=run.id,
            variant=variant,
            seed=run.spec.seed,
            dataset=run.spec.source,
            epoch=found[run.id].epoch,
            counts=found[run.id].counts,
        )
        for variant, members in group_runs(runs, group).items()
        for run in members
        if run.id in found
    ]
    names = {run.spec.source: figures.class_names(run, len(found[run.id].counts)) for run in runs if run.id in found}
    return Confusions(class_names=names, runs=seen)


@router.get("/figures/confusion", summary="Draw what a variant mistakes for what", **Figure)
def draw_confusion(
    store: Store,
    runs: SelectedRuns,
    group: Group = "pooling",
    variant: Variant = None,
    baseline: Annotated[str | None, Query(description="A variant to subtract, seed by seed")] = None,
    epoch: Epoch = "last",
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: a heat map of the predictions for each class, in percent, or of their difference in points."""
    found = confusions(store, runs, epoch)
    return sent(figures.confusion(runs, found, group, variant, baseline, theme))


@router.get("/figures/classes", summary="Draw the difference of two variants by class", **Figure)
def draw_class_differences(
    store: Store,
    runs: SelectedRuns,
    group: Group = "pooling",
    variant: Variant = None,
    baseline: Baseline = None,
    epoch: Epoch = "last",
    experiment: OfExperiment = None,
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: per class the recall minus the baseline's, a point per seed, mean and 95 % interval.

    Nothing is claimed by class where the number of seeds depends on what was seen, as with a plan: then the plan's
    measure alone decides.
    """
    found = confusions(store, runs, epoch)
    row = store.experiment(experiment) if experiment else None
    claims = row is None or not (row.plan or row.exploratory)
    return sent(figures.class_differences(runs, found, group, variant, baseline, theme, claims))
