"""How long training takes on this machine: measured and told when a board starts and nobody uses it yet."""

import os
import subprocess
import sys
import threading
from contextlib import suppress

import httpx2 as httpx

from app.cli.connection import ask
from app.cli.output import UsageError, say
from cct.machine import OPENMP, cores
from cct.named_datasets import DATASETS
from cct.spec import RunSpec

QUIET_SECONDS = 5.0
"""How long nobody must have queued anything."""
SECONDS = 3.0
"""How long is measured."""
FORWARD = 1 / 3
"""What validating an image costs, where training with it costs 1."""

_TRAINER = [sys.executable, "-c", "from worker.slots import train; train()"]


def tell_speed(client: httpx.Client, stop_asked: threading.Event) -> None:
    """Says how long the reference's recipe would take; nothing if runs are queued, which would be disturbed, or if that
    cannot be known: the board goes on without it."""
    if stop_asked.wait(QUIET_SECONDS) or _is_used(client):
        return
    told = list[str]()
    with suppress(OSError):  # it cannot be started, or has ended at once
        told = _measure(stop_asked).splitlines()
    if len(told) == 2 and not _is_used(client):
        device, rate = told[0], float(told[1])
        say(
            f"Training here, on {device}: {rate:,.0f} images/s with CCT-2/3x2, so the reference's {RunSpec().epochs} "
            f"epochs of CIFAR-10 take about {_time(_recipe_seconds(rate))}"
        )


def _measure(stop_asked: threading.Event) -> str:
    """The device and its images per second, a line each; nothing if that fails or the user wants the end."""
    environment, pipe, nowhere = OPENMP | os.environ, subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(_TRAINER, text=True, env=environment, stdin=pipe, stdout=pipe, stderr=nowhere) as trainer:
        assert trainer.stdin
        assert trainer.stdout
        print(cores(), SECONDS, file=trainer.stdin, flush=True)
        trainer.stdin.close()  # it ends when it has read all, also if this process is gone
        while trainer.poll() is None:
            if stop_asked.wait(0.1):
                trainer.kill()
                return ""
        return trainer.stdout.read()


def _is_used(client: httpx.Client) -> bool:
    """Also while the board does not answer, as its API may just be started anew."""
    try:
        return bool(ask(client, "GET", "/runs", params={"state": ["queued", "running"], "limit": 1})["total"])
    except UsageError:
        return True


def _recipe_seconds(images_per_second: float) -> float:
    spec = RunSpec()
    dataset = DATASETS[spec.dataset]
    assert dataset.train_size
    assert dataset.test_size
    return spec.epochs * (dataset.train_size + FORWARD * dataset.test_size) / images_per_second


def _time(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes / 60:.1f} hours" if minutes >= 120 else f"{minutes:.0f} minutes"
