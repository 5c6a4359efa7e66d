"""Picks events of one kind out of what training tells."""

from collections.abc import Iterable
from typing import TypeVar

from cct.events import Event

T = TypeVar("T", bound=Event)


def only(kind: type[T], events: Iterable[Event]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def first(kind: type[T], events: Iterable[Event]) -> T:
    """The training is left where it tells this, as if its process had ended."""
    return next(event for event in events if isinstance(event, kind))
