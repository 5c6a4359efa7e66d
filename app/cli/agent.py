"""A board for agents: an MCP server over standard input and output, `cctboard mcp`.

It only reads unless it was started with `--write`. Tools return what the API tells, shortened to what a decision needs;
what is wrong is told in the same words as on the command line.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from app.cli.notebook import Board
from app.cli.output import UsageError

P = ParamSpec("P")
T = TypeVar("T")

INSTRUCTIONS = """CCT Board queues, runs and compares trainings of Compact Convolutional Transformers, to find out which
pooling works. Begin with list_choices. Compare variants with several seeds (three at least); an experiment's comparison
says what may be claimed and how sure that is. Poolings of the user's own are Python files in the folder that
list_poolings names: after a file was saved, have it checked before anything is queued."""

_OF_RUN = ("id", "state", "epoch", "final_top1", "test_top1", "best_top1", "error", "external")
_OF_EXPERIMENT = ("id", "name", "runs", "queued", "running", "completed", "failed", "cancelled", "plan_state", "note")
_OF_VARIANT = ("variant", "seeds", "final", "test", "difference", "outcome", "verdict", "mixes_batch")
CURVE_POINTS = 40


def server(board: Board, may_write: bool) -> MCPServer:
    """The server with its tools."""
    mcp = MCPServer("CCT Board", instructions=INSTRUCTIONS)
    _add_reading(mcp, board)
    if may_write:
        _add_writing(mcp, board)
    return mcp


def _add_reading(mcp: MCPServer, board: Board) -> None:
    @_tool(mcp)
    def list_choices() -> dict[str, Any]:
        """Models, datasets and recipes by name, and the fields of a run's spec with their defaults."""
        catalog = board.ask("GET", "/catalog")
        fields = catalog["spec_schema"]["properties"]
        return {
            "models": [one["name"] for one in catalog["models"]],
            "datasets": {one["name"]: one["title"] for one in catalog["datasets"]},
            "recipes": {one["name"]: one["title"] for one in catalog["recipes"]},
            "fields": {name: _pick(field, "default", "description") for name, field in fields.items()},
        }

    @_tool(mcp)
    def list_poolings() -> dict[str, Any]:
        """All poolings with their formulas, the folder of the user's own, and files there that cannot be used."""
        catalog = board.ask("GET", "/catalog")
        return {
            "poolings": [_pick(one, "name", "full_name", "formula", "summary", "file") for one in catalog["poolings"]],
            "folder": catalog["poolings_folder"],
            "broken": catalog["broken_poolings"],
        }

    @_tool(mcp)
    def read_pooling(name: str) -> dict[str, Any]:
        """A pooling's code, and what a worker has found out about it."""
        found: dict[str, Any] = board.ask("GET", f"/poolings/{name}")
        return found

    @_tool(mcp)
    def preview(spec: dict[str, Any], axes: dict[str, list[Any]] | None = None) -> dict[str, Any]:
        """What an experiment would queue: runs, seconds on one worker, parameters, warnings. Queues nothing."""
        found: dict[str, Any] = board.ask("POST", "/experiments/preview", {"spec": spec, "axes": axes or {}})
        return found

    @_tool(mcp)
    def list_experiments() -> list[dict[str, Any]]:
        """All experiments, newest first, with how far they are."""
        return [_pick(one.row, *_OF_EXPERIMENT) for one in board.experiments()]

    @_tool(mcp)
    def progress(experiment: str) -> dict[str, Any]:
        """How far an experiment is, with each of its runs."""
        found = board.experiment(experiment)
        runs = [
            _pick(run.row, *_OF_RUN) | _pick(run.row["spec"], "pooling", "seed", *found.row["axes"])
            for run in found.runs()
        ]
        return _pick(found.row, *_OF_EXPERIMENT) | {"each": runs}

    @_tool(mcp)
    def comparison(experiment: str, group: str | None = None) -> dict[str, Any]:
        """The answer, and for each variant its result, its difference to the baseline and what may be claimed."""
        found = board.experiment(experiment).comparison(**({"group": group} if group else {}))
        rows = [_pick(row, *_OF_VARIANT) for row in found["variants"]]
        return _pick(found, "answer", "baseline", "measure", "validated", "doubts", "fairness") | {"variants": rows}

    @_tool(mcp)
    def curve(run: str, metric: str = "val_top1") -> list[list[float]]:
        """A metric of a run over its epochs, as pairs of epoch and value, thinned out to some 40."""
        records = [one for one in board.ask("GET", f"/runs/{board.run(run).id}/epochs") if one.get(metric) is not None]
        every = max(1, len(records) // CURVE_POINTS)
        return [[one["epoch"], one[metric]] for one in [*records[::every], *records[-1:]]]

    @_tool(mcp)
    def log(run: str) -> str:
        """The last lines that a run's trainer printed."""
        lines = board.ask("GET", f"/runs/{board.run(run).id}/log")["lines"]
        return "\n".join(line["text"] for line in lines[-60:])


def _add_writing(mcp: MCPServer, board: Board) -> None:
    @_tool(mcp)
    def check_pooling(name: str) -> dict[str, Any]:
        """Has a worker try a pooling of the user's own, in seconds; read_pooling tells what it finds."""
        found: dict[str, Any] = board.ask("POST", f"/poolings/{name}/check")
        return _pick(found, "name", "check")

    @_tool(mcp)
    def submit(
        name: str, spec: dict[str, Any], axes: dict[str, list[Any]], plan: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Queues an experiment: a run for each combination of the axes' values, such as {"pooling": [...], "seed":
        [0, 1, 2]}. With a plan, such as {}, seeds are queued until the answer is known; the axes then vary no seed."""
        fields: dict[str, Any] = {**spec, **axes}
        return _pick(board.submit(name=name, plan=plan, **fields).row, *_OF_EXPERIMENT)

    @_tool(mcp)
    def cancel(experiment: str) -> dict[str, Any]:
        """Cancels what is unfinished of an experiment."""
        return _pick(board.experiment(experiment).cancel().row, *_OF_EXPERIMENT)


def _tool(mcp: MCPServer) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes a function a tool, which says what is wrong in the board's words."""

    def add(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def tool(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except UsageError as error:
                raise ToolError(str(error)) from error

        mcp.tool()(tool)
        return tool

    return add


def _pick(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names if name in row}
