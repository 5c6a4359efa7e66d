"""How a worker's machine and device are doing, and what a trainer takes of them."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pynvml

from app.store.database import Scalar

READ_SECONDS = 5.0
READ_SHARE = 1 / 200
"""A trainer is read every 5 seconds, in a long run after this share of its time: some hundred readings of any run."""


def vitals() -> dict[str, Scalar | None]:
    """How the machine is doing: the measured fields of `app.store.rows.Worker` that all slots share."""
    return {"cpu_percent": psutil.cpu_percent()} | _gpu()


def memory_bytes(*trainers: int | None) -> int:
    """Resident memory of this process, and of trainers with these process ids and what they have started."""
    return int(psutil.Process().memory_info().rss) + sum(map(_memory_of, filter(None, trainers)))


def _memory_of(trainer: int) -> int:
    memory = 0
    with suppress(psutil.NoSuchProcess):
        for process in [psutil.Process(trainer), *psutil.Process(trainer).children(recursive=True)]:
            memory += process.memory_info().rss
    return memory


def available_bytes() -> int:
    """Memory that processes can still have, of the machine's and, in a container with a limit, of that."""
    available = int(psutil.virtual_memory().available)
    try:
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        statistics = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no container of version 2, or "max": no limit
        return available
    return min(available, limit - used + int(statistics["inactive_file"]))  # what is kept of files makes room


def _gpu() -> dict[str, Scalar | None]:
    """How busy the GPU is; nothing where there is none."""
    try:
        gpu = _handle()
        used = int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used)
        return {"gpu_percent": int(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu), "gpu_memory_bytes": used}
    except pynvml.NVMLError:
        return {}


def _joules() -> float | None:
    """What the GPU has used since its driver was loaded; None where there is none, or it does not count."""
    try:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(_handle())) / 1_000
    except pynvml.NVMLError:
        return None


def _handle() -> Any:
    """The GPU that a trainer takes, the first visible one. Raises `NVMLError`."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    pynvml.nvmlInit()
    by_name = pynvml.nvmlDeviceGetHandleByIndex if first.isdecimal() else pynvml.nvmlDeviceGetHandleByUUID
    return by_name(int(first) if first.isdecimal() else first)


@dataclass(frozen=True)
class Reading:
    """What a trainer took since the reading before."""

    at: float
    """On the clock that only goes forward, in seconds."""
    cpu_seconds: float | None
    """Of all its cores together, since it was started; None if it has ended."""
    joules: float | None
    """What the GPU has used since its driver was loaded."""
    facts: dict[str, float]
    """The fields of `app.store.rows.SystemReading` that could be measured."""
    used: float
    """Joules of the GPU, the share of this trainer's run."""


class Meter:
    """Reads what a trainer takes of its machine and GPU, now and then."""

    def __init__(self, trainer: int, runs: Callable[[], int]) -> None:
        """`trainer` is a process id; `runs` tells how many runs share what the GPU uses."""
        self._trainer = trainer
        self._runs = runs
        self._began = time.monotonic()
        self._last = Reading(self._began, _cpu_seconds(trainer), _joules(), {}, 0)

    def is_due(self) -> bool:
        now = time.monotonic()
        return now - self._last.at > max(READ_SECONDS, READ_SHARE * (now - self._began))

    def read(self) -> Reading:
        """The next reading, which has to be kept once it is stored: otherwise the one after it covers its time too."""
        last, now = self._last, time.monotonic()
        cpu_seconds, joules = _cpu_seconds(self._trainer), _joules()
        seconds, facts, used = now - last.at, dict[str, float](), 0.0
        if cpu_seconds is not None and last.cpu_seconds is not None:
            facts["cores"] = max(0.0, cpu_seconds - last.cpu_seconds) / seconds
            facts["memory_bytes"] = _memory_of(self._trainer)
            facts |= {name: float(value) for name, value in _gpu().items() if value is not None}
        if joules is not None and last.joules is not None:
            used = max(0.0, joules - last.joules)
            facts["watts"] = used / seconds
        return Reading(now, cpu_seconds, joules, facts, used / max(1, self._runs()))

    def keep(self, reading: Reading) -> None:
        self._last = reading


def _cpu_seconds(trainer: int) -> float | None:
    try:
        main = psutil.Process(trainer)
        return sum(sum(process.cpu_times()[:2]) for process in [main, *main.children(recursive=True)])
    except psutil.NoSuchProcess:
        return None
