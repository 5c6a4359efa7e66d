"""More epochs for a completed run, as a run of its own."""

import shutil
from dataclasses import asdict

from app.errors import Conflict, Invalid
from app.settings import Settings
from app.store.board import check_folder
from app.store.rows import Run, State
from app.store.run_store import RunStore, new_id
from cct.extension import BEST, LAST, hold
from cct.spec import RunSpec, SpecError


def extend(settings: Settings, store: RunStore, run_id: str, epochs: int, once: str | None = None) -> Run:
    """Queues a run of the same spec with more epochs, which goes on where this one ended; `once` as in `create_runs`.

    It holds the checkpoints from now on, so that the first run may be deleted. Raises `NotFound`, `Conflict`,
    `Invalid`, `OtherFolder`.
    """
    finished = store.run(run_id)
    if finished.state is not State.completed:
        raise Conflict(f"run {run_id} is {finished.state}; only a completed run can be extended")
    if finished.external:
        raise Conflict(f"run {run_id} was trained elsewhere, so there is no checkpoint to go on from")
    check_folder(store, settings.data)
    if finished.spec.is_evaluation:
        raise Conflict(f"run {run_id} is an evaluation; queue a run of its own with the same pretrained weights")
    if epochs <= finished.spec.epochs:
        raise Invalid("epochs", f"is {epochs}, but run {run_id} has {finished.spec.epochs} already; give more")
    try:
        spec = RunSpec(**asdict(finished.spec) | {"epochs": epochs})
    except SpecError as error:
        raise Invalid(error.field, error.message) from error
    extending, folder = new_id(), settings.checkpoints(run_id)
    queued = None
    try:
        hold(folder, settings.run_folder(extending))
        queued = store.create_extension(extending, spec, finished, once)
    except FileNotFoundError as error:
        raise Conflict(
            f"the checkpoint of run {run_id} is gone ({LAST} and {BEST} in {folder}), so that it cannot be extended; "
            f"clone it as a run of {epochs} epochs from the start"
        ) from error
    except OSError as error:
        raise Conflict(
            f"its checkpoint cannot be written to {settings.run_folder(extending)} ({error.strerror}); make room "
            "there, or let the API's user write"
        ) from error
    finally:
        if queued is None or queued.id != extending:  # of a repeated request, say
            shutil.rmtree(settings.run_folder(extending), ignore_errors=True)
    return queued
