"""What is said of a name that is none of the known ones. Standard library only, never torch."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(name: object, known: Iterable[str]) -> str:
    """What is said of a name that is none of the known ones."""
    return f"{name!r} is unknown; {meant(name, known)}choose one of {', '.join(known)}"


def meant(name: object, known: Iterable[str]) -> str:
    """Asks for the known name that is most like this one, if one is."""
    close = get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]}? " if close else ""
