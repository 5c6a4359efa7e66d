"""The `cctboard` command: the same words as the API. Bad input ends with one line and exit code 2.

Here are the commands that start the board's processes; those that talk to its API are in `client.py`, those for own
poolings in `poolings.py`, for results from elsewhere in `results.py`, those that read or write a board as a whole in
`archives.py`.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from io import TextIOWrapper
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, NoReturn, cast

import httpx2 as httpx
import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from app.cli import archives, client, poolings, results
from app.cli.client import follow, print_comparison
from app.cli.connection import api_client, ask
from app.cli.output import Data, UsageError, one_line, say, visible
from app.settings import Settings, make_secrets

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
cli.add_typer(archives.commands)
cli.add_typer(client.commands)
cli.add_typer(poolings.commands)
cli.add_typer(results.commands)

Follow = Callable[[httpx.Client, threading.Event], None]
"""What is done with a board that runs, until the event asks for the end."""

Port = Annotated[int, typer.Option(help="Port of the API and the dashboard.", min=1, max=65535)]
Workers = Annotated[int, typer.Option(help="Worker processes.", min=0, max=64)]
Slots = Annotated[
    str | None,
    typer.Option(
        help="Runs that a worker trains at the same time, or auto: measured when it starts.", show_default="1"
    ),
]


def main() -> None:
    """Entry point: errors that the user can mend are one line and exit code 2."""
    cast(TextIOWrapper, sys.stdout).reconfigure(errors="backslashreplace")  # not every terminal has all characters
    try:
        code = cli(prog_name="cctboard", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        _end(_mistake(error))
    except typer.Abort:
        _end("nothing was changed, as nobody has agreed; --yes does not ask")
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        _end("; ".join(f"CCTBOARD_{str(part['loc'][0]).upper()}: {part['msg']}" for part in error.errors()))
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of the output cannot be written
        _end(f"{error.filename or 'standard output'}: {error.strerror}")
    except (UsageError, SettingsError) as error:
        _end(str(error))
    sys.exit(code)


def _mistake(error: typer.TyperException) -> str:
    """What is wrong with the command line, on one line; of `cctboard` alone nothing, as its help was shown."""
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    return f"{message}; see `{context.command_path} --help`" if context and message else message


def _end(message: str) -> NoReturn:
    if message:
        print(f"cctboard: {visible(message)}", file=sys.stderr)
    sys.exit(2)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        print(f"cctboard {version('cctboard')}")
        raise typer.Exit


@cli.callback()
def options(
    is_version_asked: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Queue, run, watch and compare training runs."""


@cli.command()
def up(data: Data = None, port: Port = 8000, workers: Workers = 1, slots: Slots = None) -> None:
    """Start database, API, dashboard and worker on this machine; Ctrl-C stops them all."""
    _set_slots(slots)
    from app.cli.speed import tell_speed

    _run_board(data, port, workers, tell_speed if workers else _do_nothing, stay=True)


DEMO_SLOTS = "2"
"""Its model is too small for more than one core."""


@cli.command()
def demo(
    data: Data = None,
    port: Port = 8000,
    workers: Workers = 1,
    stay: Annotated[bool, typer.Option(help="Keep the board running when the demo is done.")] = True,
) -> None:
    """Like `up`, and queue the demo experiment, show its progress and its comparison."""
    _set_slots(DEMO_SLOTS)
    _run_board(data, port, workers, _run_demo, stay)


@cli.command()
def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    processes: Annotated[
        int, typer.Option(min=1, max=32, help="Processes that share the load, as one uses one core only.")
    ] = 1,
    listener: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the API and the dashboard alone."""
    from app import logs
    from app.cli import api_processes
    from app.cli.services import check_port
    from app.queue import create_queue, wake_workers
    from app.store.run_store import RunStore
    from app.web.main import create_app, serve

    settings = Settings()
    if settings.token is None and not _is_loopback(host):
        raise UsageError(f"whoever reaches {host} could use the board; set CCTBOARD_TOKEN, see `cctboard secrets`")
    if listener is None:
        with one_line():
            check_port(host, port)
        _check_folder(settings)
        if processes > 1:
            sys.exit(api_processes.serve(host, port, processes))
    if "url" not in settings.model_fields_set:  # the webhook's links lead there
        settings = settings.model_copy(update={"url": f"http://localhost:{port}"})
    logs.configure(settings)
    store = RunStore(settings, wake=partial(wake_workers, create_queue(settings)))
    serve(create_app(settings, store), host, port, listener)


@cli.command("secrets")
def secrets_(folder: Annotated[Path, typer.Argument(help="Where CCTBOARD_SECRETS points to.")]) -> None:
    """Make the login token and the database's password, unless they are there; a new token is printed."""
    try:
        token = make_secrets(folder)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; name a folder that can be written") from error
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
    from app.cli.database import FOLDER, running_database

    _set_slots(slots)
    _check_training()
    settings = Settings()
    folder = data or settings.data
    os.environ["CCTBOARD_DATA"] = str(folder)
    if not settings.names_database:
        with one_line():
            url = running_database(folder)
        if url:
            os.environ["CCTBOARD_REDIS_URL"] = url
        elif (folder / FOLDER).exists():
            raise UsageError(
                f"no board runs with the data folder {folder}; start one with `cctboard up`, or name a database in "
                "CCTBOARD_REDIS_URL"
            )
    _check_folder(Settings())
    count = settings.slots
    if measure_slots or count == "auto":
        then = [] if measure_slots else [sys.executable, "-m", "app.cli", "worker"]
        os.execv(sys.executable, [sys.executable, "-m", "worker.slots", *then])
    pool = ["--pool", "threads", "--concurrency", str(count)]
    arguments = ["-A", "worker.tasks", "worker", *pool, "--loglevel", "INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    os.execv(sys.executable, [sys.executable, "-m", "celery", "--quiet", *arguments, *quiet])


@cli.command()
def repair(data: Data = None, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Make a damaged database of a data folder start again, without what cannot be read; a copy is kept."""
    from app.cli.append_only_file import find_damage, has_lost_manifest, make_manifest
    from app.cli.data_folder import opened, usable
    from app.cli.database import FOLDER

    folder = (data or Settings().data).resolve()
    if not (folder / FOLDER).is_dir():
        raise UsageError(f"{folder} has no database")
    with one_line(), opened(folder, "a repair"), usable(folder):
        if has_lost_manifest(folder / FOLDER):
            if not make_manifest(folder / FOLDER):
                raise UsageError(
                    f"{folder / FOLDER} does not tell which of its files belong together; restore a backup"
                )
            say("the file that names the database's files was made anew")
        if (damage := find_damage(folder / FOLDER)) is None:
            say("the database's files of writes are whole")
            return
        say(str(damage))
        if yes or typer.confirm("Go on without that?"):
            say(f"{damage.file} was cut; as it was it is kept in {damage.mend()}")


@cli.command()
def mcp(
    write: Annotated[bool, typer.Option("--write", help="Also check, queue and cancel; without it only read.")] = False,
) -> None:
    """Serve a board to agents: the Model Context Protocol over standard input and output."""
    if find_spec("mcp") is None:
        raise UsageError("the package mcp is not installed; install cctboard[mcp]")
    from app.cli.agent import server
    from app.cli.notebook import Board

    server(Board(), write).run()


@cli.command()
def openapi() -> None:
    """Print the API's OpenAPI document."""
    from app.store.run_store import RunStore
    from app.web.main import create_app

    settings = Settings()
    app = create_app(settings, RunStore(settings), dashboard=None)
    print(json.dumps(app.openapi(), indent=2))


def _check_folder(settings: Settings) -> None:
    """Raises `UsageError` if the data folder is another board's. Of a database that is away, workers ask it later."""
    from redis.exceptions import RedisError

    from app.store.board import check_folder
    from app.store.run_store import RunStore

    try:
        with one_line(), suppress(RedisError):
            check_folder(RunStore(settings), settings.data)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from error


def _set_slots(slots: str | None) -> None:
    """The option is the setting, for this process and those it starts."""
    if slots is not None:
        os.environ["CCTBOARD_SLOTS"] = slots
    Settings()  # says in one line what is wrong with it


def _check_training() -> None:
    """A board without workers needs no PyTorch, so the package can be installed without."""
    if find_spec("torch") is None:
        raise UsageError("training needs PyTorch, which is not installed; install cctboard[train], or use --workers 0")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _run_board(data: Path | None, port: int, workers: int, then: Follow, stay: bool) -> None:
    from app.cli.board import running
    from app.cli.data_folder import StopAsked

    if workers:
        _check_training()
    settings = Settings()
    redis_url = str(settings.redis_url) if settings.names_database else None
    stop_asked = _stop_signals()
    board = running(data or settings.data, "127.0.0.1", port, workers, redis_url, stop_asked)
    with suppress(StopAsked), one_line(), board as services:
        _say(f"CCT Board is up: http://localhost:{port}  (Ctrl-C stops it)")
        with api_client(f"http://127.0.0.1:{port}") as client:
            then(client, stop_asked)
        while stay and not stop_asked.wait(0.5):
            services.check()
        _say("stopping ...")
    if stop_asked.is_set():
        _say("stopped; unfinished runs continue at the next start")


def _do_nothing(client: httpx.Client, stop_asked: threading.Event) -> None:
    pass


def _say(line: str) -> None:
    """Prints, also to a terminal that may have been closed."""
    with suppress(OSError):
        say(line)


def _stop_signals() -> threading.Event:
    """Set by Ctrl-C, SIGTERM and the terminal's end, once or often: none of them interrupts what is being done, as an
    interrupted start or stop would leave processes behind."""
    stop_asked = threading.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]  # SIGINT too: a shell's background jobs begin with it ignored
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda *_: stop_asked.set())
    return stop_asked


def _run_demo(client: httpx.Client, stop_asked: threading.Event) -> None:
    """Queues the demo experiment unless one is unfinished, and follows it to its end."""
    request = ask(client, "GET", "/catalog")["demo"]
    experiments = ask(client, "GET", "/experiments")["experiments"]
    unfinished = [e for e in experiments if e["name"] == request["name"] and e["queued"] + e["running"]]
    experiment = unfinished[0] if unfinished else ask(client, "POST", "/experiments", request)
    page = f"{str(client.base_url).rstrip('/')}/board/experiments/{experiment['id']}"
    say(f"Watch it live: {page}")
    follow(client, experiment, stop_asked)
    if not stop_asked.is_set():
        print_comparison(ask(client, "GET", "/comparison", params={"experiment": experiment["id"]}))
        say(f"Next: open {page} for curves and for what each pooling looks at; there, New run asks a question of yours")
