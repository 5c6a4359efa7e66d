"""All runs in this process's memory, as current as the database at each read."""

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any, cast

import redis

from app.store.rows import Run

EVENTS_READ = 5_000
"""After more than these, reading all runs anew is quicker."""
_START = "0-0"


class RunView:
    """Reading thousands of hashes takes a third of a second, so they are read once.

    After that each read first applies what the stream of events tells since the last one. A run's hash and its event
    are written together, so whoever has written a run finds it, by whichever process. If the stream no longer holds
    the event up to which this view is current (it was trimmed, or the database is another one), or holds very many
    since, all is read again.
    """

    def __init__(
        self,
        database: redis.Redis,
        stream: str,
        read_all: Callable[[], Iterable[Run]],
        parsed: Callable[[Iterable[dict[str, str]]], Iterable[Run]],
    ) -> None:
        self._redis = database
        self._stream = stream
        self._read_all, self._parsed = read_all, parsed
        self._lock = threading.Lock()
        self._position = _START
        self._runs: dict[str, Run] = {}
        self._members: dict[str | None, dict[str, Run]] = {}
        """The same runs by experiment, so that reading one of a thousand experiments costs no look at the others."""

    def runs(self) -> list[Run]:
        """All runs in the order of their creation."""
        return self._read(lambda: self._runs)

    def members(self, experiment_id: str) -> list[Run]:
        """The runs of an experiment in the order of their creation."""
        return self._read(lambda: self._members.get(experiment_id, {}))

    def among(self, run_ids: Iterable[str]) -> list[Run]:
        """Those of these runs that are there, in this order."""
        return self._read(lambda: {run_id: self._runs[run_id] for run_id in run_ids if run_id in self._runs})

    def _read(self, wanted: Callable[[], dict[str, Run]]) -> list[Run]:
        while True:
            position = self._position
            events = cast(
                list[tuple[str, dict[str, str]]], self._redis.xrange(self._stream, min=position, count=EVENTS_READ)
            )
            with self._lock:
                if position != self._position:
                    continue  # another thread was faster, and these events may be old
                if events and events[0][0] == position and len(events) < EVENTS_READ:
                    self._apply(events[1:])
                else:
                    self._start_over()
                return list(wanted().values())

    def _start_over(self) -> None:
        # The position is read first: events that come while hashes are read change nothing when they are applied again.
        newest = cast(list[tuple[str, Any]], self._redis.xrevrange(self._stream, count=1))
        self._runs, self._members = {}, {}
        for run in self._read_all():
            self._set(run)
        self._position = newest[0][0] if newest else _START

    def _set(self, run: Run) -> None:
        self._runs[run.id] = self._members.setdefault(run.experiment_id, {})[run.id] = run

    def _apply(self, events: list[tuple[str, dict[str, str]]]) -> None:
        changed: dict[str, dict[str, str]] = {}
        for _, event in events:
            if event["kind"] == "run":
                fields = json.loads(event["data"])
                changed[fields["id"]] = fields
            elif event["kind"] == "deleted":
                run_id = json.loads(event["data"])["run_id"]
                changed.pop(run_id, None)
                if gone := self._runs.pop(run_id, None):
                    del self._members[gone.experiment_id][run_id]
        for run in self._parsed(changed.values()):
            self._set(run)
        if events:
            self._position = events[-1][0]
