"""The service: run store, HTTP API, figures and command line. Never imports torch.

`from app import Board` is the way to a board from Python (`app.cli.notebook`), which is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.cli.notebook import Board

__all__ = ["Board"]


def __getattr__(name: str) -> Any:
    if name == "Board":
        from app.cli.notebook import Board

        return Board
    raise AttributeError(f"module 'app' has no attribute {name!r}")
