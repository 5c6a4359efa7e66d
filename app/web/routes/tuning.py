"""What a search of settings has found by now."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from app.analysis import figures
from app.analysis.tuning import Trial, best_of, changed_by_tuning, importance, trials_of
from app.errors import Conflict
from app.store.rows import Experiment
from app.store.tuning import Tuning
from app.web.dependencies import Store
from app.web.routes.figures import Figure, sent

router = APIRouter(tags=["experiments"])

OfExperiment = Annotated[str, Query(description="An experiment that tunes its variants")]


class TunedVariant(BaseModel):
    variant: str
    trials: Sequence[Trial]
    best: Trial | None = Field(description="The one with the highest result, the first of equals")


class Tuned(BaseModel):
    """The trials of each variant, all with the same budget, and what came of them."""

    told: str = Field(description="The search in words")
    variants: Sequence[TunedVariant]
    importance: dict[str, float] = Field(
        description="Share of the results that each field decides, over all variants; empty with fewer than four"
    )
    changed: str = Field(description="What tuning changed of which variant leads on held-out data, as a sentence")
    comparison: str | None = Field(
        description="The experiment that compares the best settings on fresh seeds, once the search has ended"
    )


@router.get("/experiments/{experiment_id}/tuning", summary="Read what a search of settings has found")
def read_tuning(store: Store, experiment_id: str) -> Tuned:
    experiment = store.experiment(experiment_id)
    tuning = _tuning(experiment)
    trials = trials_of(store.experiment_runs(experiment_id), tuning)
    following = [one.id for one in store.experiments() if one.tuned_by == experiment_id]
    return Tuned(
        told=tuning.told,
        variants=[
            TunedVariant(variant=one.name, trials=found, best=best_of(found))
            for one in experiment.variants
            for found in [trials.get(one.name, [])]
        ],
        importance=importance(tuning, trials),
        changed=changed_by_tuning(trials),
        comparison=next(iter(following), None),
    )


@router.get("/figures/trials", summary="Draw the trials of a search", **Figure)
def draw_trials(store: Store, experiment: OfExperiment, theme: figures.Theme = "light") -> Response:
    """A Plotly figure: held-out top-1 of each trial, and the best so far of each variant."""
    tuning = _tuning(store.experiment(experiment))
    return sent(figures.trials(store.experiment_runs(experiment), tuning, theme))


@router.get("/figures/parallel", summary="Draw what was set in the trials of a search", **Figure)
def draw_parallel(store: Store, experiment: OfExperiment, theme: figures.Theme = "light") -> Response:
    """A Plotly figure: parallel coordinates, a line for each trial over the fields that are searched and its result."""
    tuning = _tuning(store.experiment(experiment))
    return sent(figures.parallel(store.experiment_runs(experiment), tuning, theme))


def _tuning(experiment: Experiment) -> Tuning:
    if experiment.tune is None:
        raise Conflict("this experiment tunes nothing; queue one with tune, see POST /experiments")
    return experiment.tune
