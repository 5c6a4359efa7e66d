"""How a worker's machine and device are doing."""

import os

import psutil
import pynvml

from app.store.database import Scalar


def vitals() -> dict[str, Scalar | None]:
    """How the machine is doing: the measured fields of `app.store.rows.Worker` that all slots share."""
    return {"cpu_percent": psutil.cpu_percent()} | _gpu()


def memory_bytes(trainer: int | None) -> int:
    """Resident memory of this process, and of the trainer with this process id and what it has started."""
    memory = int(psutil.Process().memory_info().rss)
    try:
        children = psutil.Process(trainer).children(recursive=True) if trainer else []
        for process in [psutil.Process(trainer), *children] if trainer else []:
            memory += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return memory


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
