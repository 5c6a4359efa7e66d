"""The board of docker-compose.yml, built, started, used and broken as its users do: `make compose-test`.

It has a project name and a port of its own and removes its containers and volumes at the end; the images stay.
More compose files, for a build behind a proxy for example, are named as Compose wants them:
`COMPOSE_FILE=docker-compose.yml:more.yml make compose-test`.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx

from app.cli.services import free_port

os.environ["no_proxy"] = "localhost,127.0.0.1"
PORT = free_port()
POOLINGS = Path(tempfile.mkdtemp())
POOLINGS.chmod(0o755)
ENVIRONMENT = os.environ | {
    "COMPOSE_PROJECT_NAME": "cctboard-test",
    "CCTBOARD_PORT": str(PORT),
    "CCTBOARD_POOLINGS": str(POOLINGS),
}
SPEC = {"dataset": "digits", "augmentation": "none", "warmup_epochs": 0}
POOLING = """
from cct.pooling import SeqPool, register

@register("mine")
class Mine(SeqPool):
    formula = "softmax(2 g(x), tokens)ᵀ x"

    def scores(self, x):
        return 2 * super().scores(x)
"""
EXEC_API = ["docker", "compose", "exec", "-T", "api"]
SECONDS = 300.0
"""The longest wait for anything but the build."""


def docker(*arguments: str, check: bool = True) -> str:
    """What the command prints."""
    done = subprocess.run(["docker", *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=check)
    return done.stdout.strip()


def compose(*arguments: str, check: bool = True) -> str:
    return docker("compose", *arguments, check=check)


def up(*arguments: str) -> None:
    compose("--progress", "quiet", "up", "--detach", "--wait", *arguments)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Prints the name, and when the step is done its seconds."""
    print(f"{name:.<70}", end=" ", flush=True)
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:6.1f} s", flush=True)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.25)


class Board:
    """The board over HTTP, as a program with the token sees it."""

    def __init__(self, token: str) -> None:
        self.client = httpx.Client(
            base_url=f"http://localhost:{PORT}", headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    def ask(self, method: str, path: str, body: object = None) -> Any:
        response = self.client.request(method, path, json=body)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    def submit(self, epochs: int) -> str:
        return str(self.ask("POST", "/runs", SPEC | {"epochs": epochs})["id"])

    def run(self, run_id: str) -> Any:
        return self.ask("GET", f"/runs/{run_id}")

    def is_completed(self, run_id: str) -> bool:
        run = self.run(run_id)
        assert run["state"] in ("queued", "running", "completed"), run
        return bool(run["state"] == "completed")

    def has_epoch(self, run_id: str, epoch: int) -> bool:
        run = self.run(run_id)
        assert run["state"] in ("queued", "running"), run
        return bool(run["epoch"] >= epoch)


def log_in() -> Board:
    """With the token that the first start printed."""
    token = compose("exec", "api", "cat", "/run/cctboard/cctboard_token")
    assert token in compose("logs", "--no-log-prefix", "secrets"), "the token is not in the log of `secrets`"
    return Board(token)


def check_doors() -> None:
    """Strangers get the page and nothing else."""
    stranger = httpx.Client(base_url=f"http://localhost:{PORT}", timeout=30)
    assert '<div id="root">' in stranger.get("/", headers={"Accept": "text/html"}).text
    for method, path in [("GET", "/runs"), ("POST", "/runs"), ("GET", "/workers"), ("GET", "/events")]:
        response = stranger.request(method, path, json=SPEC if method == "POST" else None)
        assert response.status_code == 401, f"{method} {path} without token: {response.status_code}"


def check_confinement() -> None:
    """Every container: a normal user, no capabilities, nothing to write to but volumes and /tmp, a memory limit."""
    containers = json.loads(docker("inspect", *compose("ps", "--all", "--quiet").split()))
    services = {container["Config"]["Labels"]["com.docker.compose.service"] for container in containers}
    assert services == {"secrets", "redis", "api", "worker"}, services
    for container in containers:
        name, host = container["Name"], container["HostConfig"]
        assert container["Config"]["User"] == "10001:10001", name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert host["Memory"] > 0, name
        published = {port: bindings for port, bindings in host["PortBindings"].items() if bindings}
        expected = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(PORT)}]} if "-api-" in name else {}
        assert published == expected, f"{name} publishes {published}"
    for service in ("redis", "api", "worker"):
        assert compose("exec", service, "id", "-u") == "10001", service
        assert compose("exec", service, "sh", "-c", "touch /tmp/x && ! touch /x 2>&1").count("Read-only") == 1, service
    assert "NOAUTH" in compose("exec", "redis", "valkey-cli", "ping"), "the database answers without its password"


def check_images() -> None:
    """No PyTorch in the API's image, and no development tools in either."""
    api, worker = (docker("run", "--rm", f"cctboard-{name}", "pip", "list") for name in ("api", "worker"))
    assert "torch" not in api
    assert "torch" in worker
    assert "pytest" not in api + worker
    for image in ("cctboard-api", "cctboard-worker"):
        size = int(docker("image", "inspect", "--format", "{{.Size}}", image))
        print(f"  {image}: {size / 1e6:.0f} MB")


def check_checkpoints(run_id: str) -> None:
    assert compose("exec", "worker", "sh", "-c", f"ls /data/checkpoints/{run_id}/*").split() == [
        "answers.npz",
        "best.pt",
        "best.safetensors",
        "last.pt",
    ]


def check_epochs(board: Board, run_id: str, epochs: int) -> None:
    """Every epoch was recorded, once."""
    recorded = [record["epoch"] for record in board.ask("GET", f"/runs/{run_id}/epochs")]
    assert recorded == list(range(1, epochs + 1)), recorded


def check_own_pooling(board: Board) -> None:
    """From an empty folder to a verdict over a pooling that the images do not know."""
    (POOLINGS / "mine.py").write_text(POOLING)
    wait_for(lambda: board.client.get("/poolings/mine").is_success)
    wait_for(lambda: (board.ask("GET", "/poolings/mine")["check"] or {"done": False})["done"])
    findings = board.ask("GET", "/poolings/mine")["check"]["findings"]
    assert {finding["outcome"] for finding in findings} == {"passed"}, findings
    axes = {"pooling": ["seqpool", "mine"], "seed": [0, 1]}
    experiment = board.ask("POST", "/experiments", {"name": "Mine", "spec": SPEC | {"epochs": 1}, "axes": axes})
    (POOLINGS / "mine.py").unlink()
    wait_for(lambda: board.ask("GET", f"/experiments/{experiment['id']}")["completed"] == 4)
    [_, mine] = board.ask("GET", f"/comparison?experiment={experiment['id']}")["variants"]
    assert mine["variant"].startswith("mine@"), mine
    assert mine["verdict"], mine


def main() -> None:
    try:
        with step("build"):
            compose("--progress", "quiet", "build")
        check_images()
        with step("first start"):
            up()
        board = log_in()
        with step("doors and confinement"):
            check_doors()
            check_confinement()
        with step("a run of 2 epochs to its end"):
            first = board.submit(epochs=2)
            wait_for(lambda: board.is_completed(first))
        check_checkpoints(first)
        with step("a pooling of one's own, to its verdict"):
            check_own_pooling(board)

        second = board.submit(epochs=15)
        with step("two epochs of a longer run"):
            wait_for(lambda: board.has_epoch(second, 2))
        with step("the worker stops and hands its run back"):
            compose("--progress", "quiet", "stop", "worker")
            run = board.run(second)
            assert (run["state"], run["attempt"]) == ("queued", 1), run
        with step("down"):
            compose("--progress", "quiet", "down")
        with step("up again without worker, everything is there"):
            up("api")
            check_epochs(board, first, 2)
        with step("the worker goes on with the run"):
            compose("--progress", "quiet", "up", "--detach")
            wait_for(lambda: board.has_epoch(second, run["epoch"] + 2))
        with step("kill -9 of all in the worker; it restarts, the run completes"):
            compose("exec", "worker", "sh", "-c", "kill -9 -1", check=False)
            wait_for(lambda: board.is_completed(second))
        check_epochs(board, second, 15)
        check_checkpoints(first)
        assert board.run(second)["attempt"] == 3, board.run(second)

        with step("two workers"):
            up("--no-recreate", "--scale", "worker=2")
            wait_for(lambda: len(board.ask("GET", "/workers")["workers"]) == 2)
        with step("backup, an empty board, restore"), tempfile.TemporaryFile() as archive:
            backup, restore = ([*EXEC_API, "cctboard", command, "-"] for command in ("backup", "restore"))
            subprocess.run(backup, env=ENVIRONMENT, stdout=archive, check=True)
            compose("--progress", "quiet", "down", "--volumes")
            up("api")
            archive.seek(0)
            subprocess.run(restore, env=ENVIRONMENT, stdin=archive, check=True)
            check_epochs(log_in(), second, 15)
        print("passed")
    except BaseException:
        print(compose("logs", "--tail", "60", check=False))
        raise
    finally:
        compose("--progress", "quiet", "down", "--volumes", "--timeout", "20", check=False)


if __name__ == "__main__":
    main()
