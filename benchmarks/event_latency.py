"""Time from a worker's beginning to record an epoch to an HTTP client's receiving it, over real database and API.

One process plays a worker and records epochs; a thread of it follows `/events` over HTTP. Both use the same clock.
Target: p99 <= 10 ms. Run: `python benchmarks/event_latency.py [--events 500] [--clients 1]`.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx2 as httpx
from pydantic import RedisDsn

from app.services import free_port, running
from app.settings import Settings
from app.store import RunStore
from cct.config import EpochRecord, RunSpec

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


def follow(url: str, events: int, ready: threading.Barrier, received: dict[int, list[float]]) -> None:
    """Notes when each epoch's event arrives, until the last one."""
    with httpx.Client(timeout=60) as client, client.stream("GET", f"{url}/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        ready.wait()
        for line in lines:
            if line.startswith('data: {"run_id"'):
                now = time.perf_counter()
                epoch = json.loads(line[len("data: ") :])["record"]["epoch"]
                received[epoch].append(now)
                if epoch == events:
                    return


def measure(events: int, clients: int, pause: float) -> list[float]:
    """Milliseconds per event and client."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        with running(Path(folder), "127.0.0.1", port, workers=0, redis_url=None) as services:
            store = RunStore(Settings(redis_url=RedisDsn(services.redis_url)))
            store.create_runs([RunSpec(dataset="digits", epochs=events)])
            lease = store.claim("benchmark")
            assert lease is not None
            received: dict[int, list[float]] = {epoch: [] for epoch in range(1, events + 1)}
            ready = threading.Barrier(clients + 1)
            arguments = (f"http://127.0.0.1:{port}", events, ready, received)
            threads = [threading.Thread(target=follow, args=arguments) for _ in range(clients)]
            for thread in threads:
                thread.start()
            ready.wait()
            time.sleep(0.5)
            sent = {}
            for epoch in range(1, events + 1):
                record = dataclasses.replace(RECORD, epoch=epoch)
                sent[epoch] = time.perf_counter()
                lease.record_epoch(record)
                time.sleep(pause)
                lease.renew()
            for thread in threads:
                thread.join()
    return [1000 * (moment - sent[epoch]) for epoch, moments in received.items() for moment in moments]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.01, help="seconds between two epochs")
    arguments = parser.parse_args()
    latencies = sorted(measure(arguments.events, arguments.clients, arguments.pause))
    p50, p99 = statistics.median(latencies), latencies[int(0.99 * (len(latencies) - 1))]
    print(f"{len(latencies)} events: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {latencies[-1]:.2f} ms; target: p99 <= 10")


if __name__ == "__main__":
    main()
