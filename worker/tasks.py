"""The Celery worker of one device: `celery -A worker.tasks worker`, or `cctboard worker`.

The threads pool keeps Celery's main thread free to answer signals while runs are trained in subprocesses: one thread
for each run that the worker may train at the same time.
"""

import logging
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from celery import signals
from redis.exceptions import RedisError

from app import logs
from app.queue import TRAIN_NEXT, create_queue, resend_lost_messages
from app.settings import Settings
from app.store.board import OtherFolder, check_folder
from app.store.database import trouble
from app.store.errands import Errands
from app.store.own_images import OwnImages
from app.store.pooling_checks import PoolingChecks
from app.store.run_store import RunStore
from worker.supervisor import Supervisor, trainer_environment
from worker.vitals import memory_bytes, vitals

HOUSEKEEPING_SECONDS = 2.0
ERRAND_WAIT_MS = 5_000
DEAF_SECONDS = 20.0
"""How long runs may be queued while this worker is idle."""

settings = Settings()
store = RunStore(settings)
celery = create_queue(settings)
# `cctboard worker` has replaced "auto" by a number, and gives Celery as many threads.
supervisor = Supervisor(settings, store, f"{platform.node()}-{os.getpid()}", slots=int(settings.slots))
logger = logging.getLogger(__name__)


@celery.task(name=TRAIN_NEXT)
def train_next() -> None:
    """Trains what is in the queue, run after run; does nothing if that is empty (a repeated message)."""
    while supervisor.train_next():
        pass


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    logs.configure(settings)


@signals.worker_ready.connect
def _start_duties(**_: Any) -> None:
    for duty in (_keep_house, _run_errands):
        threading.Thread(target=_perform, args=(duty,), name=duty.__name__, daemon=True).start()


@signals.worker_shutting_down.connect
def _stop(**_: Any) -> None:
    supervisor.stop()


def _perform(duty: Callable[[], None]) -> None:
    """A duty whose end is the worker's: with one of them undone it would seem to be well and not be."""
    try:
        duty()
    except OtherFolder as error:
        logger.critical("%s", error)
        code = 2
    except BaseException:
        logger.critical("the worker ends, as it cannot go on with its duties", exc_info=True)
        code = 1
    else:
        return
    _hand_back()
    os._exit(code)


def _hand_back() -> None:
    """Returns when no run is trained here any more."""
    supervisor.stop()
    while any(slot.run_id for slot in supervisor.slots):
        time.sleep(0.1)


def _keep_house() -> None:
    """Heartbeat of each slot; sends the runs of silent workers back to the queue; re-sends lost messages; removes what
    deleted runs left. Any worker helps all."""
    with suppress(RedisError):
        supervisor.keep_ready()  # at once, as the next question takes as long
    device, slots = _device(), supervisor.slots
    idle, told = 0, set[Path]()
    while not supervisor.stopping.wait(HOUSEKEEPING_SECONDS):
        try:
            check_folder(store, settings.data)
            facts = vitals() | {"device": device, "version": version("cctboard"), "slots": len(slots)}
            for slot in slots:
                memory = memory_bytes(slot.trainer, slot.spare.process_id)
                store.heartbeat(slot.worker, **facts, slot=slot.number, run_id=slot.run_id, memory_bytes=memory)
            if lost := store.expire_leases():
                logger.warning("%d runs lost their worker", lost)
            resend_lost_messages(celery, store.redis, 0 if store.paused() else store.queued())
            for run_id in store.garbage():
                if _is_removed(settings.run_folder(run_id), told):
                    store.collected(run_id)
            supervisor.keep_ready()
            is_idle = any(slot.run_id is None for slot in slots)
            idle = idle + 1 if is_idle and store.queued() and not store.paused() else 0
        except RedisError as error:
            logger.warning("housekeeping waits: %s", trouble(error))
        if idle * HOUSEKEEPING_SECONDS > DEAF_SECONDS:
            # Celery may stop consuming after a reconnect (celery issues 8030, 8091); a new process consumes.
            logger.error("runs are queued, but no message arrives; starting anew")
            _hand_back()
            os.execv(sys.executable, [sys.executable, "-m", "celery", *sys.argv[1:]])
    with suppress(RedisError):
        for slot in slots:
            store.forget_worker(slot.worker)


def _is_removed(folder: Path, told: set[Path]) -> bool:
    """Removes a deleted run's folder; why it cannot is logged once, and it is tried again."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        if folder not in told:
            logger.warning("cannot remove what a deleted run left: %s", error)
            told.add(folder)
    return not folder.exists()


def _run_errands() -> None:
    """Not tasks of Celery's: all threads for tasks may be training for hours."""
    errands = Errands(store)
    doers = {
        "own_image": ("worker.looker", OwnImages(store).finish),
        "pooling_check": ("worker.checker", PoolingChecks(store).finish),
    }
    while not supervisor.stopping.is_set():
        try:
            if (errand := errands.take(ERRAND_WAIT_MS)) is None:
                continue
            module, finish = doers[errand.kind]
            command = [sys.executable, "-m", module, errand.subject]
            doer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            last_line = (doer.stderr.strip() or f"{module} ended with {doer.returncode}").splitlines()[-1]
            finish(errand.subject, last_line if doer.returncode else "")
            errands.done(errand)
        except RedisError as error:
            logger.warning("errands wait: %s", trouble(error))
            supervisor.stopping.wait(HOUSEKEEPING_SECONDS)


def _device() -> str:
    """The device as a trainer will choose it; asked in another process, so that this one never loads torch."""
    ask = "from cct.device import default_device, device_name; print(device_name(default_device()))"
    environment = trainer_environment(len(supervisor.slots))
    asked = subprocess.run([sys.executable, "-c", ask], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return asked.stdout.strip()
