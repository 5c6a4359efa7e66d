"""The `cctboard` command: the same words as the API. Bad input ends with one line and exit code 2."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import httpx2 as httpx
import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.settings import Settings, make_secrets

if TYPE_CHECKING:
    from app.archive import Summary
    from app.store import RunStore

cli = typer.Typer(
    help="Queue, run, watch and compare training runs.", no_args_is_help=True, pretty_exceptions_enable=False
)
console = Console()

Data = Annotated[Path | None, typer.Option(help="Folder of database, datasets and checkpoints. [default: data]")]
Port = Annotated[int, typer.Option(help="Port of the API and the dashboard.", min=1, max=65535)]
Workers = Annotated[int, typer.Option(help="Worker processes; each trains one run at a time.", min=0, max=64)]


class UsageError(Exception):
    """What the user must change, in one line."""


def main() -> None:
    """Entry point: errors that the user can mend are one line and exit code 2."""
    try:
        cli()
    except (UsageError, SettingsError) as error:
        print(f"cctboard: {error}", file=sys.stderr)
        sys.exit(2)
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        wrong = (f"CCTBOARD_{str(part['loc'][0]).upper()}: {part['msg']}" for part in error.errors())
        print(f"cctboard: {'; '.join(wrong)}", file=sys.stderr)
        sys.exit(2)
    except httpx.TransportError as error:
        print(
            f"cctboard: no board answers at {Settings().url} ({error}); start one with `cctboard up`", file=sys.stderr
        )
        sys.exit(2)


@cli.command()
def up(data: Data = None, port: Port = 8000, workers: Workers = 1) -> None:
    """Start database, API, dashboard and worker on this machine; Ctrl-C stops them all."""
    _run_board(data, port, workers, lambda api: None, stay=True)


@cli.command()
def demo(
    data: Data = None,
    port: Port = 8000,
    workers: Workers = 1,
    stay: Annotated[bool, typer.Option(help="Keep the board running when the demo is done.")] = True,
) -> None:
    """Like `up`, and queue the demo experiment, show its progress and its comparison."""
    _run_board(data, port, workers, _run_demo, stay)


@cli.command()
def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """Run the API and the dashboard alone."""
    from app import logs
    from app.main import create_app, serve
    from app.queue import create_queue
    from app.store import RunStore

    settings = Settings()
    if settings.token is None and not _is_loopback(host):
        raise UsageError(f"whoever reaches {host} could use the board; set CCTBOARD_TOKEN, see `cctboard secrets`")
    logs.configure(settings)
    serve(create_app(settings, RunStore(settings), create_queue(settings)), host, port)


@cli.command("secrets")
def secrets_(folder: Annotated[Path, typer.Argument(help="Where CCTBOARD_SECRETS points to.")]) -> None:
    """Make the login token and the database's password, unless they are there; a new token is printed."""
    try:
        token = make_secrets(folder)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from error
    if token:
        print(f"{token}\nis the board's token: enter it on the board's page; the command line reads CCTBOARD_TOKEN")


@cli.command()
def worker() -> None:
    """Run one worker; it trains one run at a time on the GPU, or on the CPU if there is none."""
    Settings()  # says in one line what is wrong with it
    arguments = ["-A", "worker.tasks", "worker", "--pool", "threads", "--concurrency", "1", "--loglevel", "INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    os.execv(sys.executable, [sys.executable, "-m", "celery", "--quiet", *arguments, *quiet])


@cli.command()
def submit(
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE[,VALUE...]", help="Fields of the run's spec.")
    ] = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Name of the experiment, if there is more than one run.")] = "Experiment",
    priority: Annotated[int, typer.Option(help="Higher is trained earlier.", min=-100, max=100)] = 0,
) -> None:
    """Queue a run, or with several values per field an experiment of their product.

    Example: cctboard submit dataset=digits epochs=8 pooling=seqpool,mean seed=0,1,2
    """
    spec: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    for field in fields:
        key, equals, text = field.partition("=")
        if not equals:
            raise UsageError(f"{field!r} is not FIELD=VALUE; for example epochs=20")
        values = [_value(part) for part in text.split(",")]
        if len(values) > 1:
            axes[key] = values
        else:
            spec[key] = values[0]
    with _api() as client:
        if axes:
            request = {"name": name, "spec": spec, "axes": axes, "priority": priority}
            created = _ask(client, "POST", "/experiments", request)
            console.print(f"experiment {created['id']}: {created['runs']} runs queued")
        else:
            created = _ask(client, "POST", "/runs", spec | {"priority": priority})
            console.print(f"run {created['id']} queued")


@cli.command()
def runs(limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=1000)] = 20) -> None:
    """List the newest runs."""
    with _api() as client:
        console.print(_runs_table(_ask(client, "GET", f"/runs?limit={limit}")["runs"]))


@cli.command()
def compare(
    experiment: Annotated[str, typer.Argument(help="Id of the experiment.")],
    group: Annotated[str, typer.Option(help="Spec field whose values are the variants.")] = "pooling",
) -> None:
    """Show an experiment's comparison table."""
    with _api() as client:
        _print_comparison(_ask(client, "GET", "/comparison", params={"experiment": experiment, "group": group}))


@cli.command()
def report(
    experiment: Annotated[str, typer.Argument(help="Id of the experiment.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    group: Annotated[str, typer.Option(help="Spec field whose values are the variants.")] = "pooling",
) -> None:
    """Save an experiment's answer, table and figures as one HTML file."""
    with _api() as client:
        name = _ask(client, "GET", f"/experiments/{experiment}")["name"]
        response = client.get("/report", params={"experiment": experiment, "group": group, "title": name})
        if response.is_error:
            raise UsageError(response.json()["detail"])
    out.write_bytes(response.content)
    console.print(f"{out} written")


@cli.command()
def cancel(run: Annotated[str, typer.Argument(help="Id of the run.")]) -> None:
    """Cancel a queued or running run; what was measured is kept."""
    with _api() as client:
        cancelled = _ask(client, "POST", f"/runs/{run}/cancel")
    console.print(f"run {run} {'is stopping' if cancelled['state'] == 'running' else cancelled['state']}")


@cli.command()
def retry(run: Annotated[str, typer.Argument(help="Id of the run.")]) -> None:
    """Queue a failed or cancelled run again; it goes on from its last checkpoint."""
    with _api() as client:
        _ask(client, "POST", f"/runs/{run}/retry")
    console.print(f"run {run} queued")


@cli.command()
def delete(
    run: Annotated[str, typer.Argument(help="Id of the run.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a run, its measurements and its checkpoints."""
    with _api() as client:
        found = _ask(client, "GET", f"/runs/{run}")
        spec, epoch = found["spec"], found["epoch"]
        what = f"run {run} ({spec['pooling']}, seed {spec['seed']}, {epoch} epochs) and its checkpoints"
        if yes or typer.confirm(f"Delete {what}?"):
            _ask(client, "DELETE", f"/runs/{run}")
            console.print(f"run {run} deleted")


@cli.command()
def pause() -> None:
    """Start no more runs; what runs goes on."""
    with _api() as client:
        queue = _ask(client, "POST", "/queue/pause")
    console.print(f"paused; {len(queue['entries'])} runs wait")


@cli.command()
def resume() -> None:
    """Start queued runs again."""
    with _api() as client:
        queue = _ask(client, "POST", "/queue/resume")
    console.print(f"resumed; {len(queue['entries'])} runs wait")


Archive = Annotated[Path, typer.Argument(help="The archive, a tar file; - for standard output or input.")]


@cli.command()
def backup(archive: Archive, data: Data = None) -> None:
    """Write all runs, measurements and checkpoints to an archive, also while runs are trained."""
    from app.archive import backup

    with _store(data) as (settings, store), archive.open("wb") if str(archive) != "-" else sys.stdout.buffer as target:
        summary = backup(settings, store, target, version("cctboard"))
    print(f"{summary.runs} runs and {summary.experiments} experiments written", file=sys.stderr)


@cli.command()
def restore(archive: Archive, data: Data = None) -> None:
    """Read an archive into an empty board; unfinished runs are queued."""
    from app.archive import restore

    _read_archive(archive, data, restore)


@cli.command("import")
def import_(archive: Archive, data: Data = None) -> None:
    """Add the runs of an archive to this board; unfinished ones arrive as cancelled, retry continues them."""
    from app.archive import import_archive

    _read_archive(archive, data, import_archive)


@cli.command()
def openapi() -> None:
    """Print the API's OpenAPI document."""
    from app.main import create_app
    from app.queue import create_queue
    from app.store import RunStore

    settings = Settings()
    app = create_app(settings, RunStore(settings), create_queue(settings), dashboard=None)
    print(json.dumps(app.openapi(), indent=2))


@contextmanager
def _store(data: Path | None) -> "Iterator[tuple[Settings, RunStore]]":
    """The run store itself, for what is too large for the API: of the settings, or of the board in a data folder."""
    from app.services import ServiceFailed, database
    from app.store import RunStore

    settings = Settings()
    settings = settings.model_copy(update={"data": data or settings.data})
    if settings.names_database:
        yield settings, RunStore(settings)
        return
    try:
        with database(settings.data) as url:
            settings = settings.model_copy(update={"redis_url": url})
            yield settings, RunStore(settings)
    except ServiceFailed as error:
        raise UsageError(str(error)) from error


def _read_archive(archive: Path, data: Path | None, read: "Callable[[Settings, RunStore, IO[bytes]], Summary]") -> None:
    from app.errors import BoardError

    if str(archive) != "-" and not archive.is_file():
        raise UsageError(f"there is no file {archive}")
    with _store(data) as (settings, store), archive.open("rb") if str(archive) != "-" else sys.stdin.buffer as source:
        try:
            summary = read(settings, store, source)
        except BoardError as error:
            raise UsageError(str(error)) from error
    console.print(f"{summary.runs} runs and {summary.experiments} experiments read")
    if summary.skipped:
        console.print(f"{summary.skipped} runs were here already")
    for old, new in summary.renamed.items():
        console.print(f"{old} is {new} here, as its id was taken")
    if summary.unfinished:
        console.print(f"{summary.unfinished} of them were unfinished")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _api(url: str | None = None) -> httpx.Client:
    settings = Settings()
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"} if settings.token else {}
    return httpx.Client(base_url=url or settings.url, headers=headers, timeout=30)


def _ask(client: httpx.Client, method: str, path: str, body: Any = None, params: dict[str, str] | None = None) -> Any:
    response = client.request(method, path, json=body, params=params)
    if response.is_error:
        raise UsageError(response.json()["detail"])
    return response.json() if response.content else None


def _run_board(data: Path | None, port: int, workers: int, then: Callable[[httpx.Client], None], stay: bool) -> None:
    import signal

    from app.services import ServiceFailed, running

    settings = Settings()
    redis_url = str(settings.redis_url) if settings.names_database else None
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs begin with it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with running(data or settings.data, "127.0.0.1", port, workers, redis_url) as services:
            console.print(f"CCT Board is up: [bold]http://localhost:{port}[/bold]  (Ctrl-C stops it)")
            with _api(f"http://127.0.0.1:{port}") as client:
                then(client)
            while stay:
                services.check()
                time.sleep(0.5)
    except ServiceFailed as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        console.print("stopped; unfinished runs continue at the next start")


def _run_demo(client: httpx.Client) -> None:
    """Queues the demo experiment unless one is unfinished, and follows it to its end."""
    request = _ask(client, "GET", "/catalog")["demo"]
    experiments = _ask(client, "GET", "/experiments")["experiments"]
    unfinished = [e for e in experiments if e["name"] == request["name"] and e["queued"] + e["running"]]
    experiment = unfinished[0] if unfinished else _ask(client, "POST", "/experiments", request)
    console.print(
        f"Watch it live: [bold]{str(client.base_url).rstrip('/')}/board/experiments/{experiment['id']}[/bold]"
    )
    with Live(console=console, refresh_per_second=4) as live:
        while experiment["queued"] + experiment["running"]:
            found = _ask(client, "GET", f"/runs?limit=1000&experiment={experiment['id']}")["runs"]
            live.update(_runs_table(found[::-1]))
            time.sleep(0.5)
            experiment = _ask(client, "GET", f"/experiments/{experiment['id']}")
        live.update(_runs_table(_ask(client, "GET", f"/runs?limit=1000&experiment={experiment['id']}")["runs"][::-1]))
    _print_comparison(_ask(client, "GET", "/comparison", params={"experiment": experiment["id"]}))


def _runs_table(found: list[dict[str, Any]]) -> Table:
    table = Table("run", "pooling", "seed", "state", "epoch", "left", "best", "final", box=None, caption=MIXES)
    for column in table.columns:
        column.no_wrap = column.header != "state"
    for run in found:
        within = f" +{100 * run['step'] // run['steps']} %" if run["steps"] else ""
        eta = f"{run['eta_seconds']:.0f} s" if run["eta_seconds"] is not None else ""
        table.add_row(
            run["id"],
            run["spec"]["pooling"] + (" *" if run["mixes_batch"] else ""),
            str(run["spec"]["seed"]),
            run["state"] + (f": {run['error']}" if run["error"] else ""),
            f"{run['epoch']}/{run['spec']['epochs']}{within}",
            eta,
            _percent(run["best_top1"]),
            _percent(run["final_top1"]),
        )
    return table


def _print_comparison(comparison: dict[str, Any]) -> None:
    console.print(_comparison_table(comparison))
    console.print(comparison["answer"])
    for row in comparison["variants"]:
        if row["variant"] != comparison["baseline"]:
            console.print(f"- {row['verdict']}")


def _comparison_table(comparison: dict[str, Any]) -> Table:
    table = Table(
        "variant", "seeds", "best", "final", "minutes", f"difference to {comparison['baseline']}", title="Comparison"
    )
    for row in comparison["variants"]:
        table.add_row(
            row["variant"] + (" *" if row["mixes_batch"] else ""),
            str(row["seeds"]),
            _stat(row["best"], " %"),
            _stat(row["final"], " %"),
            _stat(row["minutes"]),
            "baseline"
            if row["variant"] == comparison["baseline"]
            else _stat(row["difference"], " points", signed=True),
        )
    for reference in comparison["references"]:
        table.add_row(
            f"{reference['label']}: {reference['model']}, {reference['pooling']}", "", "", _percent(reference["top1"])
        )
    return table


MIXES = "* mixes the batch: an image's output depends on its batch-mates"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} %"


def _stat(stat: dict[str, Any] | None, unit: str = "", signed: bool = False) -> str:
    if stat is None:
        return "-"
    mean = f"{stat['mean']:{'+' if signed else ''}.2f}"
    spread = "" if stat["sd"] is None else f" ± {stat['sd']:.2f}"
    return mean + spread + unit


if __name__ == "__main__":
    main()
