"""Which device trains, and what it is called."""

import platform
import re
from pathlib import Path

import torch


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """As the board shows it, for example "NVIDIA H100" or "CPU, 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def processor_name() -> str:
    """The model and the vector instructions that are used: another one may round otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:  # not Linux
        lines = []
    found = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line)
    model = [found.get("model name", platform.processor() or platform.machine())]
    model += [f"{field.removeprefix('cpu ')} {found[field]}" for field in ("cpu family", "model") if field in found]
    return ", ".join([*model, torch.backends.cpu.get_cpu_capability()])
