"""Makes the screenshots of the user guide anew: `.venv/bin/python docs/screenshots.py`, after `make demo`.

Starts a board in a temporary folder with two workers, queues the guide's experiment from the form as a user would,
waits for its verdict, and photographs what Chromium shows. Takes about five minutes on two cores.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx2 as httpx
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

from app.cli.board import running
from app.cli.services import free_port

IMAGES = Path(__file__).parent / "images"
POOLINGS = ["seqpool", "seqpool_softmax_batch", "seqpool_softmax_tokens"]
SPEC = {"dataset": "digits", "epochs": 3, "batch_size": 32, "lr": 0.002, "warmup_epochs": 1, "augmentation": "none"}
NAME = "Softmax in the pooling step"
TRAINED = 600_000
"""Milliseconds within which the experiment is surely trained."""


@contextmanager
def browser_page(url: str) -> Iterator[Page]:
    """A page of a Chromium that is installed, or of Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next((path for path in map(shutil.which, names) if path), None)
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(base_url=url, viewport={"width": 1200, "height": 800}, reduced_motion="reduce")
        browser.close()


def save(what: Page | Locator, name: str) -> None:
    path = IMAGES / f"{name}.png"
    page = what if isinstance(what, Page) else what.page
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # what glides or fades has arrived
    what.screenshot(path=path)
    # The picture's most distinct colours, so that a small coloured dot stays coloured; a third of the size.
    method = Image.Quantize.MAXCOVERAGE
    Image.open(path).convert("RGB").quantize(256, method, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB", flush=True)


def queue_from_the_form(page: Page) -> str:
    """The id of the guide's experiment."""
    axes = [("pooling", name) for name in POOLINGS] + [("seed", str(seed)) for seed in (0, 1)]
    page.goto(f"/board/new?{urlencode([*SPEC.items(), *axes, ('name', NAME)])}")
    preview = page.get_by_role("region", name="Before it is queued")
    expect(preview).to_contain_text("6 runs, 18 epochs together")
    save(page, "new-experiment")
    page.get_by_role("button", name="Queue 6 runs").click()
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()
    return page.url.rsplit("/", 1)[1]


def photograph_plan(page: Page) -> None:
    """The same question with a plan: its form, and its page when the answer is known."""
    axes = [("pooling", name) for name in POOLINGS]
    plan = [("plan", "on"), ("plan.smallest_difference", "2"), ("plan.max_seeds", "10")]
    page.goto(f"/board/new?{urlencode([*SPEC.items(), *axes, ('name', f'{NAME}, planned'), *plan])}")
    expect(page.get_by_role("row", name="at most")).to_contain_text("30 runs", timeout=TRAINED)
    save(page, "new-plan")
    page.get_by_role("button", name="Queue the plan").click()
    shown = page.get_by_role("region", name="Plan")
    expect(shown).to_contain_text("Ended", timeout=TRAINED)
    expect(shown.get_by_role("figure").locator(".trace")).not_to_have_count(0)
    save(shown, "plan")


def drawn(page: Page, label: str = "Validation top-1") -> None:
    expect(page.get_by_role("figure", name=label).locator(".trace, .hm image").first).to_be_visible(timeout=TRAINED)


def photograph_training(page: Page) -> str:
    """From the empty board to the first results; the id of the experiment."""
    page.goto("/")
    expect(page.get_by_role("button", name="Run the demo experiment")).to_be_visible()
    expect(page.get_by_role("link", name="2 workers")).to_be_visible(timeout=TRAINED)
    save(page, "empty-board")
    experiment = queue_from_the_form(page)
    drawn(page)
    expect(tiles_of(page).filter(has_text="completed")).not_to_have_count(0, timeout=TRAINED)
    page.set_viewport_size({"width": 1200, "height": 1600})  # down to the curves
    save(page, "live")
    page.set_viewport_size({"width": 1200, "height": 800})
    page.goto("/")
    expect(page.get_by_role("table", name="Runs")).to_be_visible()
    save(page, "queue")
    page.goto("/board/workers")
    expect(page.get_by_role("table", name="Workers")).to_be_visible()
    save(page, "workers")
    return experiment


def tiles_of(page: Page) -> Locator:
    return page.get_by_role("table", name="Runs by seed").get_by_role("link")


def photograph_results(page: Page, board: httpx.Client, experiment: str) -> None:
    """The verdict of two seeds, then of four, and all that is shown beside it."""
    tiles = tiles_of(page)
    page.goto(f"/board/experiments/{experiment}")
    answer = page.get_by_role("region", name="Answer")
    for seeds, name in ((2, "verdict"), (4, "verdict-of-four-seeds")):
        expect(tiles.filter(has_text="completed")).to_have_count(3 * seeds, timeout=TRAINED)
        expect(answer.get_by_text("provisional")).to_have_count(0)
        page.evaluate("scrollTo(0, 0)")
        save(answer, name)
        if seeds == 2:
            save(page.get_by_role("table", name="Runs by seed"), "matrix")
            page.get_by_role("button", name="Add 2 seeds to all").click()
            page.get_by_role("button", name="Add them, exploratory").click()
    drawn(page)
    save(page, "experiment")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    save(page, "experiment-dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 800})
    save(page, "experiment-phone")
    page.set_viewport_size({"width": 1200, "height": 800})

    page.reload()
    drawn(page)
    save(page.get_by_role("region", name="Figures"), "curves")
    page.get_by_role("tab", name="Differences").click()
    drawn(page, "Differences to the baseline")
    save(page.get_by_role("region", name="Figures"), "differences")
    page.get_by_role("tab", name="Confusion").click()
    drawn(page, "Confusion matrix")
    save(page.get_by_role("region", name="Figures"), "confusion")
    lens = page.get_by_role("region", name="What the pooling looks at")
    lens.scroll_into_view_if_needed()
    save_top(lens, "lens", 620)
    page.evaluate("scrollTo(0, 0)")
    page.get_by_role("button", name="Take it with you").click()
    expect(page.get_by_role("menuitem", name=re.compile("report"))).to_be_visible()
    save(page, "take-away")
    page.keyboard.press("Escape")

    [run] = board.get(
        "/runs", params={"experiment": experiment, "pooling": "seqpool_softmax_batch", "limit": 1}
    ).json()["runs"]
    page.goto(f"/board/runs/{run['id']}")
    drawn(page)
    save(page, "run")


def save_top(what: Locator, name: str, height: int) -> None:
    """The upper part of something high."""
    box = what.bounding_box()
    assert box is not None
    page = what.page
    page.evaluate("y => scrollBy(0, y)", box["y"] - 70)
    page.set_viewport_size({"width": 1200, "height": height + 70})
    save(page, name)
    page.set_viewport_size({"width": 1200, "height": 800})


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers do not fight for cores
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory() as data,
        running(Path(data), "127.0.0.1", port, workers=2, redis_url=None),
        httpx.Client(base_url=url, timeout=30) as board,
        browser_page(url) as page,
    ):
        photograph_results(page, board, photograph_training(page))
        photograph_plan(page)


if __name__ == "__main__":
    main()
