"""The Celery application and the one task's name. A message says only "there is work": which run is next, who may train
it and what became of it is the run store's business, so lost and repeated messages do no harm."""

import logging

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis

from app.settings import Settings

TRAIN_NEXT = "cctboard.train_next"
QUEUE = "cctboard"

logger = logging.getLogger(__name__)


def create_queue(settings: Settings) -> Celery:
    """The Celery application of API and workers; tasks are registered by the worker alone."""
    queue = Celery("cctboard", broker=str(settings.redis_url), set_as_current=False)
    queue.conf.update(
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
    )
    return queue


def wake_workers(queue: Celery, runs: int) -> None:
    """One message per queued run. A failure is only logged: the runs are stored and the workers' sweep re-sends."""
    try:
        for _ in range(runs):
            queue.send_task(TRAIN_NEXT, retry=False)
    except OperationalError as error:
        logger.warning("could not wake the workers, their next sweep will: %s", error)


def resend_lost_messages(queue: Celery, redis: Redis, waiting: int) -> int:
    """Sends messages for runs that wait while the broker holds none; returns how many."""
    if not waiting or redis.llen(QUEUE):
        return 0
    wake_workers(queue, waiting)
    return waiting
