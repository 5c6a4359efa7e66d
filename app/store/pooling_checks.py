"""What workers have found out about own poolings, by full name: that is the code that was checked.

Key: `pooling_check:<full name>` (hash: `asked_at`, `done`, `error`, and a field for each finding in their order).
"""

import json
from typing import Any, Literal, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.store.errands import Errands
from app.store.run_store import RunStore
from cct import own_poolings


class Finding(BaseModel):
    """What one of the checks found."""

    name: str
    outcome: Literal["passed", "noted", "failed"] = Field(description="noted: perhaps meant so")
    text: str


class PoolingCheck(BaseModel):
    """How far a worker is with trying a pooling."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    asked_at: AwareDatetime
    done: bool
    error: str | None
    """Why it was not checked to the end."""
    findings: list[Finding]

    @property
    def import_error(self) -> str | None:
        """Why it cannot be imported, if that is known."""
        return next((one.text for one in self.findings if (one.name, one.outcome) == ("imports", "failed")), None)


class PoolingChecks:
    def __init__(self, store: RunStore) -> None:
        self._store, self._redis = store, store.redis

    def ask(self, name: str) -> None:
        """Has a worker check the pooling of this full name, anew if it was checked before. Raises `Conflict`."""
        self._store.poolings.keep_name(name)
        Errands(self._store).ask("pooling_check", name)
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(self._key(name))
            pipeline.hset(self._key(name), mapping={"asked_at": self._now(), "done": 0})
            pipeline.execute()
        self._tell(name)

    def ask_once(self, name: str) -> None:
        """As `ask`, if nobody has asked yet. Raises `Conflict`."""
        if not self._redis.exists(self._key(name)):
            self.ask(name)

    def found(self, name: str) -> PoolingCheck | None:
        """None if nobody has asked."""
        fields = cast(dict[str, str], self._redis.hgetall(self._key(name)))
        if not fields:
            return None
        findings = [json.loads(value) for key, value in sorted(fields.items()) if key.startswith("finding")]
        error = fields.get("error") or None
        known: dict[str, Any] = {"asked_at": fields["asked_at"], "done": fields["done"] == "1", "error": error}
        return PoolingCheck(findings=[Finding.model_validate(one) for one in findings], **known)

    # Of workers

    def add(self, name: str, number: int, finding: dict[str, str]) -> None:
        self._redis.hset(self._key(name), f"finding {number:02}", json.dumps(finding))
        self._tell(name)

    def finish(self, name: str, error: str = "") -> None:
        """All is found, or nothing more will be because of `error`."""
        self._redis.hset(self._key(name), mapping={"done": 1, "error": error})
        self._tell(name)

    def learn(self, name: str) -> None:
        """Makes the code that is to be checked known to this process."""
        if not own_poolings.is_known(name):
            self._store.poolings.learn_names([name])

    def _tell(self, name: str) -> None:
        self._store.tell("pooling_check", {"name": name})

    def _now(self) -> str:
        seconds, _ = self._redis.time()
        return str(seconds)

    def _key(self, name: str) -> str:
        return self._store.key("pooling_check", name)
