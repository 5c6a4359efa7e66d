"""How the board bears faults, many watchers and many runs.

`python benchmarks/resilience.py kill`: seconds from SIGKILL of a worker until its run is trained again.
`python benchmarks/resilience.py streams`: latency of the API while 500 event streams are open and runs report.
`python benchmarks/resilience.py memory`: resident memory of API and worker while 200 short runs are trained.
Each starts a whole board of its own, with default settings, in a temporary folder.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2 as httpx
import psutil
from pydantic import RedisDsn

from app.cli.board import running
from app.cli.services import Services, free_port
from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore
from cct.events import EpochRecord
from cct.spec import RunSpec

DIGITS = RunSpec(dataset="digits", epochs=1, augmentation="none", warmup_epochs=0, batch_size=256)


def wait_for(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.02)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def kill(store: RunStore, services: Services, url: str, repeats: int = 5) -> None:
    """Both of what a user sees: another worker takes the run, or the killed one comes back."""
    [run] = store.create_runs([replace(DIGITS, epochs=1_000)])
    silent, training = [], []
    for _ in range(repeats):
        wait_for(lambda: store.run(run.id).state is State.running and store.run(run.id).step)
        before = store.run(run.id)
        time.sleep(6)
        [worker] = [n for n in ("worker-1", "worker-2") if str(services.process_id(n)) in str(before.worker)]
        psutil.Process(services.process_id(worker)).kill()
        began = time.monotonic()
        wait_for(lambda attempt=before.attempt: store.run(run.id).attempt > attempt)
        silent.append(time.monotonic() - began)
        wait_for(lambda: store.run(run.id).step or store.run(run.id).state is State.failed)
        training.append(time.monotonic() - began)
    store.cancel(run.id)
    print(f"SIGKILL of a worker, {repeats} times (lease 15 s): run claimed by a worker again after", end=" ")
    print(f"{statistics.median(silent):.1f} s (max {max(silent):.1f}), training again after", end=" ")
    print(f"{statistics.median(training):.1f} s (max {max(training):.1f})")


def streams(store: RunStore, services: Services, url: str, count: int = 500) -> None:
    """15 runs record an epoch a second in total; a client reads the list of runs all the while."""
    store.pause(True)
    store.create_runs(replace(DIGITS, epochs=1_000, seed=seed) for seed in range(15))

    async def latencies(client: httpx.AsyncClient) -> list[float]:
        found = []
        for _ in range(200):
            began = time.perf_counter()
            (await client.get("/runs?limit=100")).raise_for_status()
            found.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(0.02)
        return found

    async def watch(client: httpx.AsyncClient, opened: asyncio.Semaphore) -> None:
        async with client.stream("GET", "/events") as response:
            async for _ in response.aiter_raw():
                opened.release()

    async def measure() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=None) as client:
            alone = await latencies(client)
            opened = asyncio.Semaphore(0)
            watchers = [asyncio.create_task(watch(client, opened)) for _ in range(count)]
            for _ in watchers:
                await opened.acquire()
            recording = asyncio.create_task(asyncio.to_thread(record, 12.0))
            crowded = await latencies(client)
            await recording
            for watcher in watchers:
                watcher.cancel()
            for name, found in (("no stream", alone), (f"{count} streams", crowded)):
                p50, p99 = statistics.median(found), percentile(found, 0.99)
                print(f"GET /runs with {name} open: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max(found):.1f} ms")

    def record(seconds: float) -> None:
        store.pause(False)
        leases = [lease for _ in range(15) if (lease := store.claim("benchmark"))]
        until = time.monotonic() + seconds
        for epoch in range(1, 1_000):
            for lease in leases:
                lease.record_epoch(EpochRecord(
                    epoch=epoch, train_loss=2.0, train_top1=30.0, val_loss=1.5, val_top1=50.5, val_top5=90.0,
                    lr=0.001, seconds=2.0, images_per_second=700.0, peak_memory_bytes=10**9,
                ))  # fmt: skip
                time.sleep(1 / 15)
            if time.monotonic() > until:
                return

    asyncio.run(measure())


def memory(store: RunStore, services: Services, url: str, count: int = 200) -> None:
    store.create_runs(replace(DIGITS, seed=seed) for seed in range(count))
    processes = {name: psutil.Process(services.process_id(name)) for name in ("api", "worker-1")}
    for done in range(0, count + 1, count // 8):
        wait_for(lambda done=done: sum(run.state is State.completed for run in store.runs()) >= max(done, 2))
        mebibytes = {name: process.memory_info().rss / 2**20 for name, process in processes.items()}
        print(
            f"after {done:3} runs:", ", ".join(f"{name} {size:.1f} MiB" for name, size in mebibytes.items()), flush=True
        )


if __name__ == "__main__":
    measures = {"kill": (kill, 2), "streams": (streams, 0), "memory": (memory, 1)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=measures)
    parser.add_argument("--count", type=int, help="repeats, streams or runs")
    arguments = parser.parse_args()
    measure, workers = measures[arguments.what]
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        with running(Path(folder), "127.0.0.1", port, workers, None) as services:
            settings = Settings(redis_url=RedisDsn(services.redis_url), data=Path(folder))
            count = {} if arguments.count is None else {"count": arguments.count}
            measure(RunStore(settings), services, f"http://127.0.0.1:{port}", *count.values())
