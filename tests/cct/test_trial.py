"""Which way to execute a run's steps is taken."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cct import trial
from cct.data import load
from cct.models import create_model
from cct.spec import RunSpec
from cct.step import Stopped, TrainingStep
from cct.trial import TRIAL_SHARE, TRIED, WARM_UP_SECONDS, Batch, quickest, settle, trial_batches

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
SPEC = RunSpec(model="vit_2_4_32", dataset="digits", batch_size=16, precision="fp32", compile="off")


def test_nothing_is_tried_on_a_cpu() -> None:
    """A choice by time would not be the same twice."""
    for tried in TRIED:
        assert settle(RunSpec(compile=tried), CPU).compile == "off"
    assert settle(RunSpec(compile="graph"), CPU).compile == "off", "there is no CUDA to record with"
    assert settle(RunSpec(compile="on"), CPU).compile == "on"
    recorded = RunSpec(compile="graph", precision="fp32")
    assert settle(recorded, torch.device("cuda")).compile == "graph"
    assert settle(recorded, torch.device("cuda"), may_record=False).compile == "off"
    for tried in TRIED:
        open_spec = replace(recorded, compile=tried)
        assert settle(open_spec, torch.device("cuda")).compile == tried, "it is measured"
        assert settle(open_spec, torch.device("cuda"), may_record=False).compile == "off", "nothing is tried once more"
    assert settle(RunSpec(precision="auto"), CPU).precision in ("fp32", "bf16")


class Slow(TrainingStep):
    def __call__(self, images: Tensor, labels: Tensor) -> None:
        time.sleep(0.1)
        super().__call__(images, labels)


class Forgetful(TrainingStep):
    """Reads its first batch for ever, as a recording would that is not given new ones."""

    first: Batch | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        self.first = self.first or (images, labels)
        super().__call__(*self.first)


class Idle(TrainingStep):
    """Computes its loss and learns nothing."""

    def begin_epoch(self, epoch: int) -> None:
        super().begin_epoch(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0


class Late(TrainingStep):
    """Keeps its first learning rate, as a recording would that does not read it."""

    first_lr: float | None = None

    def begin_epoch(self, epoch: int) -> None:
        super().begin_epoch(epoch)
        for group in self.optimizer.param_groups:
            self.first_lr = group["lr"] = self.first_lr or group["lr"]


class Broken(TrainingStep):
    def __call__(self, images: Tensor, labels: Tensor) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one.")


@pytest.fixture(autouse=True)
def _short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "TRIAL_STEPS", 6)


@pytest.fixture
def batches() -> list[Batch]:
    """As a trial has them: classes in turn."""
    split = load("digits", Path())[0]
    return trial_batches(split, SPEC, CPU)


def arm(kind: type[TrainingStep]) -> Callable[[], TrainingStep]:
    return lambda: kind(create_model(SPEC.model, seed=0), SPEC, CPU)


MANY_STEPS = 1_000_000


def test_the_quickest_way_to_execute_a_step_is_taken(batches: list[Batch], capsys: pytest.CaptureFixture[str]) -> None:
    assert quickest({"off": arm(Slow), "graph": arm(TrainingStep)}, batches, MANY_STEPS) == "graph"
    assert "graph takes" in capsys.readouterr().err
    assert quickest({"off": arm(TrainingStep), "on": arm(Slow)}, batches, MANY_STEPS) == "off"
    assert quickest({"off": arm(TrainingStep), "graph": arm(Slow)}, batches, MANY_STEPS) == "graph", "others trained"
    assert quickest({"off": arm(Slow), "graph": arm(Slow), "on": arm(TrainingStep)}, batches, MANY_STEPS) == "on"


def test_a_way_whose_warm_up_would_not_pay_is_not_tried(batches: list[Batch]) -> None:
    def tried(steps: int) -> list[str]:
        seen: list[str] = []

        def watched(mode: str) -> Callable[[], TrainingStep]:
            def make() -> TrainingStep:
                seen.append(mode)
                return arm(Slow)()

            return make

        quickest({mode: watched(mode) for mode in ("off", "graph", "on")}, batches, steps)
        return seen

    seconds = 0.11  # of a slow step, at least and about
    assert tried(10) == ["off"]
    assert tried(int(1.5 * WARM_UP_SECONDS["graph"] / TRIAL_SHARE / seconds)) == ["off", "graph"]
    assert tried(MANY_STEPS) == ["off", "graph", "on"]


@pytest.mark.parametrize("wrong", [Forgetful, Idle, Late])
def test_a_way_that_computes_something_else_is_not_taken(
    wrong: type[TrainingStep], batches: list[Batch], capsys: pytest.CaptureFixture[str]
) -> None:
    assert quickest({"off": arm(Slow), "graph": arm(wrong)}, batches, MANY_STEPS) == "off"
    assert "graph is not used, as its loss is" in capsys.readouterr().err


def test_a_trial_can_be_stopped(batches: list[Batch]) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 4

    with pytest.raises(Stopped):
        quickest({"off": arm(TrainingStep)}, batches, MANY_STEPS, stop)
    assert asked == 4


def test_a_way_that_fails_is_not_taken_and_says_why(batches: list[Batch], capsys: pytest.CaptureFixture[str]) -> None:
    assert quickest({"off": arm(Slow), "graph": arm(Broken), "on": arm(TrainingStep)}, batches, MANY_STEPS) == "on"
    assert "compile: graph is not used, as it failed: Failed to find C compiler.\n" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="C compiler"):
        quickest({"off": arm(Broken)}, batches, MANY_STEPS)


NO_HEADERS = """#!/bin/sh
[ "$1" = --version ] && echo "g++ 12.2.0" && exit 0
echo "/tmp/header.hpp:1:10: fatal error: Python.h: No such file or directory" >&2
exit 1
"""


@pytest.mark.parametrize("compiler", ["there is none", NO_HEADERS])
def test_what_a_compiler_lacks_is_told_in_one_line_before_training_starts(compiler: str, tmp_path: Path) -> None:
    """By `python -m cct`; a worker tells the same as the run's error. What was compiled before must not hide it."""
    path = tmp_path / "g++"
    if compiler == NO_HEADERS:
        path.write_text(compiler)
        path.chmod(0o755)
    command = [sys.executable, "-m", "cct", "--dataset", "digits", "--model", "vit_2_4_32", "--compile", "on"]
    process = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"CXX": str(path), "CC": str(path)}, cwd=ROOT
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert "Traceback" not in process.stderr
    said = process.stderr.splitlines()[-1]
    assert said.startswith("python -m cct: compile: on needs a C++ compiler and the headers of Python, which do not")
    assert said.endswith("(on Debian and Ubuntu: apt install gcc g++ python3-dev), or use compile: off")
    assert ("Python.h: No such file" if compiler == NO_HEADERS else str(path)) in said
