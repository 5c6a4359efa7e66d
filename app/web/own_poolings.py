"""Own poolings on their way into runs: what is saved is checked at once, and what cannot be imported is not queued."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError

from app.errors import Conflict, Invalid
from app.store.database import trouble
from app.store.pooling_checks import PoolingChecks
from app.store.run_store import RunStore
from cct import own_poolings
from cct.spec import RunSpec

LOOK_SECONDS = 1.0
"""Between two looks at the folder."""
IMPORT_SECONDS = 20.0
"""How long whoever queues may wait for a worker to import what nobody has checked yet."""

logger = logging.getLogger(__name__)


def refuse_unusable(store: RunStore, specs: Iterable[RunSpec]) -> None:
    """Raises `Invalid` if an own pooling of the specs cannot be imported, which a worker tells.

    Without a worker nobody can tell; a run of it would then fail at its start, by the same words.
    """
    checks = PoolingChecks(store)
    for name in sorted({spec.pooling for spec in specs if "@" in spec.pooling}):
        with suppress(Conflict):  # too many wait
            checks.ask_once(name)
        deadline = time.monotonic() + IMPORT_SECONDS
        while (check := checks.found(name)) and not check.findings and not check.done:
            if time.monotonic() > deadline or not store.workers():
                break
            time.sleep(0.05)
        if check and check.import_error:
            raise Invalid("pooling", check.import_error)


def unsure(store: RunStore, names: Iterable[str]) -> dict[str, str]:
    """What speaks against queueing some of these poolings, or is not known yet, by the newest check of each."""
    found: dict[str, str] = {}
    for name in (name for name in names if "@" in name):
        check = PoolingChecks(store).found(name)
        failed = [f"{one.name}: {one.text}" for one in check.findings if one.outcome == "failed"] if check else []
        if failed:
            found[name] = f"{name} does not pass its check: {'; '.join(failed)}"
        elif check and check.error:
            found[name] = f"{name} could not be checked: {check.error}"
        elif check is None or not check.done:
            found[name] = f"{name} is not checked yet; a worker does so in seconds"
    return found


@contextmanager
def watching(store: RunStore) -> Iterator[None]:
    """Tells pages when the folder has changed, and has workers check what is new in it."""
    stopping = threading.Event()
    thread = threading.Thread(target=_watch, args=(store, stopping), name="own poolings", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(2 * LOOK_SECONDS)


def _watch(store: RunStore, stopping: threading.Event) -> None:
    seen = own_poolings.Folder()
    while not stopping.is_set():
        found = own_poolings.found()
        if found != seen:
            try:
                for source in found.sources.values():
                    with suppress(Conflict):  # too many wait; whoever queues it asks again
                        PoolingChecks(store).ask_once(source.name)
                store.tell("poolings", {})
                seen = found
            except RedisError as error:
                logger.warning("own poolings wait: %s", trouble(error))
        stopping.wait(LOOK_SECONDS)
