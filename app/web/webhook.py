"""Tells another service when an experiment has ended or runs have failed, by HTTP POST of one JSON document each.

The store writes such news into a stream. One API process at a time, that which has the lock, sends what is in it, and
then deletes it there. So each is told once, also if the API restarts or has several processes; twice only if a process
ends between the receiver's answer and the deletion.
"""

import json
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime
from html import escape
from typing import Any

import httpx2 as httpx
from pydantic import HttpUrl
from redis.exceptions import LockError, RedisError

from app.errors import NotFound, Unreadable
from app.proxies import DIRECT
from app.settings import Settings
from app.store.run_store import RunStore
from app.web.follower import LOOK_SECONDS, Entry, Follower
from app.web.plans import compared

TIMEOUT_SECONDS = 10.0
PAUSES_SECONDS = (1, 2, 5, 10, 20)
"""Between attempts; the last one again and again."""
TRIED_SECONDS = 24 * 3600
"""How long after the event it is tried to tell it."""
LOCK_SECONDS = 60
"""Longer than an attempt and a pause."""
LONGEST_TEXT = 1_900
"""Characters; a chat service takes 2,000."""
RUNS_TOLD = 20

logger = logging.getLogger(__name__)


class Webhook(Follower):
    """Sends news to the address for as long as its context is open."""

    def __init__(self, settings: Settings, store: RunStore, address: HttpUrl) -> None:
        super().__init__(store.redis, store.key("news"))
        self._address, self._store, self._board = str(address), store, settings.url.rstrip("/")
        self._begun = store.key("news", "begun")
        self._lock = store.redis.lock(
            store.key("news", "lock"), timeout=LOCK_SECONDS, blocking=False, thread_local=False
        )

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._lock.acquire():
                    try:
                        self._tell_all()
                    finally:
                        with suppress(LockError):
                            self._lock.release()
            except RedisError as error:
                logger.warning("the webhook's news cannot be read, trying again: %s", error)
            self._stopping.wait(LOOK_SECONDS)

    def _tell_all(self) -> None:
        if not self._redis.exists(self._begun):
            self._redis.xtrim(self._stream, maxlen=0)  # what ended before there was a webhook is no news
            self._redis.set(self._begun, 1)
        while not self._stopping.is_set():
            self._lock.reacquire()
            # Runs of an experiment that have failed since the last look are told together.
            groups: dict[tuple[str, str], list[Entry]] = {}
            for entry_id, fields in self._entries("0", count=500):
                groups.setdefault((fields["what"], fields["experiment_id"]), []).append((entry_id, fields))
            for group in groups.values():
                if not self._tell([fields for _, fields in group], _seconds(group[-1][0])):
                    return
                self._redis.xdel(self._stream, *(entry_id for entry_id, _ in group))

    def _tell(self, news: list[dict[str, str]], at: float) -> bool:
        """Whether it is settled: told, refused, or too old; false if the API stops."""
        try:
            document = self._document(news, at)
        except NotFound:
            return True  # deleted meanwhile
        except Unreadable as error:
            logger.error("the webhook cannot be told: %s", error)
            return True
        for attempt in range(10**9):
            if time.time() > at + TRIED_SECONDS:
                logger.error("the webhook was not told for a day, which is given up: %s", document["text"])
                return True
            why = self._post(document)
            if why is None:
                return True
            pause = PAUSES_SECONDS[min(attempt, len(PAUSES_SECONDS) - 1)]
            logger.warning("the webhook did not take the news (%s), trying again in %d s", why, pause)
            if self._stopping.wait(pause):
                break
            self._lock.reacquire()
        return False

    def _post(self, document: dict[str, Any]) -> str | None:
        """Why it has to be tried again; None if the receiver has answered. The address, a secret, is not logged."""
        try:
            with httpx.Client(mounts=DIRECT, timeout=TIMEOUT_SECONDS, follow_redirects=False) as client:
                answer = client.post(self._address, json=document)
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code >= 500 or answer.status_code in (408, 429):
            return f"status {answer.status_code}"
        if not answer.is_success:
            logger.error("the webhook refused the news (status %d): %s", answer.status_code, document["text"])
        return None

    def _document(self, news: list[dict[str, str]], at: float) -> dict[str, Any]:
        """What is sent; chat services show `text` or `content`. Raises `NotFound`."""
        first = news[0]
        if first["what"] == "experiment_ended":
            text, told = self._experiment(first["experiment_id"])
        else:
            text, told = self._failures([json.loads(fields["data"])["run_id"] for fields in news])
        text = text[:LONGEST_TEXT]
        moment = datetime.fromtimestamp(at, UTC).isoformat()
        # Nobody is called by what users have named: not in Slack and Mattermost, where <!channel> does, nor in Discord.
        shown = {"text": escape(text, quote=False), "content": text, "allowed_mentions": {"parse": []}}
        return {"event": first["what"], "at": moment} | shown | told

    def _experiment(self, experiment_id: str) -> tuple[str, dict[str, Any]]:
        experiment, runs = self._store.experiment(experiment_id), self._store.experiment_runs(experiment_id)
        found = compared(self._store, experiment, runs)
        page = f"{self._board}/board/experiments/{experiment_id}"
        states = {state: getattr(experiment, state) for state in ("completed", "failed", "cancelled")}
        ended = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        return (
            " ".join(filter(None, (f"{experiment.name} has ended: {ended}.", found.answer, page))),
            {
                "page": page,
                "experiment": experiment.model_dump(mode="json"),
                "answer": found.answer,
                "verdicts": {row.variant: row.verdict for row in found.variants},
            },
        )

    def _failures(self, run_ids: list[str]) -> tuple[str, dict[str, Any]]:
        runs = self._store.known_runs(run_ids)
        if not runs:
            raise NotFound("run", run_ids[0])
        experiment_id = runs[0].experiment_id
        name = f" of {self._store.experiment(experiment_id).name}" if experiment_id else ""
        if len(runs) == 1:
            [run], page = runs, f"{self._board}/board/runs/{runs[0].id}"
            said = f"A run{name} has failed ({run.spec.pooling}, seed {run.spec.seed})"
        else:
            page = f"{self._board}/board/experiments/{experiment_id}" if experiment_id else f"{self._board}/"
            said = f"{len(runs)} runs{name} have failed, the first"
        told = {"page": page, "count": len(runs), "runs": [run.model_dump(mode="json") for run in runs[:RUNS_TOLD]]}
        return f"{said}: {runs[0].error} {page}", told


def _seconds(entry_id: str) -> float:
    return int(entry_id.partition("-")[0]) / 1_000
