"""Documentation is complete where completeness can be checked."""

import re
from pathlib import Path

from app.settings import Settings

ROOT = Path(__file__).parent.parent


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    missing = [name for name in Settings.model_fields if f"`CCTBOARD_{name.upper()}`" not in text]
    assert not missing


def test_a_public_host_and_hooks_run_what_make_runs() -> None:
    makefile, host, hooks, project = (
        (ROOT / name).read_text(encoding="utf-8")
        for name in ("Makefile", ".github/workflows/ci.yml", ".pre-commit-config.yaml", "pyproject.toml")
    )
    assert re.findall(r"run: (.+)", host) == ["make test"]
    [oldest] = re.findall(r'requires-python = ">=([\d.]+)"', project)
    assert f'python: ["{oldest}", ' in host
    programs = re.findall(r"entry: \.venv/bin/(.+)", hooks)
    assert len(programs) == 3
    assert all(f"$(BIN)/{program}\n" in makefile for program in programs)
