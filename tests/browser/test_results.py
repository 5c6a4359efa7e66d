"""Results from elsewhere on the page: imported with what their file does not say, marked, and counted on request."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from app.store.run_store import RunStore
from tests.app.web.test_results import log_of

Check = Callable[[], None]
Save = Callable[[str], None]


def test_logs_of_the_note_are_imported_and_counted_on_request(
    site: str,
    page: Page,
    store: RunStore,
    tmp_path: Path,
    screenshot: Save,
    check_accessibility: Check,
    check_width: Check,
) -> None:
    noted = {"seqpool": (88.34, 88.34, 64.41), "seqpool_softmax_tokens": (86.99, 87.10, 60.12)}
    name = ""
    for pooling, numbers in noted.items():
        file = tmp_path / f"{pooling}.log"
        file.write_text(log_of(*numbers))
        page.goto(f"{site}/board/import")
        page.locator("input[type=file]").set_input_files(file)
        expect(page.get_by_role("status").filter(has_text="final top-1")).to_contain_text(
            f"A log of the reference's script: 200 epochs, final top-1 {numbers[0]:.2f} %, best {numbers[1]:.2f} %"
        )
        button = page.get_by_role("button", name="Import")
        expect(button).to_be_disabled()
        expect(page.get_by_text("Still missing: model, pooling, dataset, seed")).to_be_visible()
        page.get_by_role("combobox", name="model").click()
        page.get_by_role("option", name="cct_2_3x2_32", exact=True).click()
        page.get_by_role("combobox", name="pooling").click()
        page.get_by_role("option", name=pooling, exact=True).click()
        page.get_by_role("combobox", name="dataset").click()
        page.get_by_role("option", name="cifar10", exact=True).click()
        page.get_by_label("seed").fill("0")
        if name:
            page.get_by_label("experiment").select_option(label=name)
        else:
            screenshot("import")
            check_accessibility()
            check_width()
        button.click()
        heading = page.get_by_role("heading", level=1, name="Imported")
        expect(heading).to_have_text("Imported: seqpool.log")
        name = "Imported: seqpool.log"
    table = page.get_by_role("table", name="Comparison")
    expect(table).to_contain_text("seqpool (external)")
    expect(table).to_contain_text("seqpool_softmax_tokens (external)")
    expect(table).to_contain_text("86.99")
    expect(page.get_by_text("All of this was trained elsewhere: let it count")).to_be_visible()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_timeout(1500)
    screenshot("external")
    check_accessibility()
    run = next(run for run in store.runs() if run.spec.pooling == "seqpool")
    page.goto(f"{site}/board/runs/{run.id}")
    expect(page.get_by_role("note", name="From elsewhere")).to_contain_text(
        "Trained elsewhere: a log of the reference's"
    )
    expect(page.get_by_role("button", name="Extend")).to_have_count(0)
    page.get_by_role("switch", name="It counts in verdicts").click()
    expect(page.get_by_role("switch", name="It counts in verdicts")).to_be_checked()
    assert store.run(run.id).counts
    check_accessibility()
