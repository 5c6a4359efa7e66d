"""The import rules: who may load what, in a fresh interpreter."""

import pytest

from tests.conftest import fresh_interpreter

NEVER = {
    "cct": ["torch", "numpy", "fastapi", "celery", "redis"],
    "cct.events": ["torch", "numpy", "fastapi", "celery", "redis"],
    "cct.named_datasets": ["torch", "numpy", "fastapi", "celery", "redis"],
    "cct.named_models": ["torch", "numpy", "fastapi", "celery", "redis"],
    "cct.spec": ["torch", "numpy", "fastapi", "celery", "redis"],
    "cct.cost": ["torch", "numpy", "fastapi", "celery", "redis"],
    "cct.training": ["app", "worker", "fastapi", "celery", "redis", "plotly"],
    "app.settings": ["torch", "fastapi", "redis", "app.store"],
    "app.errors": ["torch", "fastapi", "starlette", "redis", "app.store"],
    "app.queue": ["torch", "fastapi", "app.store"],
    "app.store.run_store": ["torch", "fastapi", "celery", "app.analysis", "app.web"],
    "app.store.archive": ["torch", "fastapi", "celery", "app.analysis", "app.web"],
    "app.store.rows": ["redis"],
    "app.analysis.report": ["torch", "fastapi", "redis", "app.web"],
    "app.analysis.schedule": ["torch", "fastapi", "redis", "app.web"],
    "app.analysis.tensorboard": ["torch", "fastapi", "redis", "app.web"],
    "app.web.main": ["torch", "torchvision", "numpy", "worker", "app.cli", "cct.training", "cct.models"],
    "app.cli.main": ["torch", "fastapi", "worker"],
    "app.cli.agent": ["torch", "fastapi", "redis", "worker", "plotly", "app.web", "app.store"],
    "app.cli.notebook": ["torch", "fastapi", "redis", "worker", "plotly", "app.web", "app.store"],
    "worker.tasks": ["fastapi", "plotly", "app.web", "app.analysis", "app.cli", "torch"],
    "worker.trainer": ["fastapi", "celery", "plotly", "app.web", "app.analysis", "app.cli"],
}


@pytest.mark.parametrize("module", NEVER)
def test_a_package_keeps_to_its_neighbours(module: str) -> None:
    loaded = fresh_interpreter(f"import sys, {module}; print(*sys.modules)").split()
    assert module in loaded
    assert not [name for name in NEVER[module] if name in loaded]
