"""The wheel is the whole product: built, installed elsewhere and started in another folder."""

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from app.cli.services import free_port
from app.proxies import DIRECT
from app.web.main import DASHBOARD
from tests.conftest import wait_for

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "cct", "worker")
SITES = [path for path in sys.path if path.endswith("site-packages")]


def sources(folder: Path, with_dashboard: bool = True) -> Path:
    """A folder with what a wheel is built from."""
    folder.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    if with_dashboard:
        shutil.copytree(ROOT / "frontend" / "dist", folder / "frontend" / "dist")
    return folder


def build(folder: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Builds a wheel with what is installed here, without a network."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(folder)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = sources(tmp_path_factory.mktemp("wheel") / "cctboard")
    # What an earlier build has left of a module that is no more.
    (folder / "build" / "lib" / "app").mkdir(parents=True)
    (folder / "build" / "lib" / "app" / "forgotten.py").touch()
    done = build(folder, folder / "out")
    assert done.returncode == 0, done.stderr
    [wheel] = (folder / "out").iterdir()
    return wheel


def install(wheel: Path, venv: Path, packages: list[str]) -> Path:
    """The `bin` of an environment with the wheel and the packages of other folders, but without the checkout."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    [site] = venv.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text("\n".join(packages))
    return venv / "bin"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with all that the product needs."""
    return install(wheel, tmp_path_factory.mktemp("venv") / "venv", SITES)


def test_a_wheel_has_all_files_of_the_packages_and_the_dashboard(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    dashboard = {f"app/web/dashboard/{path.relative_to(DASHBOARD)}" for path in DASHBOARD.rglob("*") if path.is_file()}
    files = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    assert len(dashboard) > 3
    assert held == {str(path) for path in files if "__pycache__" not in path.parts} | dashboard


def test_a_wheel_without_the_dashboard_is_refused_by_name(tmp_path: Path) -> None:
    no_npm = tmp_path / "bin"
    no_npm.mkdir()
    done = build(sources(tmp_path / "cctboard", with_dashboard=False), tmp_path / "out", PATH=str(no_npm))
    assert done.returncode != 0
    assert "the dashboard is not built, or older than its sources, and there is no npm to build it" in done.stderr


@contextmanager
def up(installed: Path, folder: Path) -> Iterator[httpx.Client]:
    """`cctboard up` of the installed package in another folder."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(installed / "cctboard"), "up", "--port", str(port)]
    log = folder / "up.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", mounts=DIRECT) as client:
            wait_for(lambda: process.poll() is not None or "is up" in log.read_text(), 90)
            assert process.poll() is None, log.read_text()
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_an_installed_board_shows_its_page_and_trains_a_run(installed: Path, tmp_path: Path) -> None:
    code = "import app, cct, worker; print(app.__file__, cct.__file__, worker.__file__)"
    found = subprocess.run([installed / "python", "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert found.stdout.count(str(installed.parent)) == 3, "what is tried is what was installed"
    with up(installed, tmp_path) as board:
        assert board.get("/").content == (DASHBOARD / "index.html").read_bytes()
        [script] = [path.name for path in (DASHBOARD / "assets").glob("index-*.js")]
        assert board.get(f"/assets/{script}").is_success
        run = board.post("/runs", json={"dataset": "digits", "epochs": 1, "warmup_epochs": 0, "batch_size": 256}).json()
        wait_for(lambda: board.get(f"/runs/{run['id']}").json()["state"] in ("completed", "failed"), 120)
        assert board.get(f"/runs/{run['id']}").json()["state"] == "completed"
        assert board.get("/comparison", params={"run": run["id"]}).json()["other_references"], "published results"
    assert list((tmp_path / "data" / "checkpoints" / run["id"]).glob("*/best.safetensors"))


@pytest.mark.parametrize("command", ["up", "worker"])
def test_without_what_training_needs_it_says_how_to_get_it(wheel: Path, tmp_path: Path, command: str) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in (path for site in SITES for path in Path(site).iterdir()):
        if not path.name.startswith("torch") and not (few / path.name).exists():
            (few / path.name).symlink_to(path)
    program = install(wheel, tmp_path / "venv", [str(few)]) / "cctboard"
    done = subprocess.run([program, command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        2,
        "cctboard: training needs PyTorch, which is not installed; install cctboard[train], or use --workers 0\n",
    )
