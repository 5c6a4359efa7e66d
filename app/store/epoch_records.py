"""Epoch records of runs, each read and decoded once: a chart that is drawn again asks the database for news alone."""

import json
import threading
from collections.abc import Sequence
from typing import Any

from cct.events import EpochRecord

RECORDS_KEPT = 60_000
"""Those of the most recently used runs are kept, some 400 bytes each."""


class EpochRecords:
    """Streams of epochs grow and vanish with their run, but never change. Safe to share between threads."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, list[EpochRecord]]] = {}
        """By stream: the newest record as stored, and all records. The least recently used stream is first."""
        self._kept = 0
        """Records in `_known`."""

    def read(self, streams: Sequence[str]) -> list[list[EpochRecord]]:
        """The records of each stream, by epoch."""
        with self._lock:
            known = [self._known.get(stream, ("", [])) for stream in streams]
        # From the newest known record on: a board restored from an archive may hold another one there, or none.
        starts = [f"{records[-1].epoch}-0" if records else "-" for _, records in known]
        found = self._entries(streams, starts)
        changed = [
            place
            for place, ((newest, records), entries) in enumerate(zip(known, found, strict=True))
            if records and entries[:1] != [newest]
        ]
        again = self._entries([streams[place] for place in changed], ["-"] * len(changed))
        for place, entries in zip(changed, again, strict=True):
            known[place], found[place] = ("", []), entries
        current = [
            (entries[-1], records + [EpochRecord(**json.loads(entry)) for entry in entries[bool(records) :]])
            if entries
            else ("", [])
            for (_, records), entries in zip(known, found, strict=True)
        ]
        with self._lock:
            for stream, (newest, records) in zip(streams, current, strict=True):
                self._forget(stream)
                if records:
                    self._known[stream] = (newest, records)
                    self._kept += len(records)
            while self._kept > RECORDS_KEPT:
                self._forget(next(iter(self._known)))
        return [list(records) for _, records in current]

    def _forget(self, stream: str) -> None:
        _, records = self._known.pop(stream, ("", []))
        self._kept -= len(records)

    def _entries(self, streams: Sequence[str], starts: Sequence[str]) -> list[list[str]]:
        if not streams:
            return []
        with self._redis.pipeline(transaction=False) as pipeline:
            for stream, start in zip(streams, starts, strict=True):
                pipeline.xrange(stream, min=start)
            return [[entry["record"] for _, entry in entries] for entries in pipeline.execute()]
