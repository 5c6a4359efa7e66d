"""Notifications of the system: an experiment has ended, a run has failed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from playwright.sync_api import Page, expect

from app.store.rows import State
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import wait_for

Check = Callable[[], None]
Save = Callable[[str], None]
KEEP = """
    window.shown = [];
    window.Notification = class extends window.Notification {
      constructor(title, options) {
        super(title, options);
        window.shown.push({ title, body: options.body, click: () => this.dispatchEvent(new Event("click")) });
      }
    };
"""
"""The browser's own constructor still shows each notification; the test sees what it was asked for."""


def test_a_user_is_told_what_ended_and_what_failed(
    site: str, page: Page, store: RunStore, screenshot: Save, check_accessibility: Check, check_width: Check
) -> None:
    page.context.grant_permissions(["notifications"])
    page.add_init_script(KEEP)
    page.goto(site)
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()

    _experiment(store, "Unseen", fails=True)
    page.get_by_role("button", name="Menu").click()
    check_accessibility()
    screenshot("menu")
    page.get_by_role("menuitem", name="Notify me").click()
    wait_for(lambda: [title for title, _ in _shown(page)] == ["CCT Board"], 10)  # what ended before is not told

    failed = _experiment(store, "Poolings <b>1</b>", fails=True)
    wait_for(lambda: len(_shown(page)) == 3, 10)
    (title, reason), (ended, answer) = _shown(page)[1:]
    assert (title, reason) == ("A run of Poolings <b>1</b> has failed", "the loss is not a number")
    assert ended == "Poolings <b>1</b> has ended"
    assert answer.startswith("Cannot tell")
    with page.expect_navigation():
        page.evaluate("window.shown[1].click()")
    assert page.url == f"{site}/board/runs/{failed}"

    page.get_by_role("button", name="Menu").click()
    check_width()
    page.get_by_role("menuitem", name="Stop notifying me").click()
    _experiment(store, "Unwanted", fails=False)
    expect(page.get_by_role("button", name="Menu")).to_be_visible()
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("menuitem", name="Notify me")).to_be_visible()
    assert _shown(page) == []


def test_a_browser_that_does_not_allow_it_is_explained(site: str, page: Page) -> None:
    page.goto(site)
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("menuitem", name="Notify me").click()
    expect(page.get_by_role("alert")).to_contain_text("change the permission beside the address of this page")
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("menuitem", name="Notify me")).to_be_visible()


def _shown(page: Page) -> list[tuple[str, str]]:
    found: list[dict[str, Any]] = page.evaluate("window.shown.map(({ title, body }) => ({ title, body }))")
    return [(one["title"], one["body"]) for one in found]


def _experiment(store: RunStore, name: str, fails: bool) -> str:
    """Two runs, each of one epoch, the second of which may fail; its id."""
    specs = [RunSpec(dataset="digits", epochs=1, pooling=pooling) for pooling in ("seqpool", "mean")]
    store.create_experiment(name, {}, {"pooling": ["seqpool", "mean"]}, specs)
    for number in range(2):
        lease = store.claim("worker")
        assert lease is not None
        run_id = lease.run_id
        if fails and number:
            lease.release(State.failed, "the loss is not a number")
        else:
            lease.record_epoch(replace(RECORD, epoch=1))
            lease.release(State.completed)
    return run_id
