"""What routes are handed: the store, the event hub, and the runs that a query selects."""

from typing import Annotated

from fastapi import Depends, Query, Request

from app.errors import Invalid
from app.store.rows import Run
from app.store.run_store import RunStore
from app.web.events import EventHub


def _store(request: Request) -> RunStore:
    return request.app.state.store  # type: ignore[no-any-return]


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
