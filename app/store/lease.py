"""The right of one worker to train one run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from app.errors import LeaseLost
from app.limits import LOG_LINES
from app.store.database import Database, Scalar
from app.store.rows import State
from cct.events import EpochRecord

MAX_LOSSES = 3
"""Times in a row a run may lose its worker without finishing an epoch."""


class Lease:
    """The right to train one run, proven by a token that every write carries."""

    def __init__(self, database: Database, run_id: str, token: str) -> None:
        self._database = database
        self.run_id = run_id
        self.token = token

    def _write(self, operation: str, *arguments: Scalar) -> str:
        reply = cast(str, self._database.do(operation, self.run_id, self.token, *arguments))
        if reply == "stale":
            raise LeaseLost(self.run_id)
        return reply

    def check(self) -> None:
        """Raises `LeaseLost` if the run may belong to another worker."""
        self._write("check")

    def renew(self) -> bool:
        """Holds the run for as long as a new lease; whether the user wants it to be cancelled."""
        return self._write("renew", self._database.lease_ms) == "cancelling"

    def describe(self, **fields: Scalar) -> None:
        """Writes fields of `Run` that tell how training goes: device, parameters, step, ..."""
        self._write("describe", *(part for item in fields.items() for part in item))

    def record_epoch(self, record: EpochRecord) -> bool:
        """Stores what an epoch measured; False, and nothing changes, if that epoch is already stored."""
        return self._write("record_epoch", record.epoch, json.dumps(asdict(record))) == "recorded"

    def record_look(self, epoch: int, look: Mapping[str, Any]) -> None:
        """Stores what the pooling looked at after an epoch; a repeat changes nothing."""
        self._write("record_look", epoch, json.dumps(dict(look)))

    def record_confusion(self, epoch: int, counts: Sequence[Sequence[int]]) -> None:
        """Stores how often images of a class (row) were taken for each class (column) after an epoch.

        Only the newest matrix and that of the best epoch are kept, without their zeros, so that they hold no more
        numbers than there are test images; a repeat changes nothing.
        """
        hits = sum(row[label] for label, row in enumerate(counts))
        without_zeros = [{column: count for column, count in enumerate(row) if count} for row in counts]
        self._write("record_confusion", epoch, hits, json.dumps(without_zeros, separators=(",", ":")))

    def measure(self, joules: float, facts: Mapping[str, float]) -> None:
        """Stores what training took of its machine since the last time: fields of `SystemReading`, and energy."""
        self._write("measure", joules, json.dumps({name: round(value, 3) for name, value in facts.items()}))

    def log(self, lines: Sequence[str]) -> None:
        self._write("log", LOG_LINES, *lines)

    def release(self, state: State, error: str = "") -> None:
        """Ends the lease: the run is finished, or `State.queued` for another worker to go on."""
        self._write("release", state, error)

    def lose(self, why: str) -> None:
        """Ends the lease because the trainer crashed: the run is queued again, or failed if that happens often."""
        self._write("lose", MAX_LOSSES, why)

    def wait(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the user to do something about the run, which `renew` tells then."""
        control = self._database.key("run", self.run_id, "control")
        return self._database.redis.blpop([control], timeout=timeout) is not None
