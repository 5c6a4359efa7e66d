"""What Prometheus reads: the board's state, taken from the store at each scrape, and this process's own numbers."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from app.store.rows import State
from app.store.run_store import RunStore

_event_delay = Histogram(
    "cctboard_event_delay_seconds",
    "From an event's entry in the store to its arrival at this process.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=None,
)


def observe_event_delay(seconds: float) -> None:
    """Counts one event; clocks of two machines may disagree, so a delay below 0 counts as 0."""
    _event_delay.observe(max(0.0, seconds))


def render(store: RunStore, accept: str) -> tuple[bytes, str]:
    """All metrics in the best format that the `Accept` header names, and its media type."""
    registry = CollectorRegistry()
    registry.register(_BoardCollector(store))
    registry.register(_event_delay)
    ProcessCollector(registry=registry)
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _BoardCollector(Collector):
    def __init__(self, store: RunStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """All of the board's metrics, or only that the database does not answer."""
        try:
            board = [*self._runs(), *self._queue(), *self._workers()]
        except RedisError:
            board = []
        yield _gauge("database_up", "Whether the database answers.", bool(board))
        yield from board

    def _runs(self) -> Iterator[Metric]:
        counts = self._store.counts()
        by_state = _gauge("runs", "Runs by state.", labels=["state"])
        for state in State:
            by_state.add_metric([state], counts[state])
        yield by_state

        seconds = _gauge("run_epoch_seconds", "Duration of a running run's newest epoch.", labels=["run"])
        speed = _gauge("run_images_per_second", "Training speed in a running run's newest epoch.", labels=["run"])
        epochs = _gauge("run_epochs", "Finished epochs of a running run.", labels=["run"])
        for run_id, record in self._store.training().items():
            epochs.add_metric([run_id], record.epoch if record else 0)
            if record:
                seconds.add_metric([run_id], record.seconds)
            if record and record.images_per_second is not None:
                speed.add_metric([run_id], record.images_per_second)
        yield from (epochs, seconds, speed)

    def _queue(self) -> Iterator[Metric]:
        yield _gauge("queue_length", "Runs that wait for a worker.", self._store.queued())
        yield _gauge("queue_paused", "Whether no more runs are started.", self._store.paused())

    def _workers(self) -> Iterator[Metric]:
        workers = self._store.workers()
        labels = ["worker", "device"]
        busy = _gauge("worker_busy", "Whether the worker's slot trains a run.", labels=labels)
        memory = _gauge("worker_memory_bytes", "Resident memory of the slot's trainer and the worker.", labels=labels)
        gpu_memory = _gauge("worker_gpu_memory_bytes", "Memory in use of the worker's GPU.", labels=labels)
        for worker in workers:
            values = [worker.name, worker.device]
            busy.add_metric(values, worker.run_id is not None)
            if worker.memory_bytes is not None:
                memory.add_metric(values, worker.memory_bytes)
            if worker.gpu_memory_bytes is not None:
                gpu_memory.add_metric(values, worker.gpu_memory_bytes)
        yield _gauge("workers", "Slots of the workers seen lately.", len(workers))
        yield from (busy, memory, gpu_memory)


def _gauge(name: str, help: str, value: float | None = None, labels: list[str] | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"cctboard_{name}", help, value=value, labels=labels)
