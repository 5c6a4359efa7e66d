"""How fast the page with the runs is when there are thousands: the API's answers, and a cold load in Chromium.

Fills a board of its own (`--completed` runs have records of 200 epochs, the rest wait), then asks the API and opens the
page with an empty cache. Target: first paint < 1 s. Run: `python benchmarks/board_page.py [--runs 2000] [--loads 5]`.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
from playwright.sync_api import Browser, sync_playwright
from pydantic import RedisDsn

from app.cli.board import running
from app.cli.services import free_port
from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore
from cct.events import EpochRecord
from cct.spec import RunSpec

EPOCHS = 200
POOLINGS = ("seqpool", "seqpool_softmax_tokens", "seqpool_softmax_batch", "mean", "max")
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
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
PAINTS = "Object.fromEntries(performance.getEntriesByType('paint').map(({name, startTime}) => [name, startTime]))"


def fill(store: RunStore, runs: int, completed: int) -> None:
    """Experiments of 50 runs, and the rest alone."""
    specs = [RunSpec(seed=n // len(POOLINGS), epochs=EPOCHS, pooling=POOLINGS[n % len(POOLINGS)]) for n in range(runs)]
    for first in range(0, 300, 50):
        axes: dict[str, list[Any]] = {
            "pooling": list(POOLINGS),
            "seed": [spec.seed for spec in specs[first : first + 50 : 5]],
        }
        store.create_experiment("Poolings", {"epochs": EPOCHS}, axes, specs[first : first + 50])
    store.create_runs(specs[300:])
    for number in range(completed):
        lease = store.claim("benchmark")
        assert lease is not None
        for epoch in range(1, EPOCHS + 1):
            top1 = 95 - 60 / epoch**0.5 + number % 7 / 10
            lease.record_epoch(replace(RECORD, epoch=epoch, val_top1=top1))
        lease.release(State.completed)


def answers(url: str, newest: list[str], experiments: list[str], times: int) -> dict[str, list[float]]:
    """Milliseconds of each of `times` answers, by what was asked for."""
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "runs, 100 of all": ("/runs", {"limit": 100}),
        "… sorted by best top-1": ("/runs", {"limit": 100, "sort": "best_top1", "descending": True}),
        "… searched and filtered": ("/runs", {"limit": 100, "text": "softmax", "state": "queued"}),
        "groups by pooling": ("/runs/groups", {"by": "pooling"}),
        "50 sparklines": ("/runs/sparklines", {"run": newest}),
        "queue": ("/queue", {}),
        "6 experiments in short": ("/experiments/glances", {"experiment": experiments}),
    }
    taken: dict[str, list[float]] = {}
    with httpx.Client(base_url=url, timeout=60) as client:
        client.get("/runs")  # the first one reads all runs into memory
        for name, (path, query) in asked.items():
            taken[name] = [_milliseconds(lambda: client.get(path, params=query)) for _ in range(times)]  # noqa: B023
    return taken


def _milliseconds(ask: Callable[[], httpx.Response]) -> float:
    began = time.perf_counter()
    ask().raise_for_status()
    return 1000 * (time.perf_counter() - began)


def load(browser: Browser, url: str) -> dict[str, float]:
    """One load with an empty cache: milliseconds and kilobytes."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    tools = context.new_cdp_session(page)
    tools.send("Network.enable")
    tools.send("Performance.enable")
    received: list[float] = []
    tools.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.get_by_role("table", name="Runs").get_by_role("row").nth(1).wait_for()
    rows = 1000 * (time.perf_counter() - began)
    page.locator(".sparkline").first.wait_for()
    curves = 1000 * (time.perf_counter() - began)
    page.wait_for_timeout(500)
    spent = {metric["name"]: metric["value"] for metric in tools.send("Performance.getMetrics")["metrics"]}
    paints = page.evaluate(PAINTS)
    scripts = page.evaluate("performance.getEntriesByType('resource').map(({name}) => name)")
    assert not any("plotly" in name for name in scripts), "the page of the runs loads Plotly"
    context.close()
    return {
        "first paint, ms": paints["first-paint"],
        "first contentful paint, ms": paints["first-contentful-paint"],
        "rows visible, ms": rows,
        "sparklines visible, ms": curves,
        "scripting, ms": 1000 * spent["ScriptDuration"],
        "all of the main thread, ms": 1000 * spent["TaskDuration"],
        "transferred, kB": sum(received) / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--completed", type=int, default=60)
    parser.add_argument("--times", type=int, default=100, help="requests of each kind")
    parser.add_argument("--loads", type=int, default=5)
    options = parser.parse_args()
    installed = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        with running(Path(folder), "127.0.0.1", port, workers=0, redis_url=None) as services, sync_playwright() as play:
            url = f"http://127.0.0.1:{port}"
            store = RunStore(Settings(redis_url=RedisDsn(services.redis_url)))
            fill(store, options.runs, options.completed)
            completed = [run.id for run in store.runs() if run.state is State.completed][:50]
            experiments = [experiment.id for experiment in store.experiments()][:6]
            print(f"{options.runs} runs, {options.completed} of them with {EPOCHS} epochs\n")
            print(f"{'answers, ms':28} {'p50':>6} {'p99':>8}")
            for name, taken in answers(url, completed, experiments, options.times).items():
                print(f"{name:28} {statistics.median(taken):6.1f} {sorted(taken)[int(0.99 * len(taken))]:8.1f}")
            browser = play.chromium.launch(executable_path=installed, args=FLAGS)
            page = f"{url}/?sort=-best_top1"
            loads = [load(browser, page) for _ in range(options.loads)]
            browser.close()
    print(f"\n{'cold load of the page':28} {'median':>6} {'worst':>8}")
    for name in loads[0]:
        values = [one[name] for one in loads]
        print(f"{name:28} {statistics.median(values):6.0f} {max(values):8.0f}")


if __name__ == "__main__":
    main()
