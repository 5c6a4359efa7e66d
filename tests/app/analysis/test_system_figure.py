"""The figure of what training took of its machine."""

import itertools
from datetime import UTC, datetime, timedelta

from app.analysis.figures import system
from app.store.rows import SystemReading

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def readings(*seconds: float, **facts: float) -> list[SystemReading]:
    return [
        SystemReading.model_validate(
            {"at": (NOON + timedelta(seconds=second)).timestamp() * 1000, "cores": second, "memory_bytes": 1e9} | facts
        )
        for second in seconds
    ]


def test_only_what_was_measured_has_a_row() -> None:
    assert [trace.name for trace in system(readings(5, 10)).data] == ["CPU cores", "Memory (bytes)"]
    drawn = system(readings(5, 10, gpu_percent=70, watts=300), "dark")
    assert [trace.name for trace in drawn.data] == ["CPU cores", "Memory (bytes)", "GPU busy (%)", "GPU power (W)"]
    domains = [drawn.layout[name].domain for name in ("yaxis", "yaxis2", "yaxis3", "yaxis4")]
    assert all(below[1] < above[0] for above, below in itertools.pairwise(domains))
    assert domains[0][1] == 1
    assert abs(domains[-1][0]) < 1e-9
    assert len(system([]).data) == 0


def test_a_line_breaks_where_the_run_was_not_trained() -> None:
    cores = system(readings(5, 10, 15, 115, 120)).data[0]
    assert list(cores.y) == [5, 10, 15, None, 115, 120]
