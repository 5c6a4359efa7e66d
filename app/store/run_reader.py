"""All reads of the board's state."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

from app.errors import NotFound
from app.store.database import Database
from app.store.epoch_records import EpochRecords
from app.store.kept_poolings import KeptPoolings
from app.store.rows import Confusion, Experiment, HistoryEntry, LogLine, Run, SystemReading, Worker
from app.store.run_view import RunView
from cct.events import EpochRecord


class RunReader:
    """Reads runs, experiments and what was measured. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self.redis, self.key = database.redis, database.key
        self._epochs = EpochRecords(self.redis)
        self.poolings = KeptPoolings(database)
        self._view = RunView(self.redis, self.key("events"), self._read_runs, self._parsed)

    def run(self, run_id: str) -> Run:
        """Raises `NotFound`."""
        return self.runs_by_id([run_id])[0]

    def runs_by_id(self, run_ids: Iterable[str]) -> list[Run]:
        """Raises `NotFound` for the first id that is not there."""
        run_ids = list(run_ids)
        for run_id, found in zip(run_ids, hashes := self._hashes("run", run_ids), strict=True):
            if not found:
                raise NotFound("run", run_id)
        return self._parsed(hashes)

    def known_runs(self, run_ids: Iterable[str]) -> list[Run]:
        """The runs of these ids but for those that were deleted."""
        return self._parsed(found for found in self._hashes("run", run_ids) if found)

    def _parsed(self, hashes: Iterable[dict[str, str]]) -> list[Run]:
        runs = [Run.parsed(found) for found in hashes]
        self.poolings.learn(run.spec for run in runs)
        return runs

    def _hashes(self, kind: str, ids: Iterable[str]) -> list[dict[str, str]]:
        with self.redis.pipeline(transaction=False) as pipeline:
            for one in ids:
                pipeline.hgetall(self.key(kind, one))
            return cast(list[dict[str, str]], pipeline.execute())

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        return self._view.runs()[::-1]

    def _read_runs(self) -> list[Run]:
        run_ids = cast(list[str], self.redis.zrange(self.key("runs"), 0, -1))
        return self.known_runs(run_ids)

    def experiment(self, experiment_id: str) -> Experiment:
        """Raises `NotFound`."""
        [found] = self._hashes("experiment", [experiment_id])
        if not found:
            raise NotFound("experiment", experiment_id)
        return Experiment.parsed(found)

    def experiments_by_id(self, experiment_ids: Iterable[str]) -> list[Experiment]:
        """The experiments of these ids but for those that were deleted."""
        return [Experiment.parsed(found) for found in self._hashes("experiment", experiment_ids) if found]

    def experiments(self) -> list[Experiment]:
        """All experiments, newest first."""
        ids = cast(list[str], self.redis.zrange(self.key("experiments"), 0, -1, desc=True))
        return self.experiments_by_id(ids)

    def experiment_runs(self, experiment_id: str) -> list[Run]:
        """The experiment's runs in the order of their creation. Raises `NotFound`."""
        self.experiment(experiment_id)
        return self._view.members(experiment_id)

    def open_plans(self) -> list[str]:
        """Ids of the experiments whose plans may still queue seeds."""
        return sorted(cast(set[str], self.redis.smembers(self.key("plans"))))

    def epochs(self, run_ids: Iterable[str]) -> list[list[EpochRecord]]:
        """The records of each run, by epoch."""
        return self._epochs.read([self.key("run", run_id, "epochs") for run_id in run_ids])

    def sparklines(self, runs: Iterable[Run], points: int) -> list[dict[int, float]]:
        """Validation top-1 by epoch at up to `points` epochs of each run, evenly spread from its first to its newest.

        Records are named by their epoch, so that the time this takes does not grow with the number of epochs.
        """
        wanted = [(run.id, _spread(run.epoch, points)) for run in runs]
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id, epochs in wanted:
                for epoch in epochs:
                    pipeline.xrange(self.key("run", run_id, "epochs"), min=f"{epoch}-0", max=f"{epoch}-0")
            found = iter(pipeline.execute())
        return [
            {epoch: json.loads(entries[0][1]["record"])["val_top1"] for epoch in epochs if (entries := next(found))}
            for _, epochs in wanted
        ]

    def log(self, run_id: str) -> list[LogLine]:
        """What the run's trainer printed, oldest first. Raises `NotFound`."""
        return [LogLine.parsed(entry) for entry in self._stream(run_id, "log")]

    def history(self, run_id: str) -> list[HistoryEntry]:
        """The run's time line, oldest first. Raises `NotFound`."""
        return [HistoryEntry.parsed(entry) for entry in self._stream(run_id, "history")]

    def system(self, run_id: str) -> list[SystemReading]:
        """What training the run took of its machine, oldest first. Raises `NotFound`."""
        return [
            SystemReading.parsed({"at": entry["at"]} | json.loads(entry["reading"]))
            for entry in self._stream(run_id, "system")
        ]

    def _stream(self, run_id: str, part: str) -> list[dict[str, str]]:
        self.run(run_id)
        entries = cast(list[tuple[str, dict[str, str]]], self.redis.xrange(self.key("run", run_id, part)))
        return [{"at": entry_id.split("-")[0]} | entry for entry_id, entry in entries]

    def counts(self) -> Counter[str | None]:
        """Number of runs by state. One command instead of one per run; one deleted meanwhile has no state."""
        return Counter(
            cast(list[str | None], self.redis.sort(self.key("runs"), by="nosort", get=[self.key("run", "*->state")]))
        )

    def training(self) -> dict[str, EpochRecord | None]:
        """The ids of the running runs, and what their newest epochs measured."""
        run_ids = cast(list[str], self.redis.zrange(self.key("leases"), 0, -1))
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.xrevrange(self.key("run", run_id, "epochs"), count=1)
            newest = pipeline.execute()
        records = [EpochRecord(**json.loads(entries[0][1]["record"])) if entries else None for entries in newest]
        return dict(zip(run_ids, records, strict=True))

    def looks(self, run_ids: Iterable[str]) -> list[list[dict[str, Any]]]:
        """What the pooling of each run looked at, by epoch: fields of `cct.events.Look`."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.xrange(self.key("run", run_id, "lens"))
            streams = pipeline.execute()
        return [[json.loads(entry["look"]) for _, entry in stream] for stream in streams]

    def confusions(self, run_ids: Iterable[str], epoch: Literal["last", "best"]) -> list[Confusion | None]:
        """Each run's confusion matrix of its last or its best epoch, None before the first."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                read = pipeline.xrevrange if epoch == "last" else pipeline.xrange
                read(self.key("run", run_id, "confusion"), count=1)
            streams = pipeline.execute()
        return [
            Confusion.parsed({"epoch": found[0][0].split("-")[0], **found[0][1]}) if found else None
            for found in streams
        ]

    def images(self, source: str) -> list[dict[str, Any]]:
        """The images that runs of this dataset (`RunSpec.source`) look at: fields of `cct.events.Image`.

        Empty before the first run.
        """
        return cast(list[dict[str, Any]], json.loads(cast(str, self.redis.get(self.key("images", source)) or "[]")))

    # The queue and its workers

    def queued(self) -> int:
        """Number of runs that wait for a worker."""
        return int(self.redis.zcard(self.key("queued")))

    def queued_runs(self, most: int = 0) -> list[Run]:
        """The queue, next run first; with `most` only so many of it."""
        members = cast(list[str], self.redis.zrange(self.key("queued"), 0, most - 1))
        return self._view.among([member.partition(":")[2] for member in members])

    def places(self, run_ids: Sequence[str]) -> dict[str, int]:
        """The places in the queue of those of the runs that wait; 1 is next."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.hget(self.key("run", run_id), "order")
            orders = dict(zip(run_ids, pipeline.execute(), strict=True))
            for run_id, order in orders.items():
                pipeline.zrank(self.key("queued"), f"{int(order or 0):016}:{run_id}")
            ranks = pipeline.execute()
        return {run_id: rank + 1 for run_id, rank in zip(orders, ranks, strict=True) if rank is not None}

    def paused(self) -> bool:
        return bool(self.redis.exists(self.key("paused")))

    def workers(self) -> list[Worker]:
        """Workers seen lately, by name."""
        names = sorted(cast(list[str], self.redis.zrange(self.key("workers"), 0, -1)))
        return [Worker.parsed(found) for found in self._hashes("worker", names) if found]

    def garbage(self) -> list[str]:
        """Ids of deleted runs whose checkpoints are still there."""
        return sorted(cast(set[str], self.redis.smembers(self.key("garbage"))))


def _spread(last: int, points: int) -> list[int]:
    """Up to `points` numbers from 1 to `last`, about equally far apart."""
    count = min(last, points)
    return [1 + round(point * (last - 1) / max(1, count - 1)) for point in range(count)]
