"""The machine's processor. Standard library only, never torch."""

import os
import platform
import re
import sys
from functools import cache
from pathlib import Path


def cores() -> int:
    """How many this process may use; macOS does not tell, there it is all."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@cache
def processor() -> dict[str, str]:
    """What Linux tells of the first core, such as `vendor_id`, `cpu family` and `model name`; elsewhere nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line)


def processor_name() -> str:
    """Its model, for example "AMD EPYC 9655, family 26, model 2"."""
    model = [processor().get("model name", platform.processor() or platform.machine())]
    fields = {"cpu family": "family", "model": "model"}
    model += [f"{name} {processor()[field]}" for field, name in fields.items() if field in processor()]
    return ", ".join(model)
