import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cct.data import load
from cct.events import EpochRecord
from cct.models import create_model
from cct.spec import RunSpec
from cct.step import (
    TRIAL_SHARE,
    WARM_UP_SECONDS,
    Batch,
    Stopped,
    TrainingStep,
    learning_rate,
    quickest,
    settle,
    trial_batches,
)
from cct.training import train
from tests.cct.told import only

CPU = torch.device("cpu")
SPEC = RunSpec(model="vit_2_4_32", dataset="digits", batch_size=16, precision="fp32", compile="off")


def test_the_schedule_is_the_references() -> None:
    spec = RunSpec(epochs=200)
    assert [learning_rate(spec, epoch) for epoch in range(5)] == [5e-4 / 5, 5e-4 / 4, 5e-4 / 3, 5e-4 / 2, 5e-4]
    assert learning_rate(spec, 5) == 5e-4
    assert learning_rate(spec, 102) == pytest.approx(5e-4 * 0.5 * (1 + math.cos(math.pi * 97 / 195)))
    assert 0 < learning_rate(spec, 199) < 1e-7


def test_a_compiled_step_computes_the_same(tmp_path: Path) -> None:
    # Without random numbers, which compiled code draws otherwise.
    spec = RunSpec(model="vit_2_4_32", dataset="digits", epochs=2, batch_size=400, warmup_epochs=0)
    spec = replace(spec, attention_dropout=0.0, stochastic_depth=0.0, augmentation="none", precision="fp32")
    (*_, plain), (*_, compiled) = (
        only(EpochRecord, train(replace(spec, compile=c), data_dir=tmp_path)) for c in ("off", "on")
    )
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, "not for the smaller batch, too"
    assert compiled.val_loss == pytest.approx(plain.val_loss, rel=1e-3)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is meant")
def test_training_reuses_large_blocks_instead_of_mapping_them_anew(tmp_path: Path) -> None:
    list(train(replace(SPEC, epochs=1), data_dir=tmp_path))
    mebibytes = 48  # more than glibc ever keeps by itself
    faults = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(mebibytes * 2**20, dtype=torch.uint8)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert faults[1] < mebibytes * 2**20 / resource.getpagesize() / 10


def test_what_auto_stands_for_on_a_cpu_is_known_without_a_trial() -> None:
    """A choice by time would not be the same twice."""
    assert settle(RunSpec(compile="auto"), CPU).compile == "off"
    assert settle(RunSpec(compile="graph"), CPU).compile == "off", "there is no CUDA to record with"
    assert settle(RunSpec(compile="on"), CPU).compile == "on"
    on_texts = RunSpec(model="text_cct_2", dataset="trec", compile="graph", precision="fp32")
    assert settle(on_texts, torch.device("cuda")).compile == "off"
    recorded = RunSpec(compile="graph", precision="fp32")
    assert settle(recorded, torch.device("cuda")).compile == "graph"
    assert settle(recorded, torch.device("cuda"), may_record=False).compile == "off"
    tried = replace(recorded, compile="auto")
    assert settle(tried, torch.device("cuda")).compile == "auto", "it is measured"
    assert settle(tried, torch.device("cuda"), may_record=False).compile == "off", "nothing is tried once more"
    assert settle(RunSpec(precision="auto"), CPU).precision in ("fp32", "bf16")


class Slow(TrainingStep):
    def __call__(self, images: Tensor, labels: Tensor) -> None:
        time.sleep(0.05)
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
    assert quickest({"off": arm(TrainingStep), "graph": arm(Slow)}, batches, MANY_STEPS) == "off"
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

    seconds = 0.06  # of a slow step, at least and about
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
