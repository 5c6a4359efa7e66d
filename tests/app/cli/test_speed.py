"""The line that tells how long training takes here."""

import threading
import time
from collections.abc import Iterator

import httpx2 as httpx
import pytest

from app.cli import speed
from app.store.run_store import RunStore
from cct.spec import RunSpec


@pytest.fixture
def api(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(speed, "QUIET_SECONDS", 0)
    monkeypatch.setattr(speed, "SECONDS", 0.2)
    with httpx.Client(base_url=server) as client:
        yield client


def test_the_time_that_the_recipe_takes_is_measured_and_told(
    api: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    speed.tell_speed(api, threading.Event())
    told = capsys.readouterr().out
    assert "images/s with CCT-2/3x2, so the reference's 200 epochs of CIFAR-10 take about" in told
    assert speed._recipe_seconds(1_000) == pytest.approx(200 * 53.333, rel=1e-4)


def test_nothing_is_measured_where_runs_are_queued_or_the_board_is_to_end(
    api: httpx.Client, store: RunStore, capsys: pytest.CaptureFixture[str]
) -> None:
    began, stop_asked = time.monotonic(), threading.Event()
    threading.Timer(0.5, stop_asked.set).start()
    speed.tell_speed(api, stop_asked)
    store.create_runs([RunSpec()])
    speed.tell_speed(api, threading.Event())
    with httpx.Client(base_url="http://127.0.0.1:9") as nobody:
        speed.tell_speed(nobody, threading.Event())
    assert time.monotonic() - began < 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("trainer", [["/nowhere/python"], ["/bin/false"]])
def test_a_board_goes_on_though_nothing_can_be_measured(
    api: httpx.Client, trainer: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "_TRAINER", trainer)
    speed.tell_speed(api, threading.Event())
    assert capsys.readouterr().out == ""
