"""How long the data of a chart that compares runs takes over HTTP: this board and others, in turns, on one machine.

Each board gets the same 20 runs of 200 epochs (then 100), is started as its documentation says, and is asked what its
page asks for a chart of one metric of all runs, with the `Accept-Encoding` of Chromium. This board answers with the
drawn figure (a line per run, mean and band per variant), others with points that their page has yet to draw. Others are
installed from PyPI into virtual environments below `--cache` (`--peers` without names: none). A round asks each board
`--requests` times; p50 is the median of the rounds' medians, CPU what the server used per chart, its database included.
Drawing in the browser is not part of it.
Target for 20 runs: p50 <= 10 ms. Run: `python benchmarks/compare_chart.py`.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from urllib.parse import urlencode

import psutil
from peers import EPOCHS, METRIC, PEERS, Request, top1
from pydantic import RedisDsn

from app.cli.board import running
from app.cli.services import free_port
from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore
from cct.events import EpochRecord
from cct.spec import RunSpec

POOLINGS = ("seqpool", "seqpool_softmax_tokens", "seqpool_softmax_batch", "mean", "max")
RECORD = EpochRecord(
    epoch=1,
    train_loss=2.0,
    train_top1=30.0,
    val_loss=1.5,
    val_top1=50.5,
    val_top5=90.0,
    lr=0.001,
    seconds=2.0,
    images_per_second=700.0,
    peak_memory_bytes=10**9,
)
START_SECONDS = 90


class NoAnswer(Exception):
    """Why a board takes no part."""


@dataclass
class Board:
    name: str
    port: int
    processes: Callable[[], list[psutil.Process]]
    """Of the server, its database included."""
    fill: Callable[[int, int], list[str]]
    """Adds runs from one number to another; their ids."""
    ask: Callable[[Sequence[str]], list[Request]]
    points: Callable[[bytes], int]
    ids: list[str] = field(default_factory=list)
    first_answer: float = 0.0
    """Milliseconds, of the first one with all runs."""

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def cpu_seconds(self) -> float:
        """Used so far."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self.processes()))


def answer(connection: http.client.HTTPConnection, request: Request, encodings: str) -> http.client.HTTPResponse:
    headers = {"Accept-Encoding": encodings, **request.headers}
    connection.request("POST" if request.body is not None else "GET", request.path, request.body, headers)
    return connection.getresponse()


def milliseconds(connection: http.client.HTTPConnection, requests: Sequence[Request], encodings: str) -> float:
    """Until the last byte of the last answer, compressed as it comes: browsers decompress in a thread of their own."""
    began = time.perf_counter()
    for request in requests:
        response = answer(connection, request, encodings)
        response.read()
        if response.status != 200:
            raise NoAnswer(f"it answers {response.status} to {request.path[:80]}")
    return 1000 * (time.perf_counter() - began)


def wait_until_complete(board: Board) -> float:
    """A server may still be starting, and find new runs only after seconds. Milliseconds of its first full answer."""
    wanted = len(board.ids) * EPOCHS
    deadline, what = time.monotonic() + START_SECONDS, "nothing listens"
    while time.monotonic() < deadline:
        connection = board.connect()
        try:
            found, began = 0, time.perf_counter()
            for request in board.ask(board.ids):
                response = answer(connection, request, "identity")
                body = response.read()
                found += board.points(body)
                what = f"status {response.status}, {found} of {wanted} points: {body[:200]!r}"
            if found >= wanted:
                return 1000 * (time.perf_counter() - began)
        except OSError:
            pass
        except http.client.HTTPException as error:
            what = repr(error)
        finally:
            connection.close()
        time.sleep(0.5)
    raise NoAnswer(f"no complete answer within {START_SECONDS} s: {what}")


@contextmanager
def ours(folder: Path) -> Iterator[Board]:
    port = free_port()
    with running(folder, "127.0.0.1", port, workers=0, redis_url=None) as services:
        store = RunStore(Settings(redis_url=RedisDsn(services.redis_url)))
        experiments: list[str] = []

        def fill(first: int, count: int) -> list[str]:
            specs = [
                RunSpec(seed=number // 5, epochs=EPOCHS, pooling=POOLINGS[number % 5]) for number in range(first, count)
            ]
            given = asdict(RunSpec(epochs=EPOCHS)), {"pooling": list(POOLINGS)}, specs
            if experiments:
                store.add_runs(experiments[0], *given)
            else:
                experiments.append(store.create_experiment("benchmark", *given).id)
            ids = []
            for number in range(first, count):
                lease = store.claim("benchmark")
                assert lease is not None
                for epoch in range(1, EPOCHS + 1):
                    record = replace(RECORD, epoch=epoch, val_top1=top1(number, epoch), seconds=2 + number / 100)
                    lease.record_epoch(record)
                lease.release(State.completed)
                ids.append(lease.run_id)
            return ids

        def ask(ids: Sequence[str]) -> list[Request]:
            """What the page of an experiment asks."""
            query = {"experiment": experiments[0], "metric": METRIC, "group": "pooling", "theme": "light"}
            options = {"x": "epoch", "band": "sd", "smoothing": 0, "log_y": "false"}
            return [Request(f"/figures/curves?{urlencode(query | options)}")]

        def points(body: bytes) -> int:
            return sum(len(trace["y"]) for trace in json.loads(body)["data"] if "run_id" in trace.get("meta", ()))

        processes = [psutil.Process(services.process_id(name)) for name in ("api", "valkey")]
        yield Board(f"this board {version('cctboard')}", port, lambda: processes, fill, ask, points)


@contextmanager
def peer(name: str, cache: Path, folder: Path) -> Iterator[Board]:
    programs = cache / name / "bin"
    if not (programs / "installed").exists():
        print(f"installing {name} into {cache / name}", file=sys.stderr, flush=True)
        do([sys.executable, "-m", "venv", "--clear", str(cache / name)])
        do([str(programs / "pip"), "install", "--quiet", "--disable-pip-version-check", name])
        (programs / "installed").touch()
    asked = f"import importlib.metadata as m; print(m.version({name!r}))"
    release = do([str(programs / "python"), "-c", asked]).strip()
    folder.mkdir()
    port = free_port()
    environment = os.environ | PEERS[name].environment(folder, port)

    def fill(first: int, count: int) -> list[str]:
        script = [str(programs / "python"), str(Path(__file__).with_name("peers.py"))]
        printed = do([*script, name, str(folder), str(first), str(count)], environment)
        return list(json.loads(printed.splitlines()[-1]))

    ids = fill(0, 1)  # some need a store that exists
    program, *arguments = PEERS[name].command(folder, port)
    with (folder.parent / f"{name}.log").open("wb") as log:
        # From a folder of its own, where some put files; in a session of its own, to end all of its processes.
        server = subprocess.Popen(
            [str(programs / program), *arguments],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def processes() -> list[psutil.Process]:
        return [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]

    try:
        yield Board(f"{name} {release}", port, processes, fill, PEERS[name].requests, PEERS[name].points, ids)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def do(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What the command prints."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no message"]
        raise NoAnswer(f"`{' '.join(command)[-80:]}` failed: {last[0]}")
    return done.stdout


def measure(boards: list[Board], rounds: int, requests: int, encodings: str) -> None:
    """Prints a table."""
    taken: dict[str, list[list[float]]] = {board.name: [] for board in boards}
    cpu = dict.fromkeys(taken, 0.0)
    size = {}
    for board in boards:
        connection = board.connect()
        sent, coding = 0, ""
        for request in board.ask(board.ids):
            response = answer(connection, request, encodings)
            sent, coding = sent + len(response.read()), response.getheader("Content-Encoding") or "as it is"
        connection.close()
        size[board.name] = f"{sent / 1000:.0f}, {coding}"
    for _ in range(rounds):
        for board in boards:
            asked, connection = board.ask(board.ids), board.connect()
            milliseconds(connection, asked, encodings)  # connects, and wakes the server
            before = board.cpu_seconds()
            taken[board.name].append([milliseconds(connection, asked, encodings) for _ in range(requests)])
            cpu[board.name] += board.cpu_seconds() - before
            connection.close()
    print(f"\n{len(boards[0].ids)} runs x {EPOCHS} epochs, {rounds} rounds of {requests} requests; ", end="")
    print(f"load average {os.getloadavg()[0]:.1f} at the end\n")
    print("| board | p50, ms | rounds' p50 | p99, ms | CPU, ms | first answer, ms | sent, kB |")
    print("|---|---|---|---|---|---|---|")
    for board in boards:
        medians = [statistics.median(one) for one in taken[board.name]]
        every = sorted(chain(*taken[board.name]))
        numbers = f"{statistics.median(medians):.1f} | {min(medians):.1f} to {max(medians):.1f}"
        p99 = every[int(0.99 * (len(every) - 1))]
        used = 1000 * cpu[board.name] / rounds / requests
        rest = f"{used:.1f} | {board.first_answer:.0f} | {size[board.name]}"
        print(f"| {board.name} | {numbers} | {p99:.1f} | {rest} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/cctboard-peers").expanduser())
    parser.add_argument("--runs", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=10)
    parser.add_argument("--encodings", default="gzip, deflate, br, zstd", help="or `identity`")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        boards = [stack.enter_context(ours(folder / "ours"))]
        for name in options.peers:
            try:
                boards.append(stack.enter_context(peer(name, options.cache, folder / name)))
            except NoAnswer as reason:
                print(f"{name} is not measured: {reason}")
        for runs in sorted(options.runs):
            for board in list(boards):
                try:
                    board.ids += board.fill(len(board.ids), runs)
                    board.first_answer = wait_until_complete(board)
                except NoAnswer as reason:
                    print(f"{board.name} is not measured with {runs} runs: {reason}")
                    boards.remove(board)
            measure(boards, options.rounds, options.requests, options.encodings)


if __name__ == "__main__":
    main()
