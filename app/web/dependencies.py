"""What routes are handed: the store, the event hub, and the runs that a query selects."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Header, Query, Request

from app.errors import Invalid
from app.limits import AUTHOR_HEADER, AUTHOR_LENGTH
from app.store.rows import Run
from app.store.run_store import RunStore
from app.web.events import EventHub


def _author(
    cctboard_user: Annotated[str, Header(alias=AUTHOR_HEADER, include_in_schema=False)] = "",
) -> str:
    """Headers hold no more than ASCII, so the name is percent-encoded UTF-8."""
    author = unquote(cctboard_user, errors="replace").strip()
    if len(author) > AUTHOR_LENGTH or not author.isprintable():
        raise Invalid(AUTHOR_HEADER, f"is no name; use at most {AUTHOR_LENGTH} characters in one line")
    return author


def _store(request: Request, author: Annotated[str, Depends(_author)]) -> RunStore:
    """The store for whoever asks."""
    store: RunStore = request.app.state.store
    return store.by(author)


def _hub(request: Request) -> EventHub:
    return request.app.state.hub  # type: ignore[no-any-return]


Store = Annotated[RunStore, Depends(_store)]
Hub = Annotated[EventHub, Depends(_hub)]


def _selected_runs(
    store: Store,
    experiment: Annotated[str | None, Query(description="All runs of this experiment")] = None,
    run: Annotated[list[str], Query(description="These runs")] = [],  # noqa: B006
) -> list[Run]:
    if (experiment is None) == (not run):
        raise Invalid("experiment", "name either one experiment or one or more runs")
    return store.experiment_runs(experiment) if experiment is not None else store.runs_by_id(dict.fromkeys(run))


SelectedRuns = Annotated[list[Run], Depends(_selected_runs)]
