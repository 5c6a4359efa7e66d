"""How a worker's machine and device are doing."""

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pynvml

from app.store.database import Scalar


def vitals() -> dict[str, Scalar | None]:
    """How the machine is doing: the measured fields of `app.store.rows.Worker` that all slots share."""
    return {"cpu_percent": psutil.cpu_percent()} | _gpu()


def memory_bytes(*trainers: int | None) -> int:
    """Resident memory of this process, and of trainers with these process ids and what they have started."""
    memory = int(psutil.Process().memory_info().rss)
    for trainer in filter(None, trainers):
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
    """How busy the GPU is that a trainer takes, the first visible one; nothing where there is none."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    try:
        pynvml.nvmlInit()
        by_name = pynvml.nvmlDeviceGetHandleByIndex if first.isdecimal() else pynvml.nvmlDeviceGetHandleByUUID
        gpu = by_name(int(first) if first.isdecimal() else first)
        used = int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used)
        return {"gpu_percent": int(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu), "gpu_memory_bytes": used}
    except pynvml.NVMLError:
        return {}
