"""A worker that trains several runs at the same time."""

import signal

import pytest

from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore
from cct.machine import cores
from tests.conftest import wait_for
from tests.worker.conftest import LONG, trainer_of, worker
from worker import slots
from worker.supervisor import trainer_environment


@pytest.mark.timeout(240)
def test_each_slot_trains_a_run_of_its_own(settings: Settings, store: RunStore) -> None:
    cancelled, killed, waiting = store.create_runs([LONG] * 3)
    with worker(settings, "--slots", "2") as process:
        wait_for(lambda: store.run(cancelled.id).epoch and store.run(killed.id).epoch, 90)
        assert store.run(waiting.id).state is State.queued
        wait_for(lambda: {slot.run_id for slot in store.workers()} == {cancelled.id, killed.id}, 10)
        rows = store.workers()
        assert [(row.slot, row.slots, row.device) for row in rows] == [(1, 2, rows[0].device), (2, 2, rows[0].device)]
        assert {row.name: row.run_id for row in rows} == {
            run.worker: run.id for run in store.runs() if run.state is State.running
        }
        trained_with = {run.provenance["threads"] for run in store.runs() if run.provenance}
        assert trained_with == {trainer_environment(2)["OMP_NUM_THREADS"]}
        wait_for(lambda: store.system(killed.id), 20)
        assert 0 < store.system(killed.id)[0].cores < 2

        store.cancel(cancelled.id)
        wait_for(lambda: store.run(cancelled.id).state is State.cancelled, 20)
        wait_for(lambda: store.run(waiting.id).epoch, 60)
        assert store.run(killed.id).attempt == 1, "the other slot was not disturbed"

        trainer_of(process, killed.id).kill()
        wait_for(lambda: store.run(killed.id).attempt == 2, 60)
        assert store.run(waiting.id).attempt == 1
        assert [entry.what for entry in store.history(killed.id)] == ["queued", "started", "lost", "resumed"]

        process.send_signal(signal.SIGTERM)
        process.wait(10)
        for run_id in (killed.id, waiting.id):
            assert store.run(run_id).state is State.queued
            assert store.history(run_id)[-1].what == "handed back"
        assert store.workers() == []


def test_trainers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "OMP_NUM_THREADS" not in trainer_environment(1), "the only one takes what it likes"
    assert trainer_environment(2)["OMP_NUM_THREADS"] == str(max(1, cores() // 2))
    assert trainer_environment(64)["OMP_NUM_THREADS"] == str(max(1, cores() // 64))
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert trainer_environment(1)["OMP_NUM_THREADS"] == "6"
    assert trainer_environment(2)["OMP_NUM_THREADS"] == "3", "what the worker may use is shared"


def test_the_best_number_of_slots_is_measured(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slots, "SECONDS", 0.5)
    monkeypatch.setattr(slots, "CANDIDATES", (1, 2))
    best = slots.measure()
    _, head, *rows, said = capfd.readouterr().out.splitlines()
    assert head.split() == ["slots", "images/s"]
    measured = {int(number): float(rate) for number, rate in map(str.split, rows)}
    assert list(measured) == [1, 2][: cores()]
    assert all(measured.values())
    assert said == f"best: {best}"
    assert best in measured
