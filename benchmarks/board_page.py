"""How fast the pages are when there are thousands of runs: the API's answers, a cold load in Chromium, and clicks.

Fills a board of its own (`--completed` runs have records of 200 epochs, the rest wait), then asks the API and opens the
page with an empty cache; then it clicks on what each page has to click on, and measures how long it takes until that is
painted (the frame after it; Event Timing would wait for the display, which a headless browser updates as it likes).
Targets: first paint < 1 s, clicks < 100 ms.

Run: `python benchmarks/board_page.py [--runs 2000] [--loads 5] [--clicks 40]`.
"""

import argparse
import re
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
from playwright.sync_api import Error as PlaywrightError
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
CLICKABLE = "main :is(button, [role=tab], input[type=checkbox], summary)"
FINAL = re.compile("delete|cancel|retry|pause|queue|save|submit|import|download|csv|json|report", re.IGNORECASE)
"""What is not clicked on, as it changes the board or ends in a file."""
OBSERVE = """
globalThis.taken = [];
for (const kind of ["pointerdown", "click"]) addEventListener(kind, ({ timeStamp }) => requestAnimationFrame(() => {
    const painted = new MessageChannel();
    painted.port1.onmessage = () => taken.push(performance.now() - timeStamp);
    painted.port2.postMessage(null);
}), { capture: true });
"""
PAUSE_MS, SHOWN_MS = 2_000, 300
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


def click_all(browser: Browser, url: str, most: int) -> dict[str, tuple[float, str]]:
    """Milliseconds until the page shows it, of all clicks on buttons, tabs, boxes and what unfolds, and on what."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(OBSERVE)
    page = context.new_page()
    page.goto(url)
    page.wait_for_timeout(PAUSE_MS)
    taken: dict[str, tuple[float, str]] = {}
    for number in range(most):
        if number >= page.locator(CLICKABLE).count():
            break  # some go when others are clicked on
        element = page.locator(CLICKABLE).nth(number)
        name = (element.get_attribute("aria-label") or element.text_content() or "?").strip()[:40]
        if FINAL.search(name) or not element.is_visible() or not element.is_enabled():
            continue
        page.evaluate("taken.length = 0")
        try:
            element.click(timeout=2_000)
        except PlaywrightError:
            continue  # something lies over it
        page.wait_for_timeout(SHOWN_MS)
        taken[f"{number} {name}"] = max(page.evaluate("taken")), name
        page.keyboard.press("Escape")
        if page.url.split("?")[0] != url.split("?")[0]:
            page.goto(url)
            page.wait_for_timeout(PAUSE_MS)
    context.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--completed", type=int, default=60)
    parser.add_argument("--times", type=int, default=100, help="requests of each kind")
    parser.add_argument("--clicks", type=int, default=40, help="on each page")
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
            pages = {
                "runs": "/",
                "a run": f"/board/runs/{completed[0]}",
                "an experiment": f"/board/experiments/{experiments[-1]}",
                "new run": "/board/new",
                "poolings": "/board/poolings",
                "workers": "/board/workers",
            }
            found = {name: click_all(browser, url + path, options.clicks) for name, path in pages.items()}
            clicks = {name: taken_by for name, taken_by in found.items() if taken_by}
            browser.close()
    print(f"\n{'cold load of the page':28} {'median':>6} {'worst':>8}")
    for name in loads[0]:
        values = [one[name] for one in loads]
        print(f"{name:28} {statistics.median(values):6.0f} {max(values):8.0f}")
    print(f"\n{'a click until it shows, ms':28} {'median':>6} {'worst':>8}")
    for name, taken_by in clicks.items():
        worst, what = max(taken_by.values())
        median = statistics.median(taken for taken, _ in taken_by.values())
        print(f"{name:28} {median:6.0f} {worst:8.0f}  {what} ({len(taken_by)} clicks)")


if __name__ == "__main__":
    main()
