"""What users write as long as they may, in wide letters and without a blank: no page is wider for it."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from app.limits import NAME_LENGTH, NOTE_LENGTH, TAG_LENGTH
from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from cct.events import BETWEEN_CLASSES
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.browser.conftest import CUT_OFF, PHONE
from tests.browser.studies import IMAGE

NAME = "W" * NAME_LENGTH
FOLDER = "M" * 255
CLASSES = ["Ω" * 90, "@" * 90]
ERROR = "/" + "W" * 2_000 + ": no such file"
PROVENANCE = {"classes": BETWEEN_CLASSES.join(CLASSES), "dataset": "W" * 300, "commit": "f" * 300}

DESKTOP: ViewportSize = {"width": 1280, "height": 900}

PAGES = {
    "board": "/",
    "board-filtered": f"/?experiment={{experiment}}&tag={'W' * TAG_LENGTH}&columns=experiment+tags+note+device",
    "board-by-experiment": "/?group=experiment",
    "board-by-tag": f"/?group=tag&open=.{'W' * TAG_LENGTH}",
    "experiment": "/board/experiments/{experiment}",
    "experiment-by-folder": "/board/experiments/{experiment}?group=image_folder",
    "confusion": "/board/experiments/{experiment}?group=image_folder&figure=confusion",
    "run-completed": "/board/runs/{completed}",
    "run-failed": "/board/runs/{failed}",
    "compare": "/board/compare?run={completed}&run={failed}",
    "new-run": f"/board/new?name={NAME}&dataset=image_folder&image_folder={FOLDER}&seed=0&seed=1",
    "workers": "/board/workers",
}


@pytest.fixture
def ids(store: RunStore, claim: Callable[[], Lease]) -> dict[str, str]:
    """An experiment on two image folders, a completed and a failed run, and a worker that trains."""
    base = RunSpec(dataset="image_folder", image_folder=FOLDER, epochs=2, augmentation="none")
    axes: dict[str, list[Any]] = {"image_folder": [FOLDER, "m" * 255], "seed": [0, 1]}
    specs = [replace(base, image_folder=folder, seed=seed) for seed in (0, 1) for folder in (FOLDER, "m" * 255)]
    experiment = store.create_experiment(NAME, {"dataset": "image_folder"}, axes, specs)
    store.edit_experiment(experiment.id, {"note": "W" * NOTE_LENGTH})
    completed, failed, running = claim(), claim(), claim()
    for lease in (completed, failed, running):
        lease.describe(device="W" * 120, provenance=json.dumps(PROVENANCE))
        lease.record_epoch(RECORD)
        lease.record_confusion(1, [[40, 2], [3, 41]])
        look = {"shares": [[0.1, 0.2, 0.3, 0.4]] * 2, "entropy": [1.28] * 2, "confidence": [0.5, 0.9]}
        lease.record_look(1, look | {"epoch": 1, "predicted": [0, 1]})
        lease.log(["W" * 3_000])
    completed.record_epoch(replace(RECORD, epoch=2))
    completed.release(State.completed)
    failed.release(State.failed, ERROR)
    store.set_images(f"image_folder/{FOLDER}", [{"label": label, "url": IMAGE} for label in (0, 1)])
    for run in store.runs():
        store.edit(run.id, {"note": "W" * NOTE_LENGTH, "tags": [f"{letter * TAG_LENGTH}" for letter in "WM@Ωm"]})
    store.heartbeat("W" * 200, device="W" * 120, version="1", run_id=running.run_id)
    return {"experiment": experiment.id, "completed": completed.run_id, "failed": failed.run_id}


def test_no_text_widens_a_page(site: str, ids: dict[str, str], page: Page, screenshot: Callable[[str], None]) -> None:
    too_wide = []
    for name, path in PAGES.items():
        page.set_viewport_size(DESKTOP)
        page.goto(site + path.format(**ids))
        expect(page.locator("main h1, main h2").first).to_be_attached()
        expect(page.locator(".mantine-Skeleton-root, .mantine-Loader-root")).to_have_count(0)
        too_far = {
            "": "[document.documentElement.scrollWidth - innerWidth].filter((pixels) => pixels > 0)",
            "-phone": CUT_OFF,
        }
        for where, size in (("", DESKTOP), ("-phone", PHONE)):
            page.set_viewport_size(size)
            deadline = time.monotonic() + 3  # figures take a moment for their new size
            while found := page.evaluate(too_far[where]):
                if time.monotonic() > deadline:
                    too_wide.append(f"{name}{where}: {found}")
                    break
            screenshot(f"long-{name}{where}")
    assert too_wide == []


def test_no_text_widens_a_dialog(site: str, ids: dict[str, str], page: Page, screenshot: Callable[[str], None]) -> None:
    page.set_viewport_size(PHONE)
    page.goto(f"{site}/?columns=tags+note")
    page.get_by_role("combobox", name="Filter by experiment").click()
    expect(page.get_by_role("option", name=NAME)).to_be_visible()
    screenshot("long-options")
    fits(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Edit: Tags of run").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    screenshot("long-tags")
    fits(page)
    page.goto(f"{site}/board/experiments/{ids['experiment']}")
    page.get_by_role("button", name="Edit: Name of the experiment").click()
    expect(page.get_by_label("Name of the experiment", exact=True)).to_have_value(NAME)
    fits(page)


def fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
