"""The code of own poolings in the database: what runs were queued with, whatever becomes of the user's files.

Key: `poolings` (hash: full name to source). A full name is always the same code, so nothing in it ever changes.
"""

from collections.abc import Iterable, Mapping
from typing import cast

from app.store.database import Database
from cct import own_poolings
from cct.own_poolings import Source
from cct.spec import RunSpec


class KeptPoolings:
    """Keeps the code of specs that are queued, and makes that of specs that are read known to `cct.own_poolings`."""

    def __init__(self, database: Database) -> None:
        self._redis, self._key = database.redis, database.key("poolings")

    def keep(self, specs: Iterable[RunSpec]) -> None:
        """Before runs of them are queued."""
        for name in _own(specs):
            self.keep_name(name)

    def keep_name(self, name: str) -> None:
        """Keeps the code of a full name."""
        self._redis.hsetnx(self._key, name, own_poolings.source_of(name).told())

    def learn(self, specs: Iterable[RunSpec]) -> None:
        """From now on this process knows what is kept of these specs' poolings."""
        self.learn_names([name for name in _own(specs) if not own_poolings.is_known(name)])

    def learn_names(self, names: list[str]) -> None:
        """The same by full names."""
        if names:
            for told in filter(None, self._told(names)):
                own_poolings.learn(Source.read(told))

    def _told(self, names: list[str]) -> list[str | None]:
        return cast(list[str | None], self._redis.hmget(self._key, names))

    def told(self, specs: Iterable[RunSpec]) -> dict[str, str]:
        """What is kept of these specs' poolings, as an archive takes it along."""
        names = _own(specs)
        return {name: told for name, told in zip(names, self._told(names) if names else [], strict=True) if told}

    def bring(self, told: Mapping[str, str]) -> None:
        """What is kept elsewhere is known and kept here too."""
        for name, one in told.items():
            own_poolings.learn(Source.read(one))
            self._redis.hsetnx(self._key, name, one)


def _own(specs: Iterable[RunSpec]) -> list[str]:
    return sorted({spec.pooling for spec in specs if "@" in spec.pooling})
