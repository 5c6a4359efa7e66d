"""A board from Python, in a notebook or a script: `from app import Board`.

```python
board = Board()                                                   # or Board("http://gpu-box:8000", token="...")
experiment = board.submit(dataset="digits", epochs=8, pooling=["seqpool", "mean"], seed=[0, 1, 2])
experiment.wait()
experiment.comparison()["answer"]
experiment.figure("curves")
```

Whatever is wrong is told by a `UsageError` with what to change, as on the command line.
"""

import time
from collections.abc import Mapping, Sequence
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

import httpx2 as httpx
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.connection import api_client, ask, list_runs, path_of
from app.cli.output import UsageError

if TYPE_CHECKING:
    import plotly.graph_objects as go

LOOK_SECONDS = 0.5
UNFINISHED = ("queued", "running")


class Board:
    """A board at an address, by default that of `CCTBOARD_URL`; its token is that of `CCTBOARD_TOKEN`."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        """Raises `UsageError` for what is no address or no token."""
        self._url, self._token = url, token
        with self._connected() as client:
            self._address = str(client.base_url).rstrip("/")

    def _connected(self) -> httpx.Client:
        # One for each question: a notebook has no end at which a connection would be closed.
        return api_client(self._url, self._token)

    def submit(
        self,
        *,
        name: str = "Experiment",
        priority: int = 0,
        plan: Mapping[str, Any] | None = None,
        tune: Mapping[str, Any] | None = None,
        variants: Sequence[Mapping[str, Any]] = (),
        **fields: Any,
    ) -> "Run | Experiment":
        """Queues a run of these fields of a spec; an experiment if some are lists of values, or with a plan, a search
        of settings or named variants. Raises `UsageError`, and then nothing is queued.
        """
        axes = {field: list(values) for field, values in fields.items() if isinstance(values, list | tuple | range)}
        spec = {field: value for field, value in fields.items() if field not in axes}
        if not axes and not variants and plan is None and tune is None:
            return Run(self, self.ask("POST", "/runs", spec | {"priority": priority}))
        request: dict[str, Any] = {"name": name, "spec": spec, "axes": axes, "priority": priority}
        request |= {"variants": [dict(one) for one in variants]} if variants else {}
        request |= {key: dict(value) for key, value in (("plan", plan), ("tune", tune)) if value is not None}
        return Experiment(self, self.ask("POST", "/experiments", request))

    def experiment(self, experiment_id: str) -> "Experiment":
        """Raises `UsageError` if there is none of this id."""
        return Experiment(self, self.ask("GET", path_of("experiment", experiment_id)))

    def run(self, run_id: str) -> "Run":
        """Raises `UsageError` if there is none of this id."""
        return Run(self, self.ask("GET", path_of("run", run_id)))

    def experiments(self) -> list["Experiment"]:
        """All experiments, newest first."""
        return [Experiment(self, row) for row in self.ask("GET", "/experiments")["experiments"]]

    def runs(self, most: int | None = None, **query: Any) -> list["Run"]:
        """The runs that match, newest first: `board.runs(state="failed", pooling="gem")`."""
        with self._connected() as client:
            return [Run(self, row) for row in list_runs(client, most, **query)["runs"]]

    def poolings(self) -> list[str]:
        """The names of all poolings, the baseline first, those of the user's own last."""
        return [entry["name"] for entry in self.ask("GET", "/catalog")["poolings"]]

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """The API's answer to anything else, which `/docs` of the board tells. Raises `UsageError`."""
        with self._connected() as client:
            return ask(client, method, path, body, params)

    def __repr__(self) -> str:
        return f"Board({self._address!r})"


class _Row:
    """What the board knew of a run or an experiment when it was last asked."""

    _kind: str

    def __init__(self, board: Board, row: dict[str, Any]) -> None:
        self._board = board
        self.row = row
        """All fields, as the API tells them."""

    @property
    def id(self) -> str:
        return str(self.row["id"])

    def refresh(self) -> Self:
        self.row = self._board.ask("GET", path_of(self._kind, self.id))
        return self

    def figure(self, name: str, **options: Any) -> "go.Figure":
        """A Plotly figure of the board: `figure("curves", metric="val_loss")`, `finals`, `differences`, `cost` ..."""
        import plotly.graph_objects as go

        drawn = self._board.ask("GET", f"/figures/{name}", **self._selected(), **options)
        return go.Figure(data=drawn["data"], layout=drawn["layout"])

    def comparison(self, **options: Any) -> dict[str, Any]:
        """Answer, verdicts and numbers, as the API tells them: `comparison(group="pooling,lr")`."""
        found: dict[str, Any] = self._board.ask("GET", "/comparison", **self._selected(), **options)
        return found

    def _selected(self) -> dict[str, str]:
        return {self._kind: self.id}


class Run(_Row):
    """One training of one model with one seed."""

    _kind = "run"

    def wait(self, timeout: float | None = None) -> "Run":
        """Returns when it has ended, with its progress meanwhile. Raises `TimeoutError` after so many seconds."""
        spec = self.row["spec"]
        with _progress() as progress:
            bar = progress.add_task(f"{spec['pooling']}, seed {spec['seed']}", total=max(spec["epochs"], 1))
            for _ in _looks(timeout):
                self.refresh()
                progress.update(bar, completed=self.row["epoch"])
                if self.row["state"] not in UNFINISHED:
                    break
        return self

    def epochs(self) -> Any:
        """What was measured, epoch by epoch: a data frame where pandas is installed, else a list of dictionaries."""
        return _table(self._board.ask("GET", path_of("run", self.id, "epochs")))

    def cancel(self) -> "Run":
        self.row = self._board.ask("POST", path_of("run", self.id, "cancel"))
        return self

    def __repr__(self) -> str:
        spec, top1 = self.row["spec"], self.row["final_top1"]
        reached = "" if top1 is None else f", {top1:.2f} %"
        return f"Run({self.id!r}: {spec['pooling']}, seed {spec['seed']}, {self.row['state']}{reached})"


class Experiment(_Row):
    """A named set of runs."""

    _kind = "experiment"

    def wait(self, timeout: float | None = None) -> "Experiment":
        """Returns when all its runs have ended, and its plan; with the progress meanwhile.

        Raises `TimeoutError` after so many seconds. Nothing on the board ends by it.
        """
        with _progress() as progress:
            bar = progress.add_task(self.row["name"], total=None)
            for _ in _looks(timeout):
                row = self.refresh().row
                progress.update(bar, completed=row["epochs_done"], total=max(row["epochs_total"], 1))
                if not row["queued"] + row["running"] and row["plan_state"] not in ("open", "arriving"):
                    break
        return self

    def runs(self) -> list[Run]:
        """Newest first."""
        return self._board.runs(experiment=self.id, archived="shown")

    def epochs(self) -> Any:
        """As `Run.epochs`, of all runs, with the run's id and what its spec varies in front of each row."""
        rows = []
        for run in reversed(self.runs()):
            front = {"run": run.id, **{name: run.row["spec"][name] for name in ("pooling", *self.row["axes"])}}
            rows += [front | record for record in self._board.ask("GET", path_of("run", run.id, "epochs"))]
        return _table(rows)

    def add_seeds(self, count: int) -> "Experiment":
        self.row = self._board.ask("POST", path_of("experiment", self.id, "runs"), {"seeds": count})
        return self

    def cancel(self) -> "Experiment":
        self.row = self._board.ask("POST", path_of("experiment", self.id, "cancel"))
        return self

    def __repr__(self) -> str:
        row = self.row
        ended = row["completed"] + row["failed"] + row["cancelled"]
        return f"Experiment({self.id!r}: {row['name']}, {ended} of {row['runs']} runs ended)"

    def _repr_html_(self) -> str:
        """The answer and the table, as the board's page shows them."""
        found = self.comparison()
        head = "<tr><th>variant<th>seeds<th>final top-1 (%)<th>difference (points)<th>p</tr>"
        rows = "".join(
            f"<tr><th>{escape(one['variant'])}<td>{one['seeds']}<td>{_stat(one['final'])}<td>"
            + ("baseline" if one["variant"] == found["baseline"] else _stat(one["difference"], signed=True))
            + f"<td>{_p(one['difference'])}</tr>"
            for one in found["variants"]
        )
        name, answer = escape(self.row["name"]), escape(found["answer"])
        return f"<p><strong>{name}</strong>: {answer}</p><table>{head}{rows}</table>"


def _looks(timeout: float | None) -> Any:
    begin = time.monotonic()
    while True:
        yield
        if timeout is not None and time.monotonic() - begin > timeout:
            raise TimeoutError(f"it has not ended within {timeout:g} s; it goes on, and can be waited for again")
        time.sleep(LOOK_SECONDS)


def _progress() -> Progress:
    return Progress(TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())


def _table(rows: Sequence[dict[str, Any]]) -> Any:
    if find_spec("pandas") is None:
        return list(rows)
    import pandas

    return pandas.DataFrame(rows)


def _stat(stat: dict[str, Any] | None, signed: bool = False) -> str:
    if stat is None:
        return "-"
    spread = "" if stat["sd"] is None else f" ± {stat['sd']:.2f}"
    return f"{stat['mean']:{'+' if signed else ''}.2f}{spread}"


def _p(difference: dict[str, Any] | None) -> str:
    value = difference["p_corrected"] if difference else None
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


__all__ = ["Board", "Experiment", "Run", "UsageError"]
