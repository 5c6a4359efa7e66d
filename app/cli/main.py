"""The `cctboard` command: the same words as the API. Bad input ends with one line and exit code 2.

Here are the commands that start the board's processes or read its data; those that talk to its API are in `client.py`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import httpx2 as httpx
import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.live import Live

from app.cli.client import UsageError, api_client, ask, commands, console, print_comparison, runs_table
from app.settings import Settings, make_secrets
from cct.whole_file import whole_file

if TYPE_CHECKING:
    from app.store.archive import Summary
    from app.store.run_store import RunStore

cli = typer.Typer(
    help="Queue, run, watch and compare training runs.", no_args_is_help=True, pretty_exceptions_enable=False
)
cli.add_typer(commands)

Data = Annotated[Path | None, typer.Option(help="Folder of database, datasets and checkpoints. [default: data]")]
Port = Annotated[int, typer.Option(help="Port of the API and the dashboard.", min=1, max=65535)]
Workers = Annotated[int, typer.Option(help="Worker processes.", min=0, max=64)]
Slots = Annotated[
    str | None,
    typer.Option(help="Runs that a worker trains at the same time, or auto: measured when it starts. [default: 1]"),
]


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
def up(data: Data = None, port: Port = 8000, workers: Workers = 1, slots: Slots = None) -> None:
    """Start database, API, dashboard and worker on this machine; Ctrl-C stops them all."""
    _set_slots(slots)
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
    from app.queue import create_queue, wake_workers
    from app.store.run_store import RunStore
    from app.web.main import create_app, serve

    settings = Settings()
    if settings.token is None and not _is_loopback(host):
        raise UsageError(f"whoever reaches {host} could use the board; set CCTBOARD_TOKEN, see `cctboard secrets`")
    logs.configure(settings)
    store = RunStore(settings, wake=partial(wake_workers, create_queue(settings)))
    serve(create_app(settings, store), host, port)


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
def worker(
    data: Data = None,
    slots: Slots = None,
    measure_slots: Annotated[bool, typer.Option(help="Only measure how many slots are best here.")] = False,
) -> None:
    """Run one worker; it trains on the GPU, or on the CPU if there is none.

    It works for the database that the settings name, else for the board that runs with this data folder.
    """
    from app.cli.services import running_database

    _set_slots(slots)
    settings = Settings()
    folder = data or settings.data
    os.environ["CCTBOARD_DATA"] = str(folder)
    if not settings.names_database and (url := running_database(folder)):
        os.environ["CCTBOARD_REDIS_URL"] = url
    count = settings.slots
    if measure_slots or count == "auto":
        then = [] if measure_slots else [sys.executable, "-m", "app.cli", "worker"]
        os.execv(sys.executable, [sys.executable, "-m", "worker.slots", *then])
    pool = ["--pool", "threads", "--concurrency", str(count)]
    arguments = ["-A", "worker.tasks", "worker", *pool, "--loglevel", "INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    os.execv(sys.executable, [sys.executable, "-m", "celery", "--quiet", *arguments, *quiet])


Archive = Annotated[Path, typer.Argument(help="The archive, a tar file; - for standard output or input.")]


@cli.command()
def backup(archive: Archive, data: Data = None) -> None:
    """Write all runs, measurements and checkpoints to an archive, also while runs are trained."""
    from app.store.archive import backup

    with _store(data) as (settings, store):
        try:
            with whole_file(archive) if str(archive) != "-" else sys.stdout.buffer as target:
                summary = backup(settings, store, target, version("cctboard"))
        except OSError as error:
            raise UsageError(f"{error.filename or archive}: {error.strerror}") from error
    print(f"{summary.runs} runs and {summary.experiments} experiments written", file=sys.stderr)


@cli.command()
def restore(archive: Archive, data: Data = None) -> None:
    """Read an archive into an empty board; unfinished runs are queued."""
    from app.store.archive import restore

    _read_archive(archive, data, restore)


@cli.command("import")
def import_(archive: Archive, data: Data = None) -> None:
    """Add the runs of an archive to this board; unfinished ones arrive as cancelled, retry continues them."""
    from app.store.archive import import_archive

    _read_archive(archive, data, import_archive)


@cli.command()
def openapi() -> None:
    """Print the API's OpenAPI document."""
    from app.store.run_store import RunStore
    from app.web.main import create_app

    settings = Settings()
    app = create_app(settings, RunStore(settings), dashboard=None)
    print(json.dumps(app.openapi(), indent=2))


@contextmanager
def _store(data: Path | None) -> "Iterator[tuple[Settings, RunStore]]":
    """The run store itself, for what is too large for the API: of the settings, or of the board in a data folder."""
    from app.cli.services import ServiceFailed, database
    from app.store.run_store import RunStore

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
        except OSError as error:
            reason = f"{error.filename or settings.data}: {error.strerror}"
            raise UsageError(f"{reason}; nothing of the archive was kept") from error
    console.print(f"{summary.runs} runs and {summary.experiments} experiments read")
    if summary.skipped:
        console.print(f"{summary.skipped} runs were here already")
    if summary.completed:
        console.print(f"{summary.completed} of those got checkpoints that they lacked")
    for old, new in summary.renamed.items():
        console.print(f"{old} is {new} here, as its id was taken")
    if summary.unfinished:
        console.print(f"{summary.unfinished} of them were unfinished")


def _set_slots(slots: str | None) -> None:
    """The option is the setting, for this process and those it starts."""
    if slots is not None:
        os.environ["CCTBOARD_SLOTS"] = slots
    Settings()  # says in one line what is wrong with it


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _run_board(data: Path | None, port: int, workers: int, then: Callable[[httpx.Client], None], stay: bool) -> None:
    import signal

    from app.cli.services import ServiceFailed, running

    settings = Settings()
    redis_url = str(settings.redis_url) if settings.names_database else None
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs begin with it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with running(data or settings.data, "127.0.0.1", port, workers, redis_url) as services:
            console.print(f"CCT Board is up: [bold]http://localhost:{port}[/bold]  (Ctrl-C stops it)")
            with api_client(f"http://127.0.0.1:{port}") as client:
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
    request = ask(client, "GET", "/catalog")["demo"]
    experiments = ask(client, "GET", "/experiments")["experiments"]
    unfinished = [e for e in experiments if e["name"] == request["name"] and e["queued"] + e["running"]]
    experiment = unfinished[0] if unfinished else ask(client, "POST", "/experiments", request)
    console.print(
        f"Watch it live: [bold]{str(client.base_url).rstrip('/')}/board/experiments/{experiment['id']}[/bold]"
    )
    with Live(console=console, refresh_per_second=4) as live:
        while experiment["queued"] + experiment["running"]:
            found = ask(client, "GET", f"/runs?limit=1000&experiment={experiment['id']}")["runs"]
            live.update(runs_table(found[::-1]))
            time.sleep(0.5)
            experiment = ask(client, "GET", f"/experiments/{experiment['id']}")
        live.update(runs_table(ask(client, "GET", f"/runs?limit=1000&experiment={experiment['id']}")["runs"][::-1]))
    print_comparison(ask(client, "GET", "/comparison", params={"experiment": experiment["id"]}))
