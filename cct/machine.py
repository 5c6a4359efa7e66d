"""The machine's processor, and what a process that trains on it should have. Standard library only, never torch."""

import os
import platform
import re
import sys
from functools import cache
from pathlib import Path

OPENMP = {"GOMP_SPINCOUNT": "1000"}
"""For the environment of a process that does nothing but train, before torch is loaded there.

It says how often a waiting thread looks before it sleeps: sleeping at once costs a trainer a twentieth of its speed;
looking for long gains little, and costs half of it where another process uses a core.
"""


def cores() -> int:
    """How many cores this process may use; all on macOS, which does not tell."""
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
    """The processor's model, for example "AMD EPYC 9655, family 26, model 2"."""
    model = [processor().get("model name", platform.processor() or platform.machine())]
    fields = {"cpu family": "family", "model": "model"}
    model += [f"{name} {processor()[field]}" for field, name in fields.items() if field in processor()]
    return ", ".join(model)
