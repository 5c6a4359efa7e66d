"""The table of runs in the browser: groups, archive, sparklines, columns, and what is edited in its cells."""

import re
from collections.abc import Callable
from dataclasses import replace

from playwright.sync_api import Page, expect

from app.store.lease import Lease
from app.store.rows import Run, State
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.browser.test_runs import Check, Save, queue_runs, row_of
from tests.conftest import wait_for

POOLINGS = ("seqpool", "mean", "max")


def finished_runs(store: RunStore, claim: Callable[[], Lease]) -> list[Run]:
    """Twelve runs of each of three poolings; the first nine of all are completed, the tenth is being trained."""
    specs = [RunSpec(dataset="digits", epochs=8, seed=seed, pooling=name) for seed in range(12) for name in POOLINGS]
    runs = store.create_runs(specs)
    for number in range(10):
        lease = claim()
        for epoch in range(1, 9 if number < 9 else 3):
            lease.record_epoch(replace(RECORD, epoch=epoch, val_top1=50 + 5 * epoch - number))
        if number < 9:
            lease.release(State.completed)
    return store.runs_by_id(run.id for run in runs)


def test_runs_are_grouped_and_groups_opened(
    site: str,
    page: Page,
    store: RunStore,
    claim: Callable[[], Lease],
    screenshot: Save,
    check_accessibility: Check,
    check_width: Check,
) -> None:
    finished_runs(store, claim)
    page.goto(site)
    page.get_by_label("Group runs").select_option("by pooling")
    groups = page.get_by_role("table", name="Groups of runs")
    expect(groups.get_by_role("row")).to_have_count(4)
    mean = groups.get_by_role("row").filter(has_text="mean")
    expect(mean).to_contain_text("86.00 ± 3.00")
    expect(mean).to_contain_text("n = 3")
    opener = mean.get_by_role("button", name="Runs with pooling mean")
    opener.press("Enter")
    expect(opener).to_have_attribute("aria-expanded", "true")
    inner = page.get_by_role("table", name="Runs with pooling mean", exact=True)
    expect(inner.get_by_role("row")).to_have_count(11)
    check_accessibility()
    screenshot("runs-groups")
    page.reload()
    expect(inner.get_by_role("row")).to_have_count(11)
    page.emulate_media(color_scheme="dark")
    check_accessibility()
    screenshot("runs-groups-dark")
    check_width()
    screenshot("runs-groups-phone")
    page.get_by_role("link", name="All 12 runs of this group").click()
    expect(page.get_by_text("12 runs", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?pooling=mean$"))
    page.get_by_role("button", name="Remove the filter pooling: mean").click()
    expect(page.get_by_text("36 runs", exact=True)).to_be_visible()


def test_curves_are_drawn_and_grow(
    site: str, page: Page, store: RunStore, claim: Callable[[], Lease], screenshot: Save, check_accessibility: Check
) -> None:
    runs = store.create_runs([RunSpec(dataset="digits", epochs=9, seed=seed) for seed in (0, 1)])
    lease = claim()
    for epoch in (1, 2):
        lease.record_epoch(replace(RECORD, epoch=epoch, val_top1=40.0 + epoch))
    page.goto(site)
    row = row_of(page, runs[0])
    expect(row.get_by_role("img", name="From 41.0 % to 42.0 % in 2 epochs")).to_be_visible()
    expect(row_of(page, runs[1]).get_by_role("img")).to_have_count(0)
    lease.record_epoch(replace(RECORD, epoch=3, val_top1=77.0))
    expect(row.get_by_role("img", name="From 41.0 % to 77.0 % in 3 epochs")).to_be_visible()
    check_accessibility()
    screenshot("runs-curves")


def test_archived_runs_disappear_and_come_back(
    site: str, page: Page, store: RunStore, check_accessibility: Check
) -> None:
    kept, first, second = store.create_runs([RunSpec(dataset="digits", seed=seed) for seed in range(3)])
    page.goto(site)
    for run in (first, second):
        page.get_by_label(f"Select run {run.id}").check()
    page.get_by_role("button", name="Archive", exact=True).click()
    expect(page.get_by_text("1 run", exact=True)).to_be_visible()
    expect(row_of(page, kept)).to_be_visible()
    assert [run.archived for run in store.runs()] == [True, True, False]
    page.get_by_label("Archived runs").select_option("Archived only")
    expect(row_of(page, first)).to_contain_text("archived")
    expect(page).to_have_url(re.compile("archived=only"))
    page.get_by_label("Select all runs on this page").check()
    check_accessibility()
    page.get_by_role("button", name="Unarchive").click()
    expect(page.get_by_text("0 runs", exact=True)).to_be_visible()
    page.get_by_label("Archived runs").select_option("Not archived")
    expect(page.get_by_text("3 runs", exact=True)).to_be_visible()
    # Archived elsewhere.
    store.edit(kept.id, {"archived": True})
    expect(page.get_by_text("2 runs", exact=True)).to_be_visible()


def test_cells_are_edited_and_the_address_says_which_columns(
    site: str, page: Page, store: RunStore, check_accessibility: Check
) -> None:
    [run] = store.create_runs([RunSpec(dataset="digits")])
    page.goto(f"{site}/?columns=state+tags+note")
    expect(page.get_by_role("columnheader", name="State")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Epochs")).to_be_hidden()
    row = row_of(page, run)
    row.get_by_role("button", name=f"Edit: Note of run {run.id}").click()
    page.get_by_role("textbox", name=f"Note of run {run.id}").fill("diverged")
    page.keyboard.press("Control+Enter")
    expect(row.get_by_text("diverged")).to_be_visible()
    row.get_by_role("button", name=f"Edit: Tags of run {run.id}").click()
    tags = page.get_by_role("combobox", name="Tags")
    tags.fill("paper")
    tags.press("Enter")
    expect(row.get_by_text("paper", exact=True)).to_be_visible()
    wait_for(lambda: (store.run(run.id).note, store.run(run.id).tags) == ("diverged", ["paper"]))
    check_accessibility()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Seed").check()
    expect(page).to_have_url(re.compile(r"columns=state\+seed\+tags\+note"))
    page.goto(site)
    expect(page.get_by_role("columnheader", name="Seed")).to_be_visible()
    expect(page.get_by_role("columnheader", name="Epochs")).to_be_hidden()


def test_the_chosen_columns_are_kept(site: str, page: Page, store: RunStore) -> None:
    queue_runs(store, 1)
    page.goto(site)
    expect(page.get_by_role("columnheader", name="Dataset")).to_be_visible()
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Dataset").uncheck()
    page.get_by_label("Priority").check()
    for _ in range(2):
        expect(page.get_by_role("columnheader", name="Dataset")).to_be_hidden()
        expect(page.get_by_role("columnheader", name="Priority")).to_be_visible()
        page.reload()
