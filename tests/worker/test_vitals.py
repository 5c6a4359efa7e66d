"""What a trainer takes of its machine, read while it is trained. There is no GPU here: what NVML tells is made up."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pynvml
import pytest

from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.conftest import wait_for
from tests.worker.conftest import claimed
from worker import vitals
from worker.vitals import Meter


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps a core busy."""
    monkeypatch.setattr(vitals, "READ_SECONDS", 0.5)
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A GPU that has used `joules`."""
    told = {"joules": 5_000.0}
    made_up: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda _: type("Memory", (), {"used": 2**30}),
        "nvmlDeviceGetUtilizationRates": lambda _: type("Rates", (), {"gpu": 70}),
        "nvmlDeviceGetTotalEnergyConsumption": lambda _: round(1_000 * told["joules"]),
    }
    for name, does in made_up.items():
        monkeypatch.setattr(pynvml, name, does)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return told


def test_cores_and_memory_are_read_now_and_then(busy: subprocess.Popen[str]) -> None:
    meter = Meter(busy.pid, lambda: 1)
    assert not meter.is_due()
    wait_for(meter.is_due, 5)
    reading = meter.read()
    assert set(reading.facts) == {"cores", "memory_bytes"}
    assert 0.1 < reading.facts["cores"] < 1.2
    assert reading.facts["memory_bytes"] > 2**20
    meter.keep(reading)
    assert not meter.is_due()


def test_the_energy_of_a_gpu_is_shared_by_the_runs_that_are_trained(
    busy: subprocess.Popen[str], gpu: dict[str, float]
) -> None:
    meter = Meter(busy.pid, lambda: 2)
    time.sleep(0.2)
    gpu["joules"] += 30
    lost = meter.read()
    assert lost.used == 15
    assert (lost.facts["gpu_percent"], lost.facts["gpu_memory_bytes"]) == (70, 2**30)
    assert 30 / 1.0 < lost.facts["watts"] <= 30 / 0.2, "those of the whole GPU"
    gpu["joules"] += 10
    kept = meter.read()
    assert kept.used == 20, "what could not be stored is in the next reading"
    meter.keep(kept)
    busy.kill()
    busy.wait()
    gpu["joules"] += 8
    last = meter.read()
    assert last.used == 4
    assert set(last.facts) == {"watts"}, "of a trainer that has ended"


def test_readings_and_energy_are_the_runs_and_go_with_it(store: RunStore) -> None:
    [run] = store.create_runs([RunSpec()])
    lease = claimed(store)
    lease.measure(0, {"cores": 1.23456, "memory_bytes": 2**30})
    assert store.run(run.id).joules is None, "nothing is told of energy"
    lease.measure(1_800_000, {"cores": 2, "memory_bytes": 2**30, "watts": 300.5})
    lease.measure(1_800_000, {"watts": 300.5})
    assert [(one.cores, one.memory_bytes, one.watts) for one in store.system(run.id)] == [
        (1.235, 2**30, None),
        (2, 2**30, 300.5),
    ]
    assert store.run(run.id).kilowatt_hours == 1
    lease.lose("it crashed")
    store.delete(run.id)
    assert store.redis.keys(store.key("run", run.id, "*")) == []
