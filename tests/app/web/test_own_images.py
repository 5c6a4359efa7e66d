"""Images of users' own: what the API takes and how they reach a worker."""

import json
from urllib.parse import urljoin

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient

from app.limits import IMAGE_BYTES
from app.store.errands import KEPT_SECONDS, WAITING, Errands
from app.store.own_images import OwnImages
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.conftest import stored_events

PNG = b"\x89PNG\r\n\x1a\n and more"
LOOK = {"epoch": 3, "shares": [[0.25] * 4], "entropy": [1.4], "predicted": [7], "confidence": [0.9]}


@pytest.fixture
def run_ids(store: RunStore) -> list[str]:
    return [run.id for run in store.create_runs([RunSpec(dataset="digits", seed=seed) for seed in (0, 1)])]


@pytest.fixture
def images(store: RunStore) -> OwnImages:
    return OwnImages(store)


def show(client: TestClient, run_ids: list[str], content: bytes = PNG) -> httpx.Response:
    return client.post("/lens/images", params={"run": run_ids}, content=content)


def test_an_image_goes_to_a_worker_and_its_answers_come_back(
    client: TestClient, store: RunStore, images: OwnImages, run_ids: list[str]
) -> None:
    asked = show(client, run_ids)
    assert asked.status_code == 202
    image_id = asked.json()["id"]
    address = urljoin("/lens/images", asked.headers["location"])
    assert address == f"/lens/images/{image_id}"
    assert asked.json() == {"id": image_id, "done": False, "error": None, "images": {}, "runs": []}
    errands = Errands(store)
    taken = errands.take(1)
    assert taken is not None
    assert (taken.kind, taken.subject) == ("own_image", image_id)
    assert errands.take(1) is None, "it goes to one worker"
    assert images.image(image_id) == (PNG, run_ids)
    images.show(image_id, "digits", "data:image/png;base64,x")
    images.answer(image_id, run_ids[1], {"error": "has no checkpoint yet"})
    images.answer(image_id, run_ids[0], {"looks": {"last": LOOK, "best": LOOK}})
    images.finish(image_id)
    errands.done(taken)
    answer = client.get(address).json()
    assert (answer["done"], answer["error"]) == (True, None)
    assert answer["images"] == {"digits": "data:image/png;base64,x"}
    assert answer["runs"] == [
        {"run_id": run_ids[0], "looks": {"last": LOOK, "best": LOOK}, "error": None},
        {"run_id": run_ids[1], "looks": {}, "error": "has no checkpoint yet"},
    ]
    told = [json.loads(entry["data"]) for _, entry in stored_events(store)]
    assert told.count({"id": image_id}) == 4
    assert images.image(image_id) is None, "the file is forgotten"
    assert 0 < store.redis.ttl(store.key("own_image", image_id)) <= KEPT_SECONDS


def test_what_a_worker_did_not_finish_goes_to_another(
    images: OwnImages, store: RunStore, run_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id, errands = images.ask(PNG, run_ids), Errands(store)
    taken = errands.take(1)
    assert taken is not None
    assert errands.take(1) is None
    monkeypatch.setattr("app.store.errands.REDELIVERED_MS", 0)
    assert errands.take(1) == taken
    for _ in range(2):
        images.finish(image_id)
        errands.done(taken)
    assert errands.take(1) is None
    assert images.found(image_id)["done"] == "1"


def test_a_second_answer_changes_nothing(client: TestClient, images: OwnImages, run_ids: list[str]) -> None:
    image_id = images.ask(PNG, run_ids)
    answers = []
    for _ in range(2):
        images.answer(image_id, run_ids[0], {"looks": {"last": LOOK}})
        images.finish(image_id)
        answers.append(client.get(f"/lens/images/{image_id}").json())
    assert answers[0] == answers[1]


@pytest.mark.parametrize("content", [b"", b"GIF86a", b"%PDF-1.7", b"<svg/>", b"RIFF....WAVE", b"{}"])
def test_what_is_no_image_is_refused(client: TestClient, store: RunStore, run_ids: list[str], content: bytes) -> None:
    refused = show(client, run_ids, content)
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"field": "image", "message": "is not a PNG, JPEG, WebP or GIF file; save it as one of these"}
    ]
    assert store.redis.xlen(store.key("errands")) == 0


def test_a_large_image_is_taken_and_a_too_large_one_refused(client: TestClient, run_ids: list[str]) -> None:
    assert show(client, run_ids, PNG.ljust(IMAGE_BYTES)).status_code == 202
    refused = show(client, run_ids, PNG.ljust(IMAGE_BYTES + 1))
    assert (refused.status_code, refused.json()["detail"]) == (413, "at most 5000000 bytes are read")


def test_unknown_runs_and_images_are_not_found(client: TestClient, run_ids: list[str]) -> None:
    assert show(client, ["nope"]).status_code == 404
    assert show(client, []).status_code == 422
    gone = client.get("/lens/images/abc")
    assert (gone.status_code, "kept for an hour" in gone.json()["detail"]) == (404, True)
    assert client.get(f"/lens/images/{run_ids[0]}:x").status_code == 404


def test_few_images_wait_at_a_time(client: TestClient, run_ids: list[str], store: RunStore) -> None:
    for _ in range(WAITING):
        assert show(client, run_ids).status_code == 202
    refused = show(client, run_ids)
    assert (refused.status_code, refused.json()["title"]) == (409, "Conflict")
    # Those whose image is gone after an hour do not count.
    stream = store.key("errands")
    store.redis.delete(stream)
    for number in range(WAITING):
        store.redis.xadd(stream, {"kind": "own_image", "subject": "old"}, id=f"1000-{number}")
    assert show(client, run_ids).status_code == 202
