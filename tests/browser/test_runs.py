"""Queue, list of runs and page of a run in the browser, over the real API; no worker, so nothing moves by itself."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from playwright.sync_api import Locator, Page, expect

from app.limits import LOG_LINES
from app.settings import Settings
from app.store.lease import Lease
from app.store.rows import Run, State
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import wait_for

HOSTILE = "<img src=x onerror=\"document.title='broken'\">"

Check = Callable[[], None]
Save = Callable[[str], None]


def queue_runs(store: RunStore, count: int) -> list[Run]:
    return store.create_runs([RunSpec(dataset="digits", epochs=3, seed=seed) for seed in range(count)])


def row_of(page: Page, run: Run) -> Locator:
    return page.get_by_role("table", name="Runs").get_by_role("row").filter(has_text=f"run {run.id}")


@pytest.fixture
def board_of_all_states(store: RunStore, claim: Callable[[], Lease]) -> list[Run]:
    """An experiment of four runs: completed, failed, running and queued; note and tag are hostile."""
    specs = [RunSpec(dataset="digits", epochs=3, pooling=name) for name in ("seqpool", "mean", "max", "gem")]
    axes = {"pooling": [spec.pooling for spec in specs]}
    experiment = store.create_experiment(f"Poolings {HOSTILE}", {"dataset": "digits", "epochs": 3}, axes, specs)
    runs = store.experiment_runs(experiment.id)
    completed, failed, running = claim(), claim(), claim()
    for lease in (completed, failed):
        lease.describe(device="AMD EPYC 9654", parameters=280_000, provenance='{"torch": "2.11", "cpu_threads": "2"}')
        lease.log(["loading digits", HOSTILE, *(f"epoch {n}: loss 1.{n}" for n in range(40))])
    for epoch in (1, 2, 3):
        completed.record_epoch(replace(RECORD, epoch=epoch))
    failed.record_epoch(RECORD)
    for watts in (250, 310, 290):
        facts = {"cores": 1.5, "memory_bytes": 9e8, "gpu_percent": 80, "gpu_memory_bytes": 4e9, "watts": watts}
        failed.measure(5 * watts, facts)
    completed.release(State.completed)
    failed.release(State.failed, "ValueError: the loss is not finite\nafter step 12 of epoch 2")
    running.describe(step=3, steps=12, epoch_seconds=4)
    store.edit(failed.run_id, {"note": f"look again\n{HOSTILE}", "tags": [HOSTILE, "paper"]})
    return store.runs_by_id(run.id for run in runs)


def test_the_queue_is_paused_and_resumed_and_shows_places(
    site: str, page: Page, store: RunStore, check_accessibility: Check
) -> None:
    first, second, third = queue_runs(store, 3)
    page.goto(site)
    expect(page.get_by_text("3 runs in the queue", exact=True)).to_be_visible()
    expect(row_of(page, third)).to_contain_text("3.")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("The queue is paused")).to_be_visible()
    expect(row_of(page, third)).to_contain_text("3. paused")
    assert store.paused()
    check_accessibility()

    # From elsewhere: resumed, reordered, cancelled.
    store.pause(False)
    expect(page.get_by_text("3 runs in the queue", exact=True)).to_be_visible()
    store.edit(third.id, {"priority": 7})
    expect(row_of(page, third)).to_contain_text("1.")
    store.cancel(first.id)
    expect(page.get_by_text("2 runs in the queue", exact=True)).to_be_visible()
    expect(row_of(page, second)).to_contain_text("2.")


def test_the_priority_of_an_experiment_is_changed(site: str, page: Page, store: RunStore) -> None:
    specs = [RunSpec(dataset="digits", seed=seed) for seed in (5, 6)]
    [single] = queue_runs(store, 1)
    experiment = store.create_experiment("Later is better", {}, {"seed": [5, 6]}, specs)
    page.goto(site)
    card = page.get_by_role("article").filter(has_text="Later is better")
    card.get_by_role("button", name="Priority").click()
    page.get_by_role("textbox", name="Priority").fill("9")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(row_of(page, single)).to_contain_text("3.")
    assert [run.priority for run in store.experiment_runs(experiment.id)] == [9, 9]


def test_thousands_of_runs_are_paged_filtered_and_found(
    site: str, page: Page, store: RunStore, check_accessibility: Check, check_width: Check
) -> None:
    runs = queue_runs(store, 1999)
    specs = [RunSpec(dataset="digits", pooling="mean")]
    experiment = store.create_experiment("The one", {"dataset": "digits"}, {}, specs)
    page.goto(site)
    table = page.get_by_role("table", name="Runs")
    expect(page.get_by_text("2,000 runs", exact=True)).to_be_visible()
    expect(table.get_by_role("row")).to_have_count(51)
    page.get_by_role("button", name="Seed").click()
    expect(page).to_have_url(re.compile("sort=-seed"))
    page.get_by_role("button", name="last page").click()
    expect(row_of(page, runs[0])).to_be_visible()
    page.reload()
    expect(row_of(page, runs[0])).to_be_visible()

    page.get_by_role("combobox", name="Filter by experiment").click()
    page.get_by_role("option", name="The one").click()
    expect(page).to_have_url(re.compile(f"experiment={experiment.id}"))
    expect(page.get_by_text("1 run", exact=True)).to_be_visible()
    expect(table.get_by_role("row")).to_have_count(2)
    page.goto(f"{site}/?state=completed")
    expect(page.get_by_text("0 runs", exact=True)).to_be_visible()
    page.goto(f"{site}/?text={runs[70].id}")
    expect(row_of(page, runs[70])).to_be_visible()
    expect(page.get_by_text("1 run", exact=True)).to_be_visible()
    check_accessibility()
    check_width()


def test_many_runs_are_tagged_cancelled_retried_and_deleted(
    site: str, page: Page, store: RunStore, screenshot: Save, check_accessibility: Check
) -> None:
    runs = queue_runs(store, 60)
    store.edit(runs[0].id, {"tags": ["old"]})
    page.goto(f"{site}/?sort=seed")
    page.get_by_label("Select all runs on this page").check()
    bar = page.get_by_role("region", name="Selected runs")
    expect(bar.get_by_text("50 runs selected")).to_be_visible()
    bar.get_by_role("button", name="Select all 60").click()
    expect(bar.get_by_text("60 runs selected")).to_be_visible()
    check_accessibility()

    bar.get_by_role("button", name="Tag").click()
    tags = page.get_by_role("combobox", name="Tags to add")
    tags.fill(HOSTILE[:50])
    tags.press("Enter")
    page.get_by_role("button", name="Add to 60 runs").click()
    expect(page.get_by_role("button", name="Add to 60 runs")).to_be_hidden()
    assert store.run(runs[0].id).tags == ["old", HOSTILE[:50]]
    assert all(HOSTILE[:50] in run.tags for run in store.runs())

    bar.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog", name="Cancel")).to_be_visible()
    check_accessibility()
    screenshot("runs-bulk")
    page.get_by_role("button", name="Yes, cancel 60 runs").click()
    expect(row_of(page, runs[0])).to_contain_text("cancelled")
    expect(page.get_by_text("The queue is empty")).to_be_visible()
    bar.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("60 runs in the queue", exact=True)).to_be_visible()

    # One of them cannot be deleted; the others are.
    lease = store.claim("elsewhere")
    assert lease is not None
    bar.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Delete 60 runs? Their results, logs and checkpoints are removed")).to_be_visible()
    page.get_by_role("button", name="Yes, delete 60 runs").click()
    expect(page.get_by_text("1 run of 60 stayed as before")).to_be_visible()
    expect(page.get_by_text("1 run", exact=True)).to_be_visible()
    assert [run.id for run in store.runs()] == [lease.run_id]


def test_a_failed_run_is_read_annotated_and_retried(
    site: str,
    page: Page,
    store: RunStore,
    board_of_all_states: list[Run],
    screenshot: Save,
    check_accessibility: Check,
    check_width: Check,
) -> None:
    failed = board_of_all_states[1]
    page.goto(f"{site}/board/runs/{failed.id}")
    expect(page.get_by_role("alert").filter(has_text="This run failed")).to_contain_text("not finite")
    line = page.get_by_role("list", name="Time line")
    expect(line.get_by_role("listitem")).to_contain_text([re.compile(w) for w in ("queued", "started", "failed")])
    expect(page.get_by_text(HOSTILE).first).to_be_visible()
    expect(page.get_by_role("table", name="Provenance").get_by_role("row", name="cpu threads 2")).to_be_visible()
    expect(page.get_by_role("table", name="Spec").get_by_role("row", name="epochs 3 (default: 200)")).to_be_visible()
    expect(page.get_by_text("0.00118 kWh")).to_be_visible()
    page.get_by_text("Load and memory over time").click()
    expect(page.get_by_role("figure", name="Load and memory over time")).to_contain_text("GPU power (W)")
    check_accessibility()
    screenshot("run-failed")

    log = page.get_by_role("log", name="Log")
    expect(log).to_contain_text(HOSTILE)
    page.get_by_role("searchbox", name="Search the log").fill("loss 1.3")
    expect(page.get_by_text("11 of 42 lines")).to_be_visible()
    expect(log).not_to_contain_text("loading digits")
    expect(page).to_have_url(re.compile(r"log=loss\+1\.3"))

    page.get_by_role("button", name="Edit note").click()
    expect(page.get_by_label("Note")).to_have_value(f"look again\n{HOSTILE}")
    page.get_by_label("Note").fill(f"batch too large\n{HOSTILE}")
    page.get_by_role("button", name="Save", exact=True).click()
    # What is typed is text of the field too: the note is saved when the field has gone.
    expect(page.get_by_role("textbox", name="Note")).to_have_count(0)
    expect(page.get_by_text("batch too large")).to_be_visible()
    tags = page.get_by_role("combobox", name="Tags")
    tags.fill("seen")
    tags.press("Enter")
    expect(page.get_by_text("seen", exact=True)).to_be_visible()
    # A tag is shown while it is being saved.
    wait_for(lambda: store.run(failed.id).tags == [HOSTILE, "paper", "seen"])
    assert store.run(failed.id).note == f"batch too large\n{HOSTILE}"

    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Place in the queue")).to_be_visible()
    expect(line.get_by_role("listitem").last).to_contain_text("retried")
    page.get_by_role("button", name="Priority").click()
    page.get_by_role("textbox", name="Priority").fill("-3")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(line.get_by_role("listitem").last).to_contain_text("-3")
    check_width()
    screenshot("run-failed-phone")
    assert page.title() != "broken"


def test_a_run_is_deleted_here_and_elsewhere(
    site: str, page: Page, store: RunStore, board_of_all_states: list[Run]
) -> None:
    completed, failed, running, _ = board_of_all_states
    page.goto(f"{site}/board/runs/{running.id}")
    expect(page.get_by_role("button", name="Cancel run")).to_be_visible()
    expect(page.get_by_role("button", name="Delete")).to_be_hidden()
    page.goto(f"{site}/board/runs/{failed.id}")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Delete 1 run? Their results, logs and checkpoints")).to_be_visible()
    page.get_by_role("button", name="Yes, delete 1 run").click()
    expect(page).to_have_url(f"{site}/")
    expect(page.get_by_text("3 runs", exact=True)).to_be_visible()
    page.goto(f"{site}/board/runs/{completed.id}")
    expect(page.get_by_role("heading", name="seqpool")).to_be_visible()
    store.delete(completed.id)
    expect(page.get_by_text("No such run here")).to_be_visible()
    # The page was not connected at that moment, and reads everything again.
    for kind, gone in (("run", running.id), ("experiment", str(running.experiment_id))):
        page.goto(f"{site}/board/{kind}s/{gone}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        store.redis.delete(store.key(kind, gone))
        store.tell("reset", {})
        expect(page.get_by_text(f"No such {kind} here")).to_be_visible()


def test_a_run_is_cloned_with_changes(
    site: str, page: Page, store: RunStore, check_accessibility: Check, check_width: Check
) -> None:
    [run] = store.create_runs([RunSpec(dataset="digits", epochs=7, pooling="mean", lr=0.002)])
    page.goto(f"{site}/board/runs/{run.id}")
    page.get_by_role("link", name="Clone with changes").click()
    expect(page.get_by_label("epochs", exact=True)).to_have_value("7")
    check_accessibility()
    check_width()
    page.get_by_label("epochs", exact=True).fill("9")
    page.get_by_role("button", name="Queue run").click()
    expect(page).to_have_url(re.compile(r"/board/runs/(?!" + run.id + r")\w+"))
    assert {run.spec for run in store.runs()} == {run.spec, replace(run.spec, epochs=9)}


def test_hostile_words_are_shown_as_words(
    site: str,
    page: Page,
    board_of_all_states: list[Run],
    screenshot: Save,
    check_accessibility: Check,
    check_width: Check,
) -> None:
    page.goto(site)
    page.get_by_role("button", name="Columns").click()
    for name in ("Experiment", "Tags", "Note"):
        page.get_by_label(name, exact=True).check()
    page.keyboard.press("Escape")
    row = row_of(page, board_of_all_states[1])
    expect(row.get_by_text(HOSTILE)).to_have_count(3)
    expect(page.get_by_role("article").get_by_text(f"Poolings {HOSTILE}")).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "CCT Board"
    check_accessibility()
    screenshot("board")
    page.emulate_media(color_scheme="dark")
    check_accessibility()
    screenshot("board-dark")
    check_width()
    screenshot("board-phone")


def test_keys_lead_to_pages_and_search(site: str, page: Page, store: RunStore, check_accessibility: Check) -> None:
    queue_runs(store, 1)
    page.goto(f"{site}/board/workers")
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    page.keyboard.type("/")
    search = page.get_by_role("searchbox", name="Filter by text")
    expect(search).to_be_focused()
    page.keyboard.type("gw")
    expect(search).to_have_value("gw")
    page.keyboard.press("Escape")
    expect(search).not_to_be_focused()
    page.wait_for_timeout(500)  # what was typed is in the address
    page.keyboard.type("n")
    expect(page).to_have_url(re.compile("/board/new"))
    page.keyboard.type("gb")
    expect(page).to_have_url(re.compile(r"/$|/\?"))
    page.keyboard.type("gw")
    expect(page).to_have_url(f"{site}/board/workers")
    page.keyboard.type("?")
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(sheet).to_be_visible()
    check_accessibility()
    sheet.get_by_label("Use shortcuts").uncheck()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    page.keyboard.type("n")
    page.keyboard.type("?")
    expect(page).to_have_url(f"{site}/board/workers")
    expect(sheet).to_be_hidden()


def test_a_log_that_is_cut_says_so(site: str, page: Page, store: RunStore, claim: Callable[[], Lease]) -> None:
    [run] = store.create_runs([RunSpec(dataset="digits")])
    lease = claim()
    lease.log(["first"])
    page.goto(f"{site}/board/runs/{run.id}")
    lines = page.get_by_role("status").filter(has_text="line")
    expect(lines).to_have_text("1 line")
    lease.log(["more"] * LOG_LINES)
    expect(lines).to_have_text("5,001 lines; older ones are not kept")


def test_warnings_are_seen_on_the_form_in_the_list_and_on_the_page(
    site: str,
    page: Page,
    store: RunStore,
    claim: Callable[[], Lease],
    screenshot: Save,
    check_accessibility: Check,
    check_width: Check,
) -> None:
    page.goto(f"{site}/board/new?dataset=digits&augmentation=autoaugment&epochs=3&pooling=mean&pooling=max")
    notice = page.get_by_role("note", name="2 warnings")
    expect(notice).to_contain_text("The augmentation autoaugment mirrors images, and a mirrored digit is another sign")
    expect(notice).to_contain_text("The warm-up of 5 epochs does not end before the run of 3 does")
    check_accessibility()
    screenshot("form-warnings")
    page.get_by_role("button", name="Queue 2 runs").click()
    expect(page.get_by_role("link", name="queued").first).to_contain_text("2 warnings")
    expect(page.get_by_role("note", name="2 warnings")).to_contain_text("(mean, max: 2 runs)")
    lease = claim()
    lease.describe(majority_share=95.0, duplicates=12)
    lease.record_epoch(replace(RECORD, val_top1=95.0, val_balanced=50.0))
    page.goto(site)
    row = page.get_by_role("table", name="Runs").get_by_role("row").filter(has_text=f"run {lease.run_id}")
    expect(row).to_contain_text("2 warnings")
    page.goto(f"{site}/board/runs/{lease.run_id}")
    expect(page.get_by_role("note", name="2 warnings")).to_contain_text("a mirrored digit is another sign")
    for name, value in {
        "Balanced accuracy": "50.00 %",
        "Most frequent class": "95.0 %",
        "In training set, too": "12",
    }.items():
        expect(page.locator("dt").filter(has_text=name).locator("xpath=following-sibling::dd")).to_have_text(value)
    check_accessibility()
    screenshot("run-warnings")
    page.emulate_media(color_scheme="dark")
    check_accessibility()
    screenshot("run-warnings-dark")
    check_width()


def test_a_completed_run_gets_more_epochs(
    site: str,
    page: Page,
    store: RunStore,
    settings: Settings,
    board_of_all_states: list[Run],
    check_accessibility: Check,
) -> None:
    completed = board_of_all_states[0]
    folder = settings.run_folder(completed.id) / "1"
    folder.mkdir(parents=True)
    page.goto(f"{site}/board/runs/{completed.id}")
    page.get_by_role("button", name="More epochs").click()
    expect(page.get_by_text("this is not the same as training so long in one go")).to_be_visible()
    page.get_by_role("textbox", name="Epochs in all").fill("9")
    page.get_by_role("button", name="Queue it").click()
    expect(page.get_by_text(f"the checkpoint of run {completed.id} is gone")).to_be_visible()
    for name in ("last.pt", "best.pt"):
        (folder / name).write_text(name)
    page.get_by_role("button", name="Queue it").click()
    expect(page.get_by_text(f"goes on after epoch 3 of run {completed.id}")).to_be_visible()
    expect(page.get_by_role("note", name="1 warning")).to_contain_text("this is not the same as 9 epochs in one go")
    check_accessibility()
    assert [run.spec.epochs for run in store.runs() if run.extends == completed.id] == [9]
