"""News reach a real HTTP receiver once, whatever happens to receiver and API."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import HttpUrl, Secret, ValidationError

from app.cli.services import free_port
from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore
from app.web.main import create_app
from app.web.webhook import Webhook
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import serving, wait_for

SPEC = RunSpec(dataset="digits", epochs=1, warmup_epochs=0)


class Receiver(ThreadingHTTPServer):
    """Answers each document with the next of `statuses`, then with 200."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.statuses: list[int] = []
        self.documents: list[dict[str, Any]] = []
        self.attempts = 0

    @property
    def address(self) -> HttpUrl:
        return HttpUrl(f"http://127.0.0.1:{self.server_port}/hooks/secret")


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.attempts += 1
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if status == 200:
            self.server.documents.append(document)
        self.send_response(status)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def webhook(settings: Settings, store: RunStore, receiver: Receiver) -> Webhook:
    return Webhook(settings, store, receiver.address)


def told(receiver: Receiver, count: int) -> list[dict[str, Any]]:
    """The documents, once there are as many; and that no other follows."""
    wait_for(lambda: len(receiver.documents) >= count, 30)
    time.sleep(1.5)
    assert len(receiver.documents) == count
    return receiver.documents


def begin(settings: Settings, store: RunStore) -> None:
    """As the first start of a board with a webhook: from now on there are news."""
    store.redis.set(store.key("news", "begun"), 1)


def train_all(store: RunStore, top1: dict[str, float]) -> None:
    """Trains what is queued, to about these results by pooling."""
    while lease := store.claim("w"):
        spec = store.run(lease.run_id).spec
        lease.record_epoch(replace(RECORD, epoch=1, val_top1=top1[spec.pooling] * (1 + spec.seed / 100)))
        lease.release(State.completed)


def test_the_end_of_an_experiment_is_told_with_its_answer(
    settings: Settings, store: RunStore, receiver: Receiver
) -> None:
    begin(settings, store)
    axes: dict[str, list[Any]] = {"pooling": ["seqpool", "mean"], "seed": [0, 1, 2]}
    specs = [replace(SPEC, pooling=pooling, seed=seed) for seed in (0, 1, 2) for pooling in axes["pooling"]]
    experiment = store.create_experiment("<!channel> Poolings", {}, axes, specs)
    below_a_path = settings.model_copy(update={"url": "https://lab.example.org/cct/"})
    with webhook(below_a_path, store, receiver).running():
        train_all(store, {"seqpool": 90.0, "mean": 80.0})
        [document] = told(receiver, 1)
    assert document["event"] == "experiment_ended"
    page = f"https://lab.example.org/cct/board/experiments/{experiment.id}"
    said = "Poolings has ended: 6 completed. Worse than seqpool: mean by 10.1 points."
    assert document["text"].startswith(f"&lt;!channel&gt; {said}"), "Slack shows it as it is, and calls nobody"
    assert document["content"].startswith(f"<!channel> {said}")
    assert document["allowed_mentions"] == {"parse": []}, "Discord calls nobody either"
    assert document["text"].endswith(page)
    assert document["page"] == page
    assert document["experiment"]["completed"] == 6
    assert document["verdicts"]["mean"].startswith("mean is worse than seqpool by 10.1 points")


def fail_all(store: RunStore, error: str) -> None:
    while lease := store.claim("w"):
        lease.release(State.failed, error)


def test_failures_are_told_together(settings: Settings, store: RunStore, receiver: Receiver) -> None:
    begin(settings, store)
    experiment = store.create_experiment("Seeds", {}, {}, [replace(SPEC, seed=seed) for seed in range(30)])
    [alone] = store.create_runs([SPEC])
    fail_all(store, "no such file")
    with webhook(settings, store, receiver).running():
        single, many, ended = sorted(told(receiver, 3), key=lambda document: document["event"] + document["text"])[::-1]
    assert (many["event"], many["count"], len(many["runs"])) == ("run_failed", 30, 20)
    assert many["text"].startswith("30 runs of Seeds have failed, the first: no such file ")
    assert single["text"].startswith("A run has failed (seqpool, seed 0): no such file ")
    assert single["page"].endswith(f"/board/runs/{alone.id}")
    assert ended["text"].startswith("Seeds has ended: 30 failed. ")
    assert ended["page"].endswith(f"/board/experiments/{experiment.id}")


def test_news_wait_for_the_receiver_and_outlive_the_api(
    settings: Settings, store: RunStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    begin(settings, store)
    store.create_runs([SPEC])
    fail_all(store, "first")
    receiver.statuses = [503] * 100
    with webhook(settings, store, receiver).running():
        wait_for(lambda: receiver.attempts >= 2, 20)
    store.create_experiment("Seeds", {}, {}, [SPEC])
    fail_all(store, "second")
    receiver.statuses = []
    with webhook(settings, store, receiver).running(), webhook(settings, store, receiver).running():
        first, second, ended = told(receiver, 3)
    assert ("first" in first["text"], "second" in second["text"]) == (True, True)
    assert ended["event"] == "experiment_ended"
    store.create_runs([SPEC])
    fail_all(store, "third")
    with webhook(settings, store, receiver).running():
        assert "third" in told(receiver, 4)[3]["text"], "what was told is not told again"
    assert "status 503" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("status", [302, 404])
def test_what_the_receiver_refuses_is_not_repeated(
    settings: Settings, store: RunStore, receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    begin(settings, store)
    receiver.statuses = [status]
    with webhook(settings, store, receiver).running():
        for error in ("refused", "taken"):
            store.create_runs([SPEC])
            fail_all(store, error)
            wait_for(lambda: f"status {status}" in caplog.text, 20)
        [document] = told(receiver, 1)
    assert "taken" in document["text"]
    assert receiver.attempts == 2


def test_a_deleted_run_does_not_silence_the_others(settings: Settings, store: RunStore, receiver: Receiver) -> None:
    begin(settings, store)
    store.create_experiment("E", {}, {}, [replace(SPEC, seed=seed) for seed in range(3)])
    while lease := store.claim("w"):
        lease.describe(error="no memory")
        lease.release(State.failed)
    deleted, *others = store.runs()[::-1]
    store.delete(deleted.id)
    with webhook(settings, store, receiver).running():
        wait_for(lambda: receiver.documents, 30)
    [failures] = [document for document in receiver.documents if document["event"] == "run_failed"]
    assert {run["id"] for run in failures["runs"]} == {run.id for run in others}
    assert failures["text"].startswith("2 runs of E have failed, the first: no memory")


def test_the_api_tells_what_happens_from_its_first_start_on(
    settings: Settings, store: RunStore, receiver: Receiver
) -> None:
    store.create_runs([SPEC])
    fail_all(store, "long ago")
    with_webhook = settings.model_copy(update={"webhook": Secret(receiver.address)})
    with serving(create_app(with_webhook, store, dashboard=None), free_port()):
        wait_for(lambda: store.redis.exists(store.key("news", "begun")), 20)
        store.create_runs([SPEC])
        fail_all(store, "now")
        [document] = told(receiver, 1)
    assert "now" in document["text"]


def test_only_addresses_of_the_web_are_taken() -> None:
    for wrong in ("ftp://example.org/", "hooks.example.org", ""):
        with pytest.raises(ValidationError, match="webhook"):
            Settings(webhook=wrong)  # type: ignore[arg-type]
