"""How long the compare page's chart takes over HTTP: `GET /figures/curves` for runs of 200 epochs, finished with bands.

Fills a board of its own; validation top-1 of all runs in five variants is one request, which answers with a Plotly
figure: a line per run, mean and band per variant. The raw data of one run (`GET /runs/{id}/epochs`) is one more row.
The client keeps its connection and accepts gzip, as browsers do. The first request, which fills the API's memory of
decoded records, is told apart. Other boards are not measured here yet.
Target for 20 runs: p50 <= 10 ms. Run: `python benchmarks/compare_chart.py [--requests 60] [--rounds 3]`.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import httpx2 as httpx
from pydantic import RedisDsn

from app.rows import State
from app.services import free_port, running
from app.settings import Settings
from app.store import RunStore
from cct.config import EpochRecord, RunSpec

EPOCHS = 200
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


def fill(store: RunStore, runs: int) -> list[str]:
    """Ids of completed runs."""
    specs = [RunSpec(seed=number // 5, epochs=EPOCHS, pooling=POOLINGS[number % 5]) for number in range(runs)]
    store.create_runs(specs)
    ids = []
    for number in range(runs):
        lease = store.claim("benchmark")
        assert lease is not None
        for epoch in range(1, EPOCHS + 1):
            top1 = 95 - 60 / epoch**0.5 + number * 0.137
            lease.record_epoch(replace(RECORD, epoch=epoch, val_top1=top1, seconds=2 + number / 100))
        lease.release(State.completed)
        ids.append(lease.run_id)
    return ids


def milliseconds(client: httpx.Client, path: str, query: dict[str, list[str]]) -> float:
    start = time.perf_counter()
    client.get(path, params=query).raise_for_status()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60, help="of each kind in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-runs", type=int, default=100, help="of the larger figure")
    arguments = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), "127.0.0.1", port, 0, None) as services:
        ids = fill(RunStore(Settings(redis_url=RedisDsn(services.redis_url))), arguments.most_runs)
        asked: dict[str, tuple[str, dict[str, list[str]]]] = {
            "figure of 20 runs": ("/figures/curves", {"run": ids[:20]}),
            f"figure of {len(ids)} runs": ("/figures/curves", {"run": ids}),
            "epochs of 1 run": (f"/runs/{ids[0]}/epochs", {}),
        }
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for name, (path, query) in asked.items():
                print(f"{name}: first answer {milliseconds(client, path, query):.1f} ms")
            for number in range(arguments.rounds):
                for name, (path, query) in asked.items():
                    times = sorted(milliseconds(client, path, query) for _ in range(arguments.requests))
                    p50, p99 = statistics.median(times), times[int(0.99 * (len(times) - 1))]
                    print(f"round {number + 1}, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
