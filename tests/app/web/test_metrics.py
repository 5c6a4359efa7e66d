"""What Prometheus and log collectors get, from a real database and real processes."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app import logs
from app.cli.services import free_port
from app.settings import Settings
from app.store.lease import Lease
from app.store.rows import State
from app.store.run_store import RunStore
from app.web.metrics import observe_event_delay
from cct.spec import RunSpec
from tests.app.store.test_store import RECORD
from tests.conftest import wait_for


def scraped(client: TestClient) -> dict[tuple[str, str], float]:
    """The value of each sample, by its name and its labels' values."""
    families = text_string_to_metric_families(client.get("/metrics").raise_for_status().text)
    return {(s.name, " ".join(s.labels.values())): s.value for family in families for s in family.samples}


def test_the_state_of_the_board(client: TestClient, store: RunStore, claim: Callable[[], Lease]) -> None:
    before = scraped(client)
    assert [before["cctboard_runs", state] for state in State] == [0] * len(State)
    assert before["cctboard_database_up", ""] == 1
    runs = store.create_runs([RunSpec(dataset="digits", epochs=9, seed=seed) for seed in range(5)])
    claim().release(State.completed)
    claim().release(State.failed, "out of memory")
    lease = claim()
    lease.record_epoch(replace(RECORD, epoch=1, seconds=99.0))
    lease.record_epoch(replace(RECORD, epoch=2, seconds=7.5, images_per_second=321.0))
    just_begun = claim()
    store.cancel(runs[4].id)
    store.create_runs([RunSpec()] * 2)
    store.pause(True)
    store.heartbeat("node-1", device="cpu", version="1", run_id=lease.run_id, memory_bytes=1000)
    store.heartbeat("node-2", device="H100", version="1", run_id=None, memory_bytes=1, gpu_memory_bytes=5)

    after = scraped(client)
    counted = {state: after["cctboard_runs", state] for state in State}
    assert counted == {"queued": 2, "running": 2, "completed": 1, "failed": 1, "cancelled": 1}
    assert (after["cctboard_queue_length", ""], after["cctboard_queue_paused", ""]) == (2, 1)
    assert (after["cctboard_run_epochs", lease.run_id], after["cctboard_run_epochs", just_begun.run_id]) == (2, 0)
    assert after["cctboard_run_epoch_seconds", lease.run_id] == 7.5
    assert after["cctboard_run_images_per_second", lease.run_id] == 321
    assert ("cctboard_run_epoch_seconds", just_begun.run_id) not in after
    assert after["cctboard_workers", ""] == 2
    assert (after["cctboard_worker_busy", "cpu node-1"], after["cctboard_worker_busy", "H100 node-2"]) == (1, 0)
    assert after["cctboard_worker_memory_bytes", "cpu node-1"] == 1000
    assert after["cctboard_worker_gpu_memory_bytes", "H100 node-2"] == 5
    assert ("cctboard_worker_gpu_memory_bytes", "cpu node-1") not in after
    assert after["process_resident_memory_bytes", ""] > 1e6


def test_delays_of_events_are_counted(client: TestClient) -> None:
    before = scraped(client)
    for seconds in (0.003, 0.2, -5):
        observe_event_delay(seconds)
    after = scraped(client)
    grown = {key: after[key] - before[key] for key in before if key[0].startswith("cctboard_event_delay_seconds_")}
    assert grown["cctboard_event_delay_seconds_count", ""] == 3
    assert grown["cctboard_event_delay_seconds_sum", ""] == pytest.approx(0.203)
    assert [grown["cctboard_event_delay_seconds_bucket", le] for le in ("0.001", "0.005", "0.25", "+Inf")] == [
        1,
        2,
        3,
        3,
    ]


def test_the_format_is_negotiated(client: TestClient) -> None:
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=")
    openmetrics = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, which pytest gets back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers, root.level = handlers, level


def test_a_log_record_is_one_line_of_json(
    settings: Settings, root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(settings.model_copy(update={"log_format": "json"}))
    logging.getLogger("server").info("Started\n%s", "twice", extra={"color_message": "for terminals"})
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("app.web.events").exception("an error")
    started, failed = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (started["level"], started["logger"], started["message"]) == ("INFO", "server", "Started\ntwice")
    assert "color_message" not in started
    assert started["timestamp"].endswith("+00:00")
    assert "ZeroDivisionError" in failed["exc_info"]


def test_a_format_nobody_knows_is_refused() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "app.cli", "api"],
        env={"CCTBOARD_LOG_FORMAT": "xml", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "cctboard: CCTBOARD_LOG_FORMAT: Input should be 'text' or 'json'\n"


@contextmanager
def logging_process(
    command: str, settings: Settings, *arguments: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process of the board with JSON logs, and its log."""
    environment = {"REDIS_URL": str(settings.redis_url), "DATA": str(settings.data), "LOG_FORMAT": "json"}
    log = settings.data / f"{command}.log"
    with (
        log.open("w") as target,
        subprocess.Popen(
            [sys.executable, "-m", "app.cli", command, *arguments],
            env=os.environ | {f"CCTBOARD_{name}": value for name, value in environment.items()},
            stdout=target,
            stderr=target,
        ) as process,
    ):
        try:
            yield process, log
        finally:
            process.kill()


def records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_the_api_stops_without_complaint_while_pages_listen(settings: Settings, store: RunStore) -> None:
    port = free_port()
    with logging_process("api", settings, "--port", str(port)) as (process, log):
        wait_for(lambda: "Uvicorn running" in log.read_text())
        with httpx.stream("GET", f"http://127.0.0.1:{port}/events") as events:
            lines = events.iter_lines()
            assert next(lines) == "retry: 1000"
            process.terminate()
            assert [line for line in lines if line and not line.startswith(":")] == []
        process.wait()
    told = records(log)
    assert told[-1]["message"].startswith("Finished server process")
    assert {record["level"] for record in told} == {"INFO"}
    assert len(told) == len(log.read_text().splitlines())


def test_a_worker_logs_json(settings: Settings, store: RunStore) -> None:
    with logging_process("worker", settings) as (process, log):
        wait_for(lambda: "ready" in log.read_text())
        process.terminate()
        process.wait()
    assert {"celery.apps.worker", "celery.worker.consumer.connection"} <= {record["logger"] for record in records(log)}
