"""Puts the built dashboard into the package, as a board without it has no pages; all else is in pyproject.toml."""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import ExecError

FRONTEND = Path("frontend")
PAGE = FRONTEND / "dist" / "index.html"


class BuildWithDashboard(build_py):
    """An editable install takes the dashboard from the checkout, and needs none to be installed."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        if not _is_built():
            _build()
        shutil.rmtree(self.build_lib, ignore_errors=True)  # files of an earlier build that are no more
        super().run()
        shutil.copytree(PAGE.parent, Path(self.build_lib, "app", "web", "dashboard"))


def _is_built() -> bool:
    """Whether the built dashboard is as new as its sources."""
    sources = [path for path in (FRONTEND / "src").rglob("*") if path.is_file()]
    return PAGE.exists() and all(path.stat().st_mtime <= PAGE.stat().st_mtime for path in sources)


def _build() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ExecError(
            "the dashboard is not built, or older than its sources, and there is no npm to build it: run `make "
            "dashboard` before, or install Node 24"
        )
    if not (FRONTEND / "node_modules").exists():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=FRONTEND, check=True)
    subprocess.run([npm, "run", "build"], cwd=FRONTEND, check=True)


setup(cmdclass={"build_py": BuildWithDashboard})
