"""An image of the user's own on the pooling lens, dropped or chosen; the test answers in place of a worker."""

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from app.store.errands import Errands
from app.store.lease import Lease
from app.store.own_images import OwnImages
from app.store.rows import Experiment
from app.store.run_store import RunStore
from tests.browser.studies import IMAGE, queue_study, train
from tests.conftest import wait_for

Check = Callable[[], None]
Save = Callable[[str], None]
PNG = base64.b64decode(IMAGE.partition(",")[2])


@pytest.fixture
def study(store: RunStore, claim: Callable[[], Lease]) -> Experiment:
    """Three poolings, one seed, the first two completed."""
    experiment = queue_study(store, seeds=1)
    store.set_images("digits", [{"label": label, "url": IMAGE} for label in (0, 1)])
    train(store, claim, runs=2)
    return experiment


def drop(lens: Locator, name: str, kind: str, content: bytes) -> None:
    data = base64.b64encode(content).decode()
    transfer = lens.page.evaluate_handle(
        """([name, type, data]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type }));
            return transfer;
        }""",
        [name, kind, data],
    )
    lens.get_by_role("table").dispatch_event("drop", {"dataTransfer": transfer})


def look(epoch: int, predicted: int) -> dict[str, Any]:
    shares = [[0.1, 0.6, 0.2, 0.1]]
    return {"epoch": epoch, "shares": shares, "entropy": [1.09], "predicted": [predicted], "confidence": [0.93]}


def test_runs_tell_what_they_make_of_a_dropped_image(
    site: str,
    study: Experiment,
    store: RunStore,
    page: Page,
    screenshot: Save,
    check_accessibility: Check,
    check_width: Check,
) -> None:
    page.goto(f"{site}/board/experiments/{study.id}")
    lens = page.get_by_role("region", name="What the pooling looks at")
    status = lens.get_by_role("status")
    drop(lens, "own.png", "image/png", PNG)
    expect(status).to_contain_text("No worker is connected")
    store.heartbeat("laptop", device="cpu", version="0.1.0")
    expect(status).to_contain_text("A worker is about to look at your image")

    own_images = OwnImages(store)
    taken = Errands(store).take(1_000)
    assert taken is not None
    content, run_ids = own_images.image(taken.subject) or (b"", [])
    assert content == PNG
    own_images.show(taken.subject, "digits", IMAGE)
    own_images.answer(taken.subject, run_ids[0], {"looks": {"last": look(6, 4), "best": look(5, 9)}})
    expect(lens.get_by_text("9 · 93 %")).to_be_visible()
    own_images.answer(taken.subject, run_ids[1], {"looks": {"last": look(6, 4), "best": look(5, 4)}})
    own_images.answer(taken.subject, run_ids[2], {"error": "has no checkpoint yet"})
    own_images.finish(taken.subject)
    expect(status).to_contain_text("Your image is in the first two columns")
    expect(lens.get_by_role("img", name="your image, best epoch")).to_be_visible()
    expect(lens.get_by_text("4 · 93 %")).to_have_count(3)
    expect(lens.get_by_text("epoch 5, entropy 1.09")).to_have_count(2)
    check_accessibility()
    lens.scroll_into_view_if_needed()
    screenshot("own-image")
    page.emulate_media(color_scheme="dark")
    check_accessibility()
    screenshot("own-image-dark")
    check_width()
    screenshot("own-image-phone")

    page.reload()
    expect(lens.get_by_role("img", name="your image, last epoch")).to_be_visible()
    store.redis.delete(store.key("own_image", taken.subject))
    page.reload()
    expect(status).to_contain_text("they are kept for an hour")
    lens.get_by_role("button", name="Forget my image").click()
    expect(status).to_have_count(0)
    expect(page).not_to_have_url(re.compile("lens_image"))


def test_bad_images_are_refused_with_the_reason(site: str, study: Experiment, store: RunStore, page: Page) -> None:
    page.goto(f"{site}/board/experiments/{study.id}")
    lens = page.get_by_role("region", name="What the pooling looks at")
    status = lens.get_by_role("status")
    drop(lens, "notes.txt", "text/plain", b"not an image")
    expect(status).to_contain_text("notes.txt is not a PNG, JPEG, WebP or GIF file")
    with page.expect_file_chooser() as chooser:
        lens.get_by_role("button", name="Show an image of your own").click()
    chooser.value.set_files({"name": "large.png", "mimeType": "image/png", "buffer": PNG.ljust(5_000_001)})
    expect(status).to_contain_text("large.png is larger than 5 MB")
    drop(lens, "renamed.png", "image/png", b"%PDF-1.7")
    expect(status).to_contain_text("image: is not a PNG, JPEG, WebP or GIF file; save it as one of these")
    drop(lens, "damaged.png", "image/png", PNG[:40])
    wait_for(lambda: store.redis.xlen(store.key("errands")))
    taken = Errands(store).take(1_000)
    assert taken is not None
    OwnImages(store).finish(taken.subject, "the image cannot be read")
    expect(status).to_contain_text("the image cannot be read")
