"""What the run store is compared with: runs and their queue, as simple as they can be said."""

from collections import defaultdict
from dataclasses import dataclass

from app.store.lease import Lease
from app.store.plan import PlanState
from app.store.rows import State


@dataclass
class ModelRun:
    id: str
    arrival: int
    experiment: str | None
    epochs: int
    priority: int
    state: State = State.queued
    epoch: int = 0
    attempt: int = 0
    losses: int = 0
    lease: Lease | None = None
    cancelling: bool = False
    retries: int = 0
    """By its plan."""
    unneeded: bool = False
    """By its plan, which has cancelled it."""


@dataclass
class ModelPlan:
    max_seeds: int
    state: PlanState = "open"
    deleted: int = 0
    """How many of its runs were."""


class ModelQueue:
    """By priority. Within a priority every experiment has a line, and in each turn the first of every line is served.

    A new line begins at the turn after the one now served, so that nobody pays for having had no work; whoever leaves a
    line lets those behind move up; what a worker gave back is served before all others of its priority.
    """

    def __init__(self) -> None:
        self.lines: dict[tuple[int, str | None], list[ModelRun]] = {}
        self.turns: dict[tuple[int, str | None], int] = {}
        """When the first of each line is served."""
        self.returned: dict[str, tuple[int, float, int]] = {}
        self.served: dict[int, int] = defaultdict(int)

    def order(self) -> list[str]:
        places = dict(self.returned)
        for share, line in self.lines.items():
            for turn, run in enumerate(line, start=self.turns[share]):
                places[run.id] = (-share[0], turn, run.arrival)
        return sorted(places, key=lambda run_id: places[run_id])

    def join(self, run: ModelRun) -> None:
        share = run.priority, run.experiment
        if share not in self.lines:
            self.lines[share], self.turns[share] = [], self.served[run.priority] + 1
        self.lines[share].append(run)

    def give_back(self, run: ModelRun) -> None:
        self.returned[run.id] = (-run.priority, self.served[run.priority] - 0.5, run.arrival)

    def leave(self, run: ModelRun) -> None:
        self.returned.pop(run.id, None)
        lines = {share: [other for other in line if other is not run] for share, line in self.lines.items()}
        self.lines = {share: line for share, line in lines.items() if line}

    def next(self) -> str:
        run_id = self.order()[0]
        for share, line in self.lines.items():
            if line[0].id == run_id:
                self.served[share[0]] = self.turns[share]
                self.turns[share] += 1
                self.leave(line[0])
                break
        else:
            del self.returned[run_id]
        if not self.order():
            self.served.clear()
        return run_id
