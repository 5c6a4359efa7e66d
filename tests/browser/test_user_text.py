"""What users have named is shown in charts as they have named it, and leaves room for the chart."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from app.analysis import report
from app.analysis.comparison import compare
from app.analysis.figures.style import LONGEST
from app.store.lease import Lease
from app.store.rows import Experiment, State
from app.store.run_store import RunStore
from cct.events import BETWEEN_CLASSES
from cct.spec import RunSpec
from tests.app.analysis.test_user_text import CLASSES, GROUP, VARIANTS, hostile
from tests.app.store.test_store import RECORD

LONG = ("L" * 90 + "eft", "L" * 90 + "ight")
SHOWN = (*VARIANTS[:2], *LONG)
OF_IMAGES = (*CLASSES, "W" * 90)


@pytest.fixture
def study(store: RunStore, claim: Callable[[], Lease]) -> Experiment:
    """Initial weights of such names, three seeds each, trained on images whose classes have such names too."""
    base = RunSpec(model="cct_7_7x2_224", dataset="image_folder", image_folder=VARIANTS[0], epochs=1, warmup_epochs=0)
    specs = [replace(base, pretrained=name, seed=seed) for name in SHOWN for seed in (0, 1, 2)]
    experiment = store.create_experiment("Names", {}, {GROUP: list(SHOWN), "seed": [0, 1, 2]}, specs)
    labels = range(len(OF_IMAGES))
    for number in range(len(specs)):
        lease = claim()
        lease.describe(provenance=json.dumps({"classes": BETWEEN_CLASSES.join(OF_IMAGES)}))
        lease.record_confusion(1, [[30 if x == y else (x * y + number) % 4 for x in labels] for y in labels])
        lease.record_epoch(replace(RECORD, val_top1=50.0 + number))
        lease.release(State.completed)
    return experiment


def check(figures: Locator) -> None:
    """No name has become a link, a line break or a bold word; Plotly makes them of tags and of nothing else."""
    expect(figures.first.locator(".trace, .hm image").first).to_be_attached()
    assert figures.locator(".main-svg a, .main-svg tspan[style*=bold], .main-svg tspan[dy='-0.6em']").count() == 0
    ticks = figures.locator(".ytick text, .xtick text").all_text_contents()
    assert ticks
    assert max(map(len, ticks)) <= LONGEST


def test_names_are_no_markup_on_the_page_of_an_experiment(
    site: str, study: Experiment, page: Page, screenshot: Callable[[str], None]
) -> None:
    figures = page.locator("figure.js-plotly-plot")
    for figure in ("confusion", "classes", "finals", "differences", "cost", "curves"):
        page.goto(f"{site}/board/experiments/{study.id}?group={GROUP}&figure={figure}")
        check(figures)
        screenshot(f"names-{figure}")
    page.goto(f"{site}/board/experiments/{study.id}?group={GROUP}&figure=confusion&variant={LONG[0]}")
    check(figures)
    figures.scroll_into_view_if_needed()
    cells = figures.locator(".hm image").bounding_box()
    assert cells is not None
    assert cells["width"] > 480, "one long name takes little of the room"
    page.mouse.move(cells["x"] + cells["width"] - 9, cells["y"] + 9)  # the first class taken for the last
    hover = figures.locator(".hovertext")
    expect(hover).to_contain_text(CLASSES[0])
    expect(hover).to_contain_text("W" * 60)
    page.emulate_media(color_scheme="dark")
    screenshot("names-confusion-dark")
    page.set_viewport_size({"width": 390, "height": 844})
    screenshot("names-confusion-phone")


def test_names_are_no_markup_in_a_report(page: Page, tmp_path: Path, screenshot: Callable[[str], None]) -> None:
    runs, found = hostile()
    saved = tmp_path / "report.html"
    saved.write_text(report.html(VARIANTS[4], runs, {run.id: [RECORD] for run in runs}, found, compare(runs, GROUP)))
    page.goto(saved.as_uri())
    expect(page.get_by_role("heading", level=1)).to_have_text(VARIANTS[4])
    check(page.locator(".js-plotly-plot"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    screenshot("names-report")
