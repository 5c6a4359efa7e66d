"""The machine's processor. Standard library only, never torch."""

import os
import platform
import re
import sys
from pathlib import Path


def cores() -> int:
    """How many this process may use; macOS does not tell, there it is all."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def processor_name() -> str:
    """Its model, for example "AMD EPYC 9655, family 26, model 2"."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:  # not Linux
        lines = []
    found = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line)
    model = [found.get("model name", platform.processor() or platform.machine())]
    model += [f"{field.removeprefix('cpu ')} {found[field]}" for field in ("cpu family", "model") if field in found]
    return ", ".join(model)
