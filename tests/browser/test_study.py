"""A page that watches a study from the queue to the verdict, with real workers, and is never reloaded."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from app.services import free_port, running
from tests.browser.test_comparison import ranges
from tests.conftest import DIGITS

POOLINGS = ["seqpool", "seqpool_softmax_tokens", "seqpool_softmax_batch"]
SPEC = DIGITS | {"epochs": 2, "batch_size": 256, "lr": 0.002}
TO_THE_END = 150_000
"""Milliseconds within which a machine that does something else at the same time surely trains six runs."""


@pytest.fixture
def two_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A board with two workers that do not fight for cores; its address."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    port = free_port()
    with running(tmp_path, "127.0.0.1", port, workers=2, redis_url=None):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.timeout(240)
def test_a_study_is_watched_from_the_queue_to_the_verdict(two_workers: str, page: Page) -> None:
    # Paused, so that the page sees everything happen.
    httpx.post(f"{two_workers}/queue/pause").raise_for_status()
    body = {"name": "Study", "spec": SPEC, "axes": {"pooling": POOLINGS, "seed": [0, 1]}}
    study = httpx.post(f"{two_workers}/experiments", json=body).raise_for_status().json()
    page.goto(f"{two_workers}/board/experiments/{study['id']}")
    page.evaluate("window.loadedOnce = true")
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
    expect(page.get_by_role("link", name="2 workers")).to_be_visible(timeout=TO_THE_END)
    answer = page.get_by_role("region", name="Answer")
    tiles = page.get_by_role("table", name="Runs by seed").get_by_role("link")
    expect(tiles.filter(has_text="queued")).to_have_count(6)
    expect(answer.get_by_text("provisional")).to_be_visible()

    httpx.post(f"{two_workers}/queue/resume").raise_for_status()
    expect(tiles.filter(has_text="running")).to_have_count(2, timeout=TO_THE_END)
    chart = page.get_by_role("figure", name="Validation top-1")
    expect(chart.locator(".trace").first).to_be_visible(timeout=TO_THE_END)
    zoomed = zoom(chart)
    drawn = points(chart)
    expect(tiles.filter(has_text="completed")).not_to_have_count(0, timeout=TO_THE_END)
    expect(tiles.filter(has_text="queued")).not_to_have_count(0)  # The cells are filled one by one.

    expect(tiles.filter(has_text="completed")).to_have_count(6, timeout=TO_THE_END)
    expect(answer.get_by_text("provisional")).to_have_count(0)
    verdicts = answer.get_by_role("listitem")
    expect(verdicts).to_have_count(2)
    for verdict in verdicts.all():
        expect(verdict).to_contain_text(re.compile("seqpool.* 2 seeds"))
    mixing = page.get_by_role("table", name="Comparison").get_by_role("row").filter(has_text="mixes the batch")
    expect(mixing).to_contain_text("seqpool_softmax_batch")
    expect(mixing).to_have_count(1)
    page.wait_for_function(
        "([plot, drawn]) => plot.data.flatMap(trace => [...trace.x]).length > drawn",
        arg=[chart.element_handle(), drawn],
    )
    assert ranges(chart) == zoomed
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
    assert page.evaluate("window.loadedOnce")


def points(chart: Locator) -> int:
    return int(chart.evaluate("plot => plot.data.flatMap(trace => [...trace.x]).length"))


def zoom(chart: Locator) -> list[float]:
    """Draws a rectangle in the chart; the ranges of its axes thereafter."""
    page = chart.page
    chart.scroll_into_view_if_needed()
    before = ranges(chart)
    plot = chart.locator(".nsewdrag").first.bounding_box()
    assert plot is not None
    page.mouse.move(plot["x"] + plot["width"] * 0.2, plot["y"] + plot["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] * 0.8, plot["y"] + plot["height"] * 0.8, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile("zoom="))
    after = ranges(chart)
    assert after != before
    return after
