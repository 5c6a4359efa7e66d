"""What is taken away from the pages: each file as the browser saved it, read by what it is meant for."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect
from safetensors.torch import load_file, save_file

from app.settings import Settings
from app.store.lease import Lease
from app.store.rows import Experiment
from app.store.run_store import RunStore
from tests.app.web.test_files import events_of
from tests.browser.test_confusion import EPOCHS, RECALL, complete, queue_study

SEEDS = 2
TITLE = "Is a -softmax- needed? <b>50 %</b>, ÄÖ"

Save = Callable[[Locator], Path]


@pytest.fixture
def study(store: RunStore, claim: Callable[[], Lease]) -> Experiment:
    """Two poolings, two seeds, all completed, with confusion matrices."""
    experiment = queue_study(store, TITLE, SEEDS)
    complete(store, claim, experiment.runs)
    return experiment


@pytest.fixture
def save(page: Page, tmp_path: Path) -> Save:
    """Clicks, and returns the file under the name that the browser gave it."""

    def save(what: Locator) -> Path:
        with page.expect_download() as download:
            what.click()
        assert download.value.failure() is None
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        return path

    return save


@pytest.fixture
def take(page: Page, save: Save) -> Callable[[str], Path]:
    """Saves an entry of the menu of an experiment's page."""

    def take(entry: str) -> Path:
        page.get_by_role("button", name="Take it with you").click()
        return save(page.get_by_role("menuitem", name=entry))

    return take


def test_a_comparison_arrives_in_each_format(
    site: str, study: Experiment, page: Page, take: Callable[[str], Path]
) -> None:
    page.goto(f"{site}/board/experiments/{study.id}")
    with take("Save as CSV").open(encoding="utf-8", newline="") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["seqpool", "mean"]
    assert [(row["runs"], row["final_n"]) for row in rows.values()] == [("2", "2")] * 2
    saved = json.loads(take("Save as JSON").read_text(encoding="utf-8"))
    assert saved == page.request.get(f"{site}/comparison?experiment={study.id}").json()
    assert [row["final"]["mean"] for row in saved["variants"]] == [float(row["final_mean"]) for row in rows.values()]

    markdown = take("Save as Markdown")
    head, ruler, *lines = markdown.read_text(encoding="utf-8").splitlines()
    assert (markdown.suffix, {line.count("|") for line in (head, ruler, *lines[: len(RECALL)])}) == (".md", {9})
    latex = take("Save as LaTeX")
    tabular = latex.read_text(encoding="utf-8").splitlines()
    assert (latex.suffix, tabular[0], tabular[-1]) == (".tex", r"\begin{tabular}{lrrrrrrr}", r"\end{tabular}")
    cells = [re.findall(r"(?<!\\)&", line) for line in tabular if line.endswith(r"\\")]
    assert [len(found) for found in cells] == [7] * (1 + len(RECALL))

    with take("Save all epochs").open(encoding="utf-8", newline="") as file:
        epochs = list(csv.DictReader(file))
    assert len(epochs) == study.runs * EPOCHS
    assert {(row["pooling"], row["seed"], row["epoch"]) for row in epochs} == {
        (pooling, str(seed), str(epoch)) for pooling in RECALL for seed in range(SEEDS) for epoch in (1, EPOCHS)
    }


def test_the_report_opens_without_a_network(
    site: str, study: Experiment, page: Page, browser: Browser, take: Callable[[str], Path]
) -> None:
    page.goto(f"{site}/board/experiments/{study.id}")
    report = take("Save report")
    assert report.name == "cctboard-report.html"
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 844})
    reader = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    reader.on("request", lambda request: asked.append(request.url))
    reader.on("console", lambda message: wrong.append(message.text))
    reader.on("pageerror", lambda error: wrong.append(str(error)))
    reader.goto(report.as_uri())
    expect(reader.get_by_role("heading", level=1)).to_have_text(TITLE)
    expect(reader.locator(".answer")).not_to_be_empty()
    charts = reader.locator(".js-plotly-plot")
    # Curves of top-1 and loss, final results, differences, a confusion matrix each, the difference by class.
    expect(charts).to_have_count(7)
    for chart in charts.all():
        expect(chart.locator(".scatterlayer .trace, .hm image").first).to_be_attached()
    expect(charts.nth(4)).to_contain_text("ankle boot")
    assert reader.evaluate("document.documentElement.scrollWidth") <= 390
    assert asked == [report.as_uri()]
    assert wrong == []
    context.close()


@pytest.mark.parametrize(
    ("tab", "label", "word"),
    [("Curves", "Validation top-1 (%)", "seqpool"), ("Confusion", "Confusion matrix", "ankle boot")],
)
def test_a_figure_is_saved_as_svg(
    site: str, study: Experiment, page: Page, save: Save, tab: str, label: str, word: str
) -> None:
    page.goto(f"{site}/board/experiments/{study.id}")
    page.get_by_role("tab", name=tab).click()
    figure = page.get_by_role("figure", name=label)
    expect(figure.locator(".scatterlayer .trace, .hm image").first).to_be_attached()
    svg = ET.parse(save(page.get_by_role("button", name=f"Save {label} as SVG"))).getroot()
    size = figure.bounding_box()
    assert size is not None
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert (float(svg.get("width", 0)), float(svg.get("height", 0))) == pytest.approx(
        (size["width"], size["height"]), abs=1
    )
    assert word in "".join(svg.itertext())


def test_the_files_of_a_run_arrive_whole(
    site: str, study: Experiment, store: RunStore, settings: Settings, page: Page, save: Save
) -> None:
    run = store.experiment_runs(study.id)[0]
    folder = settings.checkpoints(run.id)
    folder.mkdir(parents=True)
    weights = {"classifier.fc.weight": torch.rand(10, 128), "classifier.fc.bias": torch.rand(10)}
    save_file(weights, folder / "best.safetensors", metadata={"format": "pt"})
    torch.save({"weights": weights, "epoch": 2}, folder / "best.pt")
    page.goto(f"{site}/board/runs/{run.id}")
    arrived = save(page.get_by_role("link", name="best.safetensors"))
    assert arrived.name == f"run-{run.id}-best.safetensors"
    loaded = load_file(arrived)
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {n: t.tolist() for n, t in weights.items()}
    assert torch.load(save(page.get_by_role("link", name="best.pt")))["epoch"] == 2
    expect(page.get_by_role("link", name="last.pt")).to_have_count(0)
    with zipfile.ZipFile(io.BytesIO(save(page.get_by_role("link", name="TensorBoard")).read_bytes())) as archive:
        [name] = archive.namelist()
        assert name.startswith(f"run-{run.id}/events.out.tfevents.")
        events = events_of(archive.read(name))
    assert len(events) == 2 + EPOCHS
    assert all(b"val_top1" in event for event in events[2:])
