"""What a new API process reads before anybody asks."""

from collections.abc import Callable

import pytest

from app.errors import Unreadable
from app.settings import Settings
from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from app.web.read_ahead import read_ahead
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD


def test_boards_of_all_kinds_are_read_ahead(settings: Settings, store: RunStore, claim: Callable[[], Lease]) -> None:
    read_ahead(store)
    runs = store.create_runs([RunSpec(pooling=pooling, dataset="digits") for pooling in ("seqpool", "mean", "max")])
    for _ in runs[:2]:
        (lease := claim()).record_epoch(RECORD)
        lease.release(State.completed)
    read_ahead(store)
    store.redis.hset(store.key("run", runs[0].id), "spec", "damaged")
    new_process = RunStore(settings)
    with pytest.raises(Unreadable):
        new_process.runs()
    read_ahead(new_process)  # whoever asks is told
