"""Every page in both colour schemes and on a phone, over a board that has something of everything."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Page, Route, expect

from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from tests.browser.studies import SPEC, Save, queue_study, record_epoch, train

PAGES = {
    "board": ("/", "Board"),
    "board-filtered": ("/?state=failed", "Board"),
    "board-nothing-found": ("/?text=nowhere", "Board"),
    "board-grouped": ("/?group=pooling", "Board"),
    "experiment": ("/board/experiments/{study}", "Is softmax needed in the pooling step?"),
    "compare": ("/board/compare?run={completed}&run={other}", "Comparison"),
    "run-completed": ("/board/runs/{completed}", "seqpool"),
    "run-failed": ("/board/runs/{failed}", "seqpool"),
    "run-queued": ("/board/runs/{queued}", "seqpool"),
    "new-run": ("/board/new", "New run"),
    "workers": ("/board/workers", "Workers"),
    "no-such-run": ("/board/runs/nobody", "No such run here"),
    "not-found": ("/nowhere", "There is no such page"),
}
"""Address and heading."""
SHIFT = """new Promise((told) => {
    let shift = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => (shift += entry.value)))
        .observe({type: "layout-shift", buffered: true});
    setTimeout(() => told(shift), 100);
})"""
"""The cumulative layout shift since the page was opened."""


@pytest.fixture
def ids(store: RunStore, claim: Callable[[], Lease]) -> dict[str, str]:
    """Two completed runs, one that trains, a failed one, queued ones, and two workers."""
    study = queue_study(store, seeds=2)
    train(store, claim, 2)
    running, failing = claim(), claim()
    record_epoch(store, running, 1)
    running.describe(step=3, steps=12)
    failing.release(State.failed, "CUDA out of memory: tried to allocate 2 GiB")
    store.create_runs([replace(SPEC, pooling="max", seed=7)])
    store.heartbeat("test-worker", device="cpu", version="1", run_id=running.run_id)
    store.heartbeat("gpu-box", device="NVIDIA H100 80GB HBM3", version="1")
    runs = store.experiment_runs(study.id)
    of = {run.state: run.id for run in runs}
    completed, other = [run.id for run in runs if run.state is State.completed]
    return {
        "study": study.id,
        "completed": completed,
        "other": other,
        "failed": of[State.failed],
        "queued": of[State.queued],
    }


@pytest.mark.parametrize("name", PAGES)
def test_everyone_can_use_every_page(name: str, site: str, ids: dict[str, str], page: Page, check_page: Save) -> None:
    path, heading = PAGES[name]
    page.goto(site + path.format(**ids))
    expect(page.get_by_text(heading).first).to_be_attached()
    expect(page.locator(".mantine-Skeleton-root, .mantine-Loader-root")).to_have_count(0)
    # Of what moved by itself while data came; Core Web Vitals call 0.1 good.
    assert page.evaluate(SHIFT) < 0.02
    check_page(f"page-{name}")


def test_pages_keep_still_where_no_worker_is_connected(site: str, store: RunStore, page: Page) -> None:
    study = queue_study(store, seeds=1)
    of_study = store.experiment_runs(study.id)[0].id
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/", f"/board/experiments/{study.id}", f"/board/runs/{of_study}", "/board/workers", "/board/new"):
        page.goto(site + path)
        expect(page.get_by_role("alert").filter(has_text="No worker is connected")).to_be_visible()
        expect(page.locator(".mantine-Skeleton-root, .mantine-Loader-root")).to_have_count(0)
        assert page.evaluate(SHIFT) < 0.02, path


def test_what_cannot_be_read_is_said_on_each_page(site: str, ids: dict[str, str], page: Page) -> None:
    broken = {"type": "about:blank", "title": "Broken", "status": 500, "detail": "the disk is broken", "errors": []}

    def answer(route: Route) -> None:
        asked = route.request
        if asked.resource_type == "fetch" and not asked.url.endswith(("/session", "/catalog")):
            route.fulfill(status=500, content_type="application/problem+json", json=broken)
        else:
            route.continue_()

    page.context.route("**/*", answer)
    pages = {name: page.context.new_page() for name in ("board", "experiment", "compare", "run-queued", "workers")}
    pages |= {name: page.context.new_page() for name in ("/board/import", "/board/poolings/mean", "/board/new")}
    for name, opened in pages.items():
        opened.goto(site + (PAGES[name][0].format(**ids) if name in PAGES else name))
    for opened in pages.values():
        expect(opened.get_by_text("the disk is broken").first).to_be_visible()
        expect(opened.locator(".mantine-Skeleton-root, .mantine-Loader-root")).to_have_count(0)
        expect(opened.get_by_text("No such")).to_have_count(0)


def test_the_documentation_of_the_api_fits_a_phone(site: str, page: Page, check_width: Callable[[], None]) -> None:
    page.goto(f"{site}/docs")
    expect(page.get_by_role("heading", name="CCT Board")).to_be_visible()
    check_width()
