"""The errors that a user can cause or meet."""


class BoardError(Exception):
    """Base of all errors that are told to the user; `str(error)` says what is wrong and what to do."""

    status = 500
    title = "Error"


class NotFound(BoardError):
    status = 404
    title = "Not found"

    def __init__(self, kind: str, name: str, why: str = "") -> None:
        super().__init__(f"there is no {kind} {name!r}{f'; {why}' if why else ''}")


class Conflict(BoardError):
    """What was asked for does not fit the present state; `str(error)` names that state."""

    status = 409
    title = "Conflict"


class Invalid(BoardError):
    """A request that asks for something impossible; `field` is the dotted path of what to change."""

    status = 422
    title = "Invalid request"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class Unreadable(BoardError):
    """A stored row that this version cannot read: a newer version wrote it, or it is damaged."""

    status = 500
    title = "Unreadable row"

    def __init__(self, kind: str, row_id: str, why: str) -> None:
        way_out = f", or `cctboard delete {row_id}`" if kind == "run" else ""
        super().__init__(
            f"this version cannot read the stored {kind} {row_id!r} ({why}): a newer version wrote it, or it is "
            f"damaged; start the newer version or restore a backup{way_out}"
        )


class LeaseLost(Exception):
    """The caller may no longer train or write this run: its lease expired and the run belongs to someone else."""
