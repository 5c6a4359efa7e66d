"""The Celery worker of one device: `celery -A worker.tasks worker`, or `cctboard worker`.

The threads pool keeps Celery's main thread free to answer signals while a run is trained in a subprocess.
"""

import logging
import os
import platform
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from celery import signals
from redis.exceptions import RedisError

from app import logs
from app.queue import TRAIN_NEXT, create_queue, resend_lost_messages
from app.settings import Settings
from app.store import RunStore
from worker.supervisor import Supervisor
from worker.vitals import vitals

HOUSEKEEPING_SECONDS = 2.0
DEAF_SECONDS = 20.0
"""How long runs may be queued while this worker is idle."""

settings = Settings()
store = RunStore(settings)
celery = create_queue(settings)
supervisor = Supervisor(settings, store, worker=f"{platform.node()}-{os.getpid()}")
logger = logging.getLogger(__name__)


@celery.task(name=TRAIN_NEXT)
def train_next() -> None:
    """Trains the first run of the queue; does nothing if there is none (a repeated message)."""
    supervisor.train_next()


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    logs.configure(settings)


@signals.worker_ready.connect
def _start_housekeeping(**_: Any) -> None:
    threading.Thread(target=_keep_house, name="housekeeping", daemon=True).start()


@signals.worker_shutting_down.connect
def _stop(**_: Any) -> None:
    supervisor.stop()


def _keep_house() -> None:
    """Heartbeat; sends the runs of silent workers back to the queue; re-sends lost messages; removes what deleted runs
    left. Any worker helps all."""
    device = _device()
    idle = 0
    while not supervisor.stopping.wait(HOUSEKEEPING_SECONDS):
        try:
            facts = {"device": device, "version": version("cctboard"), "run_id": supervisor.run_id}
            store.heartbeat(supervisor.worker, **facts, **vitals())
            if lost := store.expire_leases():
                logger.warning("%d runs lost their worker", lost)
            resend_lost_messages(store, celery)
            for run_id in store.garbage():
                shutil.rmtree(settings.checkpoints(run_id), ignore_errors=True)
                store.collected(run_id)
            idle = idle + 1 if store.queued() and supervisor.run_id is None and not store.paused() else 0
        except RedisError as error:
            logger.warning("the run store does not answer, trying again: %s", error)
        if idle * HOUSEKEEPING_SECONDS > DEAF_SECONDS:
            # Celery may stop consuming after a reconnect (celery issues 8030, 8091); a new process consumes.
            logger.error("runs are queued, but no message arrives; starting anew")
            os.execv(sys.executable, [sys.executable, "-m", "celery", *sys.argv[1:]])
    with suppress(RedisError):
        store.forget_worker(supervisor.worker)


def _device() -> str:
    """The device as a trainer will choose it; asked in another process, so that this one never loads torch."""
    ask = "from cct.train import default_device, device_name; print(device_name(default_device()))"
    return subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
