"""Time from a worker's beginning to record an epoch to a browser's receiving it, over real database and API.

This process plays the workers: every run records an epoch per `--every` seconds at random moments, and tells its
progress in between. One other process plays all browsers: raw sockets that follow `/events`. All use the same clock.
In turns with the board, a bare server is measured: it only copies what comes from the database to all sockets, with the
same event loop (uvloop), so it shows what this machine allows.
Targets: p99 <= 10 ms for one stream, `python benchmarks/event_latency.py`; p99 <= 50 ms for 1,000 streams that watch
15 live runs, `python benchmarks/event_latency.py --streams 1000 --runs 15`. With `--processes N` an API of several
processes takes its turn, too; with `--charts` somebody asks each server of the board for charts all the time.
"""

import argparse
import asyncio
import dataclasses
import multiprocessing
import os
import random
import re
import resource
import selectors
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import httpx2 as httpx
import psutil
import redis.asyncio
import uvloop
from pydantic import RedisDsn

from app.cli.board import running
from app.cli.services import free_port
from app.settings import Settings
from app.store.lease import Lease
from app.store.run_store import RunStore
from cct.events import EpochRecord
from cct.spec import RunSpec

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
SENT = re.compile(rb'"train_loss": ?([\d.]+)')
"""The moment of recording travels in a field of the record."""
ASK = b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nAccept-Encoding: gzip\r\n\r\n"


def watch(port: int, streams: int, pipe: Connection) -> None:
    """A process that holds the streams until it is told to stop, then sends milliseconds per epoch and stream, and its
    own CPU seconds."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    selector = selectors.DefaultSelector()
    for _ in range(streams):
        stream = socket.create_connection(("127.0.0.1", port), timeout=20)
        stream.sendall(ASK)
        received = b""
        while b"connected\n\n" not in received:
            received += stream.recv(65536)
        stream.setblocking(False)
        selector.register(stream, selectors.EVENT_READ, bytearray())
    selector.register(pipe, selectors.EVENT_READ)
    pipe.send("ready")
    taken: list[float] = []
    began = time.process_time()
    while True:
        for key, _ in selector.select():
            if key.fileobj is pipe:
                pipe.send((taken, time.process_time() - began))
                return
            data = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
            now = time.perf_counter()
            if not data:
                raise SystemExit("the server ended a stream")
            rest = key.data
            rest += data
            end = rest.rfind(b"\n\n") + 1
            taken += [1000 * (now - float(sent)) for sent in SENT.findall(rest, 0, end)]
            del rest[:end]


def serve_bare(url: str, stream: str, port: int, ready: Connection) -> None:
    """A process that copies each entry of the database's stream of events to all connections, as one chunk."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    connections: list[asyncio.Transport] = []

    class Browser(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)

        def data_received(self, data: bytes) -> None:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.transport.write(head + b"d\r\n: connected\n\n\r\n")
            connections.append(self.transport)

        def connection_lost(self, error: Exception | None) -> None:
            connections.remove(self.transport)

    async def serve() -> None:
        await asyncio.get_running_loop().create_server(Browser, "127.0.0.1", port)
        database = redis.asyncio.Redis.from_url(url)
        position = "$"
        ready.send("ready")
        while True:
            for _, entries in await database.xread({stream: position}, block=1_000):
                position = entries[-1][0]
                events = b"".join(b"event: %s\ndata: %s\n\n" % (entry[b"kind"], entry[b"data"]) for _, entry in entries)
                chunk = b"%x\r\n%s\r\n" % (len(events), events)
                for connection in connections:
                    connection.write(chunk)

    uvloop.run(serve())


def record(leases: list[Lease], epochs: list[int], seconds: float, every: float) -> int:
    """Every run's epochs at random moments, and its progress between them; the number of epochs recorded."""
    recorded = 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        time.sleep(random.expovariate(2 * len(leases) / every))
        chosen = random.randrange(len(leases))
        if random.random() < 0.5:
            leases[chosen].describe(step=random.randrange(390), steps=390)
            continue
        epochs[chosen] += 1
        now = time.perf_counter()
        leases[chosen].record_epoch(dataclasses.replace(RECORD, epoch=epochs[chosen], train_loss=now))
        recorded += 1
        leases[chosen].renew()
    return recorded


def measure(
    processes: list[psutil.Process], port: int, options: argparse.Namespace, leases: list[Lease], epochs: list[int]
) -> list[float]:
    """Milliseconds per epoch and stream of the server in these processes; prints what it cost."""
    here, there = multiprocessing.Pipe()
    browsers = multiprocessing.get_context("spawn").Process(
        target=watch, args=(port, options.streams, there), daemon=True
    )
    browsers.start()
    there.close()  # so that its end is noticed
    here.recv()
    time.sleep(1)
    began, before = time.perf_counter(), cpu_seconds(processes)
    recorded = record(leases, epochs, options.seconds, options.every)
    seconds, after = time.perf_counter() - began, cpu_seconds(processes)
    time.sleep(0.5)
    here.send("stop")
    taken, browsers_cpu = here.recv()
    browsers.join()
    lost = recorded * options.streams - len(taken)
    milliseconds = f"p50 {statistics.median(taken):6.2f} ms, p99 {percentile(taken, 0.99):6.2f}, max {max(taken):6.2f}"
    print(f"{milliseconds}; {recorded / seconds:.1f} epochs/s, {lost} events lost;", end=" ")
    print(f"CPU {(after - before) / seconds:.2f} s/s, browsers' {browsers_cpu / seconds:.2f}")
    return taken


def cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def several_processes(folder: str, redis_url: str, count: int) -> psutil.Popen:
    """An API of so many processes over the same database, once all answer; its port is the last argument."""
    command = [sys.executable, "-m", "app.cli", "api", "--processes", str(count), "--port", str(free_port())]
    several = psutil.Popen(command, env=os.environ | {"CCTBOARD_DATA": folder, "CCTBOARD_REDIS_URL": redis_url})
    time.sleep(15)
    return several


@contextmanager
def charts_asked_for(port: int, runs: list[str]) -> Iterator[None]:
    """One after the other, of the curves of these runs if there are any; prints how many were drawn."""
    stop, seconds = threading.Event(), list[float]()

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while not stop.is_set():
                began = time.perf_counter()
                client.get("/figures/curves", params={"run": runs}).raise_for_status()
                seconds.append(time.perf_counter() - began)

    thread = threading.Thread(target=ask)
    if runs:
        thread.start()
    yield
    stop.set()
    if runs:
        thread.join()
        print(f"      {len(seconds)} charts, median {1000 * statistics.median(seconds):.0f} ms")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two epochs of a run")
    parser.add_argument("--seconds", type=float, default=10, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="of a second API of the board")
    parser.add_argument("--charts", action="store_true", help="charts are drawn meanwhile")
    options = parser.parse_args()
    random.seed(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ports = {"board": free_port()}
        with running(Path(folder), "127.0.0.1", ports["board"], workers=0, redis_url=None) as services:
            store = RunStore(Settings(redis_url=RedisDsn(services.redis_url)))
            store.create_runs([RunSpec(dataset="digits", epochs=10_000, seed=seed) for seed in range(options.runs)])
            leases = [lease for _ in range(options.runs) if (lease := store.claim("benchmark"))]
            epochs = [0] * len(leases)
            ports["bare"] = free_port()
            here, there = multiprocessing.Pipe()
            bare = spawn.Process(
                target=serve_bare, args=(services.redis_url, store.key("events"), ports["bare"], there), daemon=True
            )
            bare.start()
            there.close()
            here.recv()
            servers = {"board": services.process_id("api"), "bare": bare.pid}
            if options.processes > 1:
                several = several_processes(folder, services.redis_url, options.processes)
                servers["several"], ports["several"] = several.pid, int(several.args[-1])
            taken: dict[str, list[float]] = {name: [] for name in servers}
            print(f"{options.streams} streams watch {options.runs} runs, an epoch of each per {options.every} s")
            for _ in range(options.rounds):
                for name, pid in servers.items():
                    print(f"{name:5}", end=" ", flush=True)
                    process = psutil.Process(pid)
                    asked = [lease.run_id for lease in leases] if options.charts and name != "bare" else []
                    with charts_asked_for(ports[name], asked):
                        taken[name] += measure([process, *process.children()], ports[name], options, leases, epochs)
            bare.kill()
            bare.join()
            if options.processes > 1:
                several.terminate()
                several.wait()
    for name, found in taken.items():
        print(f"{name:5} in all rounds: p50 {statistics.median(found):.2f} ms, p99 {percentile(found, 0.99):.2f} ms")
    print(f"load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
