"""An experiment with results, written into the store, for pages to show."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app.store.lease import Lease
from app.store.rows import Experiment, State
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD

Save = Callable[[str], None]
"""Saves what the page shows under a name."""

SPEC = RunSpec(dataset="digits", epochs=6, augmentation="none")
LEVELS = {"mean": 70.0, "seqpool": 74.0, "seqpool_softmax_batch": 74.1}
"""Top-1 to which the runs of a pooling tend."""
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
"""One grey pixel."""


def queue_study(store: RunStore, seeds: int = 5, **changes: Any) -> Experiment:
    axes: dict[str, list[Any]] = {"pooling": list(LEVELS), "seed": list(range(seeds))}
    base = replace(SPEC, **changes)
    specs = [replace(base, pooling=pooling, seed=seed) for seed in range(seeds) for pooling in LEVELS]
    spec = {name: getattr(base, name) for name in ("dataset", "epochs", "augmentation", *changes)}
    return store.create_experiment("Is softmax needed in the pooling step?", spec, axes, specs)


def train(store: RunStore, claim: Callable[[], Lease], runs: int) -> None:
    """Completes the next runs of the queue."""
    for _ in range(runs):
        lease = claim()
        for epoch in range(1, SPEC.epochs + 1):
            record_epoch(store, lease, epoch)
        lease.release(State.completed)


def record_epoch(store: RunStore, lease: Lease, epoch: int) -> None:
    spec = store.run(lease.run_id).spec
    chance = random.Random(f"{spec.pooling} {spec.seed} {epoch}")
    top1 = LEVELS[spec.pooling] - 40 / epoch**2 + 0.4 * spec.seed + chance.gauss(0, 0.15)
    record = replace(RECORD, epoch=epoch, val_top1=top1, val_loss=2.4 - top1 / 50, train_top1=top1 - 1)
    assert lease.record_epoch(record)
    look = {"shares": [[0.1, 0.2, 0.3, 0.4]] * 2, "entropy": [1.28] * 2, "confidence": [0.5, 0.9]}
    lease.record_look(epoch, look | {"epoch": epoch, "predicted": [0, 1 if spec.pooling == "mean" else 5]})
