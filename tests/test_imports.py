"""The import rules: who may load what, in a fresh interpreter."""

import pytest

from tests.conftest import fresh_interpreter

NEVER = {
    "cct": ["torch", "numpy", "fastapi", "celery", "redis"],
    "cct.config": ["torch", "numpy", "fastapi", "celery", "redis"],
    "cct.cost": ["torch", "numpy", "fastapi", "celery", "redis"],
    "cct.training": ["app", "worker", "fastapi", "celery", "redis", "plotly"],
    "app.store.run_store": ["fastapi", "torch"],
    "app.queue": ["fastapi", "torch"],
    "app.analysis.statistics": ["fastapi", "torch"],
    "app.web.main": ["torch", "torchvision", "numpy", "worker", "cct.training", "cct.models"],
    "app.cli.main": ["torch", "fastapi", "worker"],
    "worker.tasks": ["fastapi", "plotly", "app.web.routes", "torch"],
    "worker.trainer": ["fastapi", "plotly", "app.web.routes"],
}


@pytest.mark.parametrize("module", NEVER)
def test_a_package_keeps_to_its_neighbours(module: str) -> None:
    loaded = fresh_interpreter(f"import sys, {module}; print(*sys.modules)").split()
    assert module in loaded
    assert not [name for name in NEVER[module] if name in loaded]
