"""How a worker's machine and device are doing."""

import os

import psutil
import pynvml

from app.store import Scalar


def vitals() -> dict[str, Scalar | None]:
    """The measured fields of `app.rows.Worker`."""
    me = psutil.Process()
    memory = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            memory += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return {"cpu_percent": psutil.cpu_percent(), "memory_bytes": memory} | _gpu()


def _gpu() -> dict[str, Scalar | None]:
    """Of the GPU that a trainer takes, the first visible one; nothing where there is none."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    try:
        pynvml.nvmlInit()
        by_name = pynvml.nvmlDeviceGetHandleByIndex if first.isdecimal() else pynvml.nvmlDeviceGetHandleByUUID
        gpu = by_name(int(first) if first.isdecimal() else first)
        used = int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used)
        return {"gpu_percent": int(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu), "gpu_memory_bytes": used}
    except pynvml.NVMLError:
        return {}
