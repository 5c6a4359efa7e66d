"""When queued runs will probably start: what is measured of running and finished runs, laid out over the workers."""

import heapq
import statistics
from collections.abc import Sequence

from app.rows import Run, State


def expected_starts(queued: Sequence[Run], others: Sequence[Run], workers: int) -> list[float | None]:
    """Seconds until each run of the queue (next one first) starts; null where a run before it cannot be estimated.

    An epoch is expected to take as long as in the median run of the same model, dataset and batch size.
    """
    if not workers:
        return [None] * len(queued)
    measured: dict[object, list[float]] = {}
    for run in [*others, *queued]:
        if run.epoch:
            measured.setdefault(_kind(run), []).append(run.seconds / run.epoch)
    free: list[float | None] = [run.eta_seconds for run in others if run.state is State.running]
    free += [0.0] * (workers - len(free))
    slots = [seconds for seconds in free if seconds is not None]
    if len(slots) < len(free):
        return [None] * len(queued)
    heapq.heapify(slots)
    starts: list[float | None] = []
    for run in queued:
        start = heapq.heappop(slots) if slots else None
        starts.append(start)
        epochs = measured.get(_kind(run))
        if start is not None and epochs:
            heapq.heappush(slots, start + statistics.median(epochs) * (run.spec.epochs - run.epoch))
        else:
            slots.clear()  # from here on nothing is known
    return starts


def _kind(run: Run) -> object:
    return run.spec.model, run.spec.dataset, run.spec.batch_size
