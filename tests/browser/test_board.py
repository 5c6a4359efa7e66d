"""The dashboard as a user meets it, from the empty board to the comparison table."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2 as httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from app.cli.services import free_port
from app.settings import Settings
from app.store.run_store import RunStore
from app.web.main import DASHBOARD, create_app
from cct.spec import RunSpec
from tests.browser.test_figures import ranges
from tests.conftest import DIGITS, serving, wait_for

Save = Callable[[str], None]


@pytest.fixture
def never_reloaded(page: Page) -> Callable[[], bool]:
    """Marks the page; says later whether the mark is still there."""

    def mark() -> bool:
        if page.evaluate("window.marked === undefined"):
            page.evaluate("window.marked = true")
        return bool(page.evaluate("window.marked === true"))

    return mark


@contextmanager
def api(settings: Settings, store: RunStore, port: int) -> Iterator[str]:
    """The API and the dashboard without a worker."""
    with serving(create_app(settings, store, DASHBOARD), port) as url:
        yield url


def finished(board: httpx.Client, run_id: str) -> dict[str, Any]:
    wait_for(lambda: board.get(f"/runs/{run_id}").json()["state"] not in ("queued", "running"), 100)
    return dict(board.get(f"/runs/{run_id}").json())


@pytest.mark.timeout(500)
def test_from_the_demo_button_to_a_verdict(
    empty_board: httpx.Client, page: Page, screenshot: Save, never_reloaded: Callable[[], bool]
) -> None:
    page.goto(str(empty_board.base_url))
    expect(page.get_by_role("heading", name="Nothing has been trained yet")).to_be_visible()
    screenshot("empty")
    page.get_by_role("button", name="Run the demo experiment").click()
    expect(page).to_have_url(re.compile(r"/board/experiments/\w+"))
    tiles = page.get_by_role("table", name="Runs by seed").get_by_role("link")
    expect(tiles).to_have_count(12)
    curves = page.get_by_role("figure", name="Validation top-1").first.locator(".scatterlayer .trace")
    expect(curves.first).to_be_attached(timeout=120_000)
    screenshot("demo-running")
    page.get_by_role("button", name="Cancel experiment").click()
    page.get_by_role("button", name="Yes, cancel").click()
    expect(tiles.filter(has_text="cancelled")).to_have_count(12)

    # The demo in small and on a tenth of its images, so that the test need not train for minutes.
    spec = DIGITS | {"epochs": 2, "lr": 2e-3, "val_share": 0.9}
    study = {"name": "Softmax, in small", "spec": spec, "axes": {"pooling": list(VARIANTS), "seed": [0, 1]}}
    experiment = empty_board.post("/experiments", json=study).raise_for_status().json()["id"]
    page.goto(f"{empty_board.base_url}/board/experiments/{experiment}")
    never_reloaded()
    table = page.get_by_role("table", name="Comparison")
    rows = {name: table.get_by_role("row").filter(has=page.get_by_text(name, exact=True)) for name in VARIANTS}
    for row in rows.values():
        expect(row).to_be_visible()

    # Live, in the first epochs: progress, the first curve, and the mistake that mixes the batch.
    chart = page.get_by_role("figure", name="Validation top-1").first
    expect(curves.first).to_be_attached(timeout=120_000)
    zoomed = zoom(chart)
    answer = page.get_by_role("region", name="Answer")
    expect(answer.get_by_text("provisional")).to_be_visible()
    expect(rows["seqpool_softmax_batch"].get_by_text("mixes the batch")).to_be_visible(timeout=300_000)
    screenshot("study-running")

    # To the end: mean and spread of the seeds, differences to the baseline, a verdict; the zoom is still there.
    expect(tiles.filter(has_text="completed")).to_have_count(4, timeout=300_000)
    columns = [heading.split()[0] for heading in table.get_by_role("columnheader").all_inner_texts()][1:]
    for name, row in rows.items():
        cells = row.get_by_role("cell")
        expect(cells.nth(0)).to_have_text("2")
        expect(cells.nth(2)).to_have_text(re.compile(r"\d+\.\d+ ± \d+\.\d+"))
        difference = "baseline" if name == "seqpool" else re.compile(r"^.\d+\.\d+ ± \d+\.\d+")
        expect(cells.nth(columns.index("Difference"))).to_have_text(difference)
    expect(curves).to_have_count(8)
    expect(answer.get_by_text("provisional")).to_have_count(0)
    # What comes after it warns of runs that have learned nothing in so few steps.
    expect(answer.get_by_role("listitem").first).to_have_text(re.compile("seqpool_softmax_batch.* 2 seeds"))
    assert ranges(chart) == pytest.approx(zoomed, rel=1e-3)  # the address has rounded numbers
    assert never_reloaded()
    screenshot("study-done")
    page.emulate_media(color_scheme="dark")
    screenshot("study-done-dark")
    page.set_viewport_size({"width": 390, "height": 844})
    screenshot("study-done-phone")


def zoom(chart: Locator) -> list[float]:
    """Draws a rectangle in the chart; the ranges of its axes thereafter."""
    chart.scroll_into_view_if_needed()
    before = ranges(chart)
    plot = chart.locator(".nsewdrag").first.bounding_box()
    assert plot is not None
    mouse = chart.page.mouse
    mouse.move(plot["x"] + plot["width"] * 0.2, plot["y"] + plot["height"] * 0.2)
    mouse.down()
    mouse.move(plot["x"] + plot["width"] * 0.8, plot["y"] + plot["height"] * 0.8, steps=5)
    mouse.up()
    expect(chart.page).to_have_url(re.compile("zoom="))
    after = ranges(chart)
    assert after != before
    return after


VARIANTS = ("seqpool", "seqpool_softmax_batch")


def test_a_run_started_elsewhere_appears_and_is_cancelled_from_the_page(
    board: httpx.Client, page: Page, screenshot: Save, never_reloaded: Callable[[], bool]
) -> None:
    board.post("/runs", json=DIGITS | {"epochs": 1}).raise_for_status()
    page.goto(str(board.base_url))
    expect(page.get_by_role("table", name="Runs")).to_be_visible()
    never_reloaded()
    run_id = board.post("/runs", json=DIGITS | {"epochs": 500, "seed": 77}).json()["id"]
    row = page.get_by_role("row").filter(has_text=f"run {run_id}")
    expect(row.get_by_text("running")).to_be_visible(timeout=60_000)
    wait_for(lambda: board.get(f"/runs/{run_id}").json()["epoch"] >= 1, 60)
    screenshot("runs")
    row.get_by_role("button", name=f"Cancel run {run_id}").click()
    page.get_by_role("button", name="Yes, cancel").click()
    expect(row.get_by_text("cancelled")).to_be_visible()
    assert never_reloaded()
    assert finished(board, run_id)["epoch"] >= 1


def test_a_failure_is_shown_with_its_way_out(board: httpx.Client, page: Page, screenshot: Save) -> None:
    run_id = board.post("/runs", json={"dataset": "cifar100", "epochs": 1}).json()["id"]
    page.goto(f"{board.base_url}/board/runs/{run_id}")
    alert = page.get_by_role("alert").filter(has_text="This run failed")
    expect(alert).to_contain_text("cifar100", timeout=90_000)
    expect(alert).to_contain_text("CCTBOARD_DATASETS")
    expect(page.get_by_role("log", name="Log")).to_contain_text("DatasetUnavailable")
    screenshot("failed")


def test_an_experiment_is_started_from_the_form(board: httpx.Client, page: Page, screenshot: Save) -> None:
    page.goto(f"{board.base_url}/board/new")
    page.get_by_role("combobox", name="dataset").click()
    page.get_by_role("option", name="digits").click()
    page.get_by_label("epochs", exact=True).fill("1")
    page.get_by_label("batch_size", exact=True).fill("5000")
    screenshot("form")
    page.get_by_role("button", name=re.compile("Queue run")).click()
    expect(page.get_by_text("at most 1437").first).to_be_visible()
    page.get_by_label("batch_size", exact=True).fill("128")
    page.get_by_role("button", name=re.compile("Queue run")).click()
    expect(page).to_have_url(re.compile(r"/board/runs/\w+"))
    run = finished(board, page.url.rsplit("/", 1)[1])
    assert (run["state"], run["spec"]["dataset"], run["spec"]["batch_size"]) == ("completed", "digits", 128)
    expect(page.get_by_text("completed").first).to_be_visible()
    screenshot("run")


def test_a_page_that_loses_the_server_says_so_and_catches_up(page: Page, settings: Settings, store: RunStore) -> None:
    port = free_port()
    with api(settings, store, port) as url:
        page.goto(url)
        expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
    page.wait_for_timeout(2_500)  # the other pages were to be loaded meanwhile
    expect(page.get_by_role("status").filter(has_text=re.compile("reconnecting|stale"))).to_be_visible()
    page.get_by_role("link", name="workers").click()
    expect(page.get_by_role("heading", name="This page could not be loaded")).to_be_visible()
    page.get_by_role("link", name="CCT Board").click()
    [run] = store.create_runs([RunSpec(dataset="digits")])
    with api(settings, store, port):
        expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
        expect(page.get_by_role("row").filter(has_text=f"run {run.id}")).to_be_visible()
        expect(page.get_by_text("No worker is connected")).to_be_visible()


def test_what_a_person_would_share_is_in_the_address(page: Page, settings: Settings, store: RunStore) -> None:
    store.create_runs([RunSpec(dataset="digits", seed=seed) for seed in range(3)])
    with api(settings, store, free_port()) as url:
        page.goto(url)
        page.get_by_role("searchbox", name="Filter by text").fill("cifar")
        expect(page).to_have_url(re.compile("text=cifar"))
        expect(page.get_by_text("0 runs", exact=True)).to_be_visible()
        page.goto(f"{url}/?text=digits&sort=-seed")
        expect(page.get_by_text("3 runs", exact=True)).to_be_visible()
        expect(page.get_by_role("table", name="Runs").get_by_role("row").nth(1)).to_contain_text("2")
        page.goto(f"{url}/board/runs/nope")
        expect(page.get_by_text("No such run here")).to_be_visible()
