from fastapi import APIRouter, Response

from app.queue import wake_workers
from app.store.rows import Experiment
from app.web.dependencies import Queue, Store
from app.web.routes.runs import IdempotencyKey
from app.web.schemas import ExperimentEdit, ExperimentList, ExperimentRequest, MoreRuns, Preview, preview

router = APIRouter(prefix="/experiments", tags=["experiments"])


@router.post("", status_code=201, summary="Queue an experiment")
def create_experiment(
    store: Store, queue: Queue, response: Response, request: ExperimentRequest, idempotency_key: IdempotencyKey = None
) -> Experiment:
    """Queues one run per combination of the axes' values, all or none."""
    specs = request.specs()
    experiment = store.create_experiment(
        request.name, request.spec, request.axes, specs, request.priority, idempotency_key
    )
    wake_workers(queue, len(specs))
    response.headers["Location"] = f"/experiments/{experiment.id}"
    return experiment


@router.post("/preview", summary="See what an experiment would queue, without queueing it")
def preview_experiment(store: Store, request: ExperimentRequest) -> Preview:
    """Number of runs, parameters and multiply-accumulates of each model, expected time."""
    return preview(request.specs(), store.runs())


@router.get("", summary="List experiments, newest first")
def list_experiments(store: Store) -> ExperimentList:
    return ExperimentList(experiments=store.experiments())


@router.get("/{experiment_id}", summary="Read an experiment")
def read_experiment(store: Store, experiment_id: str) -> Experiment:
    return store.experiment(experiment_id)


@router.patch("/{experiment_id}", summary="Change an experiment's name, note or priority")
def edit_experiment(store: Store, experiment_id: str, edit: ExperimentEdit) -> Experiment:
    return store.edit_experiment(experiment_id, edit.model_dump(exclude_none=True))


@router.post("/{experiment_id}/runs", status_code=201, summary="Add runs to an experiment")
def add_runs(
    store: Store, queue: Queue, experiment_id: str, more: MoreRuns, idempotency_key: IdempotencyKey = None
) -> Experiment:
    """Queues what the experiment lacks of the product of its axes, after seeds and values were added to these."""
    grown = more.extend(store.experiment(experiment_id))
    existing = {run.spec for run in store.experiment_runs(experiment_id)}
    specs = [spec for spec in dict.fromkeys(grown.specs()) if spec not in existing]
    request = more.model_dump(mode="json")
    experiment = store.add_runs(experiment_id, grown.spec, grown.axes, specs, idempotency_key, request)
    wake_workers(queue, len(specs))
    return experiment


@router.post("/{experiment_id}/cancel", summary="Cancel all unfinished runs of an experiment")
def cancel_experiment(store: Store, experiment_id: str) -> Experiment:
    return store.cancel_experiment(experiment_id)


@router.post("/{experiment_id}/retry", summary="Queue all failed runs of an experiment again")
def retry_experiment(store: Store, queue: Queue, experiment_id: str) -> Experiment:
    experiment = store.retry_experiment(experiment_id)
    wake_workers(queue, experiment.queued)
    return experiment


@router.delete("/{experiment_id}", status_code=204, summary="Delete an experiment with its runs and checkpoints")
def delete_experiment(store: Store, experiment_id: str) -> None:
    store.delete_experiment(experiment_id)
