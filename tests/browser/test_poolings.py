"""Poolings of the user's own on the page: listed as they are saved, checked, chosen, compared line by line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.settings import Settings
from app.store.errands import Errands
from app.store.pooling_checks import PoolingChecks
from app.store.run_store import RunStore
from cct.own_poolings import full_name
from cct.spec import RunSpec
from tests.cct.test_own_poolings import SHARP

Check = Callable[[], None]
Save = Callable[[str], None]


@pytest.fixture
def folder(settings: Settings) -> Path:
    settings.poolings_folder.mkdir()
    return settings.poolings_folder


def test_a_saved_file_is_listed_checked_and_compared_line_by_line(
    site: str,
    page: Page,
    store: RunStore,
    folder: Path,
    screenshot: Save,
    check_accessibility: Check,
    check_width: Check,
) -> None:
    page.goto(f"{site}/board/poolings")
    expect(page.get_by_text("Begin with cctboard new-pooling NAME")).to_be_visible()
    (folder / "mine.py").write_text(SHARP)
    (folder / "bad.py").write_text("x = (")
    own = page.get_by_role("table", name="Your own")
    expect(own.get_by_role("row", name="sharp")).to_contain_text("Sequence pooling with sharper scores.")
    expect(page.get_by_text("line 1: SyntaxError: '(' was never closed")).to_be_visible()
    expect(own).to_contain_text("It waits for a worker")
    name, checks = full_name("sharp"), PoolingChecks(store)
    errand = Errands(store).take(1_000)
    assert errand is not None
    checks.add(errand.subject, 0, {"name": "imports", "outcome": "passed", "text": "Sharp, made from SeqPool"})
    expect(own).to_contain_text("1 check passed so far")
    checks.add(errand.subject, 1, {"name": "batch", "outcome": "noted", "text": "it mixes the batch"})
    checks.add(errand.subject, 2, {"name": "bf16", "outcome": "failed", "text": "results differ <b>much</b>"})
    checks.finish(errand.subject)
    expect(own).to_contain_text("1 check failed.")
    screenshot("poolings")
    check_accessibility()
    check_width()

    own.get_by_role("link", name="sharp").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.get_by_text("bf16: results differ <b>much</b>")).to_be_visible()
    expect(page.get_by_role("region", name="Code in mine.py")).to_contain_text("return 4 * super().scores(x)")
    difference = page.get_by_role("region", name=f"From seqpool to {name}")
    expect(difference).to_contain_text("+     def scores(self, x):")
    screenshot("pooling")
    check_accessibility()
    check_width()
    page.get_by_role("button", name="Check again").click()
    expect(page.get_by_text("It waits for a worker")).to_be_visible()
    expect(page.get_by_text("No worker is connected")).to_be_visible()
    (folder / "mine.py").write_text(SHARP.replace("4 *", "5 *"))
    expect(page.get_by_role("heading", name=name)).to_have_count(0)
    expect(page.get_by_role("heading", name=full_name("sharp"))).to_be_visible()
    page.goto(f"{site}/board/poolings/{name}")
    expect(page.get_by_text("not what its name stands for now")).to_be_visible()

    page.get_by_role("link", name="Compare it with seqpool").click()
    expect(page.get_by_role("combobox", name="pooling values")).to_be_visible()
    expect(page.get_by_text("is not checked yet").first).to_be_visible()

    specs = [RunSpec(dataset="digits", pooling=one, seed=seed) for one in ("seqpool", name) for seed in (0, 1)]
    experiment = store.create_experiment("Sharper", {"dataset": "digits"}, {}, specs)
    page.goto(f"{site}/board/experiments/{experiment.id}")
    page.get_by_text(f"Code of {name}: what differs from seqpool").click()
    expect(difference).to_contain_text("+         return 4 * super().scores(x)")
    run = next(run for run in store.runs() if run.spec.pooling == name)
    page.goto(f"{site}/board/runs/{run.id}")
    page.get_by_text("Code of the pooling").click()
    expect(page.get_by_role("region", name="Code in mine.py")).to_contain_text("return 4 * super().scores(x)")
    check_accessibility()
    page.goto(f"{site}/board/poolings/unknown")
    expect(page.get_by_text("there is no pooling 'unknown'")).to_be_visible()
