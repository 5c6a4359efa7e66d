"""What runs will probably take, and when queued ones start: by what is measured of running and finished runs."""

import heapq
import statistics
from collections.abc import Sequence

from app.store.rows import Run, State
from cct.cost import cost_of_run
from cct.named_datasets import DATASETS
from cct.named_models import MODELS
from cct.own_poolings import is_known
from cct.spec import RunSpec


def expected_starts(queued: Sequence[Run], others: Sequence[Run], workers: int) -> list[float | None]:
    """Seconds until each run of the queue (next one first) starts; null where a run before it cannot be estimated.

    An epoch is expected to take as long as in the median run of the same model, dataset and batch size.
    """
    if not workers:
        return [None] * len(queued)
    measured = _seconds_per_epoch([*others, *queued])
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
        per_epoch = measured.get(_kind(run.spec))
        if start is not None and per_epoch:
            heapq.heappush(slots, start + per_epoch * (run.spec.epochs - run.epoch))
        else:
            slots.clear()  # from here on nothing is known
    return starts


def expected_seconds(specs: Sequence[RunSpec], known: Sequence[Run]) -> float | None:
    """Seconds to train all specs one after the other; null if nothing was measured yet.

    A spec without a measured run of its model, dataset and batch size is expected to take as long per image and
    multiply-accumulate as the median run: a rough figure, which needs the number of images.
    """
    measured = _seconds_per_epoch(known)
    works = [(run, _work(run.spec)) for run in known if _was_timed(run) and _has_cost(run.spec)]
    per_work = [run.seconds / run.epoch / work for run, work in works if work]
    typical = statistics.median(per_work) if per_work else None
    total = 0.0
    for spec in specs:
        per_epoch = measured.get(_kind(spec))
        if per_epoch is None:
            work = _work(spec)
            if typical is None or work is None:
                return None
            per_epoch = typical * work
        total += spec.epochs * per_epoch
    return total


def _seconds_per_epoch(runs: Sequence[Run]) -> dict[object, float]:
    """The median run's, by kind."""
    measured: dict[object, list[float]] = {}
    for run in runs:
        if _was_timed(run):
            measured.setdefault(_kind(run.spec), []).append(run.seconds / run.epoch)
    return {kind: statistics.median(seconds) for kind, seconds in measured.items()}


def _was_timed(run: Run) -> bool:
    """How long a result from elsewhere took says nothing of this board's workers."""
    return run.epoch > 0 and run.external is None


def _kind(spec: RunSpec) -> object:
    return spec.architecture, spec.source, spec.batch_size


def _has_cost(spec: RunSpec) -> bool:
    """Not if an earlier version accepted it and something of it was removed since."""
    return spec.model in MODELS and spec.dataset in DATASETS and is_known(spec.pooling)


def _work(spec: RunSpec) -> int | None:
    """Multiply-accumulates of one pass over the training images; null if nobody knows here how many those are."""
    train_size = DATASETS[spec.dataset].train_size
    return train_size and cost_of_run(spec).macs * train_size
