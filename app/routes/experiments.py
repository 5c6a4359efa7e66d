from fastapi import APIRouter, Response

from app.dependencies import Queue, Store
from app.queue import wake_workers
from app.schemas import ExperimentList, ExperimentRequest
from app.store import Experiment

router = APIRouter(prefix="/experiments", tags=["experiments"])


@router.post("", status_code=201, summary="Queue an experiment")
def create_experiment(store: Store, queue: Queue, response: Response, request: ExperimentRequest) -> Experiment:
    """Queues one run per combination of the axes' values, all or none."""
    specs = request.specs()
    experiment = store.create_experiment(request.name, request.spec, request.axes, specs)
    wake_workers(queue, len(specs))
    response.headers["Location"] = f"/experiments/{experiment.id}"
    return experiment


@router.get("", summary="List experiments, newest first")
def list_experiments(store: Store) -> ExperimentList:
    return ExperimentList(experiments=store.experiments())


@router.get("/{experiment_id}", summary="Read an experiment")
def read_experiment(store: Store, experiment_id: str) -> Experiment:
    return store.experiment(experiment_id)


@router.post("/{experiment_id}/cancel", summary="Cancel all unfinished runs of an experiment")
def cancel_experiment(store: Store, experiment_id: str) -> Experiment:
    return store.cancel_experiment(experiment_id)
