"""What the address says is what the page shows, also after links, back and forward."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from app.store.run_store import RunStore
from cct.spec import RunSpec


def test_the_board_follows_links_and_the_way_back(site: str, page: Page, store: RunStore) -> None:
    store.create_runs([RunSpec(dataset="digits", pooling=pooling) for pooling in ("mean", "max")])
    text = page.get_by_label("Filter by text")
    rows = page.get_by_role("table", name="Runs").get_by_role("row")
    notes = page.get_by_role("columnheader", name="Note")

    def shows(typed: str, runs: int, note: bool) -> None:
        expect(text).to_have_value(typed)
        expect(rows).to_have_count(1 + runs)
        expect(notes).to_have_count(int(note))

    def toggle_notes() -> None:
        page.get_by_role("button", name="Columns").click()
        page.get_by_label("Columns").get_by_label("Note", exact=True).click()
        page.keyboard.press("Escape")

    page.goto(f"{site}/board/")  # an address that was cut short
    expect(page).to_have_url(f"{site}/")
    shows("", 2, note=False)
    text.fill("mean")
    expect(page).to_have_url(re.compile("text=mean"))
    toggle_notes()
    expect(page).to_have_url(re.compile("columns=.*note"))
    shows("mean", 1, note=True)
    page.get_by_role("link", name="CCT Board").click()
    expect(page).to_have_url(f"{site}/")
    shows("", 2, note=True)  # as this browser showed last
    toggle_notes()
    shows("", 2, note=False)
    text.press_sequentially("max", delay=20)
    shows("max", 1, note=False)
    page.go_back()
    shows("mean", 1, note=True)
    page.go_forward()
    shows("max", 1, note=False)
    # Left before it was written into the address.
    text.fill("other")
    page.get_by_role("link", name="CCT Board").click()
    expect(page).to_have_url(f"{site}/")
    page.wait_for_timeout(400)
    shows("", 2, note=False)


def test_the_form_follows_links_and_the_way_back(site: str, page: Page) -> None:
    page.goto(f"{site}/board/new?epochs=8&pooling=mean&pooling=max&priority=3")
    epochs, queue = page.get_by_label("epochs", exact=True), page.get_by_role("button", name=re.compile("^Queue"))

    def shows(value: str, label: str, priority: str) -> None:
        expect(epochs).to_have_value(value)
        expect(queue).to_have_text(label)
        expect(page.get_by_label("Priority")).to_have_value(priority)

    shows("8", "Queue 2 runs", "3")
    epochs.fill("9")
    page.get_by_role("link", name="New run").click()
    shows("200", "Queue run", "0")
    page.go_back()
    expect(queue).to_have_text("Queue 2 runs")


def test_the_form_shows_commands_that_do_the_same(site: str, page: Page, store: RunStore) -> None:
    name = """it's "50 %" of $HOME; `ls` \\ *"""
    page.goto(f"{site}/board/new?dataset=digits&epochs=3&pooling=mean&pooling=max&priority=-2")
    page.get_by_label("Experiment name").fill(name)
    for command in ("CCTBOARD_URL=", "curl"):
        text = page.locator(".command").filter(has_text=re.compile(f"^{command}")).inner_text()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(["sh", "-c", text], env=os.environ | {"PATH": path}, check=True, capture_output=True)
        [experiment] = store.experiments()
        assert experiment.name == name
        assert (experiment.axes, experiment.priority) == ({"pooling": ["mean", "max"]}, -2)
        assert {run.spec.epochs for run in store.runs()} == {3}
        store.cancel_experiment(experiment.id)
        store.delete_experiment(experiment.id)


def test_the_matrix_shows_all_runs_of_a_large_experiment(site: str, page: Page, store: RunStore) -> None:
    poolings, seeds = ["mean", "max"], list(range(550))
    specs = [RunSpec(dataset="digits", pooling=pooling, seed=seed) for seed in seeds for pooling in poolings]
    axes: dict[str, list[Any]] = {"pooling": poolings, "seed": seeds}
    experiment = store.create_experiment("large", {"dataset": "digits"}, axes, specs)
    page.goto(f"{site}/board/experiments/{experiment.id}")
    expect(page.locator(".tile")).to_have_count(1_100)
    expect(page.get_by_text("missing", exact=True)).to_have_count(0)
