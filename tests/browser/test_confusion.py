"""Confusion matrices and differences by class in a real browser, over rows written into the store."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.store.lease import Lease
from app.store.rows import Experiment, State
from app.store.run_store import RunStore
from tests.app.store.test_store import RECORD
from tests.browser.studies import SPEC, Save

EPOCHS = 2
RECALL = {"mean": 0.6, "seqpool": 0.8}


def record_epoch(store: RunStore, lease: Lease, epoch: int, classes: int = 10) -> None:
    spec = store.run(lease.run_id).spec
    chance = random.Random(f"{spec.pooling} {spec.seed} {epoch}")
    counts = [[0] * classes for _ in range(classes)]
    for label, row in enumerate(counts):
        for _ in range(100):
            hit = chance.random() < RECALL[spec.pooling] * epoch / EPOCHS - 0.03 * (label % 5)
            row[label if hit else chance.choice((0, label // 2, classes - 1 - label))] += 1
    lease.record_confusion(epoch, counts)
    lease.record_epoch(replace(RECORD, epoch=epoch))


def queue_study(store: RunStore, name: str, seeds: int) -> Experiment:
    """Two poolings; the baseline's run of each seed comes first."""
    base = replace(SPEC, dataset="fashion_mnist", epochs=EPOCHS)
    axes: dict[str, list[Any]] = {"pooling": ["seqpool", "mean"], "seed": list(range(seeds))}
    specs = [replace(base, pooling=pooling, seed=seed) for seed in axes["seed"] for pooling in axes["pooling"]]
    return store.create_experiment(name, {"dataset": "fashion_mnist"}, axes, specs)


def complete(store: RunStore, claim: Callable[[], Lease], runs: int) -> None:
    """The next runs of the queue."""
    for _ in range(runs):
        lease = claim()
        for epoch in range(1, EPOCHS + 1):
            record_epoch(store, lease, epoch)
        lease.release(State.completed)


@pytest.fixture
def study(store: RunStore, claim: Callable[[], Lease]) -> tuple[Experiment, Lease]:
    """Two poolings, four seeds, all completed but the last run, which has finished one epoch."""
    experiment = queue_study(store, "What is mistaken for what?", 4)
    complete(store, claim, experiment.runs - 1)
    last = claim()
    record_epoch(store, last, 1)
    return experiment, last


def drawn(page: Page, label: str) -> Locator:
    figure = page.get_by_role("figure", name=label)
    expect(figure.locator(".hm image, .scatterlayer .trace").first).to_be_attached()
    return figure


def test_what_a_variant_mistakes_for_what(
    site: str, study: tuple[Experiment, Lease], store: RunStore, page: Page, check_page: Save
) -> None:
    experiment, last = study
    page.goto(f"{site}/board/experiments/{experiment.id}")
    page.get_by_role("tab", name="Confusion").click()
    matrix = drawn(page, "Confusion matrix")
    expect(matrix).to_contain_text("seqpool, 4 seeds, epoch 2")
    expect(matrix).to_contain_text("ankle boot")
    check_page("confusion")
    page.get_by_label("Variant", exact=True).select_option("mean")
    expect(matrix).to_contain_text("mean, 4 seeds, epochs 1 to 2")
    page.get_by_label("Epoch of the matrix").select_option("best")
    page.get_by_role("switch", name="Minus seqpool").click()
    expect(matrix).to_contain_text("mean minus seqpool, 3 seeds")
    expect(page).to_have_url(re.compile("figure=confusion&variant=mean&at=best&minus=1"))
    page.reload()
    drawn(page, "Confusion matrix")
    check_page("confusion-difference")

    # The last run ends; nobody reloads.
    record_epoch(store, last, EPOCHS)
    last.release(State.completed)
    expect(matrix).to_contain_text("mean minus seqpool, 4 seeds")
    page.get_by_role("tab", name="By class").click()
    classes = drawn(page, "Differences by class")
    expect(classes).to_contain_text("minus that of seqpool, points")
    expect(classes.locator("g.ytick")).to_have_count(10)
    check_page("classes")


def test_a_run_has_its_own_matrix(site: str, study: tuple[Experiment, Lease], store: RunStore, page: Page) -> None:
    _, last = study
    page.goto(f"{site}/board/runs/{last.run_id}")
    matrix = drawn(page, "Confusion matrix")
    expect(matrix).to_contain_text("mean, 1 seed, epoch 1")
    record_epoch(store, last, EPOCHS)
    expect(matrix).to_contain_text("mean, 1 seed, epoch 2")
