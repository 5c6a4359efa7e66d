"""What workers have found out about own poolings, by full name: that is the code that was checked.

Keys: `pooling_check:<id>` (hash: `name`, `asked_at`, `done`, `error`, and a field for each finding in their order),
`newest_check:<full name>` (id).
"""

import json
from typing import Any, Literal, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.errors import Conflict
from app.store.errands import KEPT_SECONDS, Errands
from app.store.run_store import RunStore, new_id
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
        check_id = new_id()
        seconds, _ = self._redis.time()
        self._redis.hset(self._check(check_id), mapping={"name": name, "asked_at": str(seconds), "done": 0})
        try:
            Errands(self._store).ask("pooling_check", check_id)
        except Conflict:
            self._redis.delete(self._check(check_id))
            raise
        # What a worker still finds out for an earlier question goes nowhere.
        if before := cast(str | None, self._redis.set(self._newest(name), check_id, get=True)):
            self._redis.expire(self._check(before), KEPT_SECONDS)
        self._tell(name)

    def ask_once(self, name: str) -> None:
        """As `ask`, if nobody has asked yet. Raises `Conflict`."""
        if not self._redis.exists(self._newest(name)):
            self.ask(name)

    def found(self, name: str) -> PoolingCheck | None:
        """The newest check of a full name; None if nobody has asked."""
        newest = cast(str | None, self._redis.get(self._newest(name)))
        fields = cast(dict[str, str], self._redis.hgetall(self._check(newest))) if newest else {}
        if not fields:
            return None
        findings = [json.loads(value) for key, value in sorted(fields.items()) if key.startswith("finding")]
        error = fields.get("error") or None
        known: dict[str, Any] = {"asked_at": fields["asked_at"], "done": fields["done"] == "1", "error": error}
        return PoolingCheck(findings=[Finding.model_validate(one) for one in findings], **known)

    # Of workers, by the id of a check

    def name_of(self, check_id: str) -> str:
        """The full name that is to be checked, whose code is known to this process from now on."""
        name = cast(str, self._redis.hget(self._check(check_id), "name"))
        if not own_poolings.is_known(name):
            self._store.poolings.learn_names([name])
        return name

    def add(self, check_id: str, number: int, finding: dict[str, str]) -> None:
        self._redis.hset(self._check(check_id), f"finding {number:02}", json.dumps(finding))
        self._tell(self.name_of(check_id))

    def finish(self, check_id: str, error: str = "") -> None:
        """All is found, or nothing more will be because of `error`."""
        self._redis.hset(self._check(check_id), mapping={"done": 1, "error": error})
        self._tell(self.name_of(check_id))

    def _tell(self, name: str) -> None:
        self._store.tell("pooling_check", {"name": name})

    def _newest(self, name: str) -> str:
        return self._store.key("newest_check", name)

    def _check(self, check_id: str) -> str:
        return self._store.key("pooling_check", check_id)
