"""How a run's steps are executed: as the spec says, or by trial."""

import copy
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice

import torch
from torch import Tensor

from cct.compiler import check_compiler
from cct.data import Split
from cct.models import CompactTransformer, Model
from cct.recording import WARM_UP_STEPS, RecordedStep, check_kernels
from cct.spec import RunSpec
from cct.stacked_models import can_be_stacked
from cct.stacked_step import Stack
from cct.step import Stopped, TrainingStep

TRIAL_STEPS = 20
TRIAL_BATCHES = 8
TRIAL_SHARE = 0.2
"""The most that may be spent on trying to shorten a run, as a share of the time that it is expected to take: less than
what is gained, as a recorded step takes a third of a plain one's time, and a compiled one two thirds of a recorded."""
WARM_UP_SECONDS = {"graph": 0.5, "on": 20.0}
"""Roughly what it takes until a step is recorded (`graph`) or compiled (`on`)."""
TRIED = {"auto": ("off", "graph"), "fastest": ("off", "graph", "on")}
"""What is tried for each choice of `compile` that leaves it open; the first is the plain way."""
SAME_LOSS = 0.003
"""Relative difference of the mean loss over a trial, up to which two ways to execute a step compute the same."""

Batch = tuple[Tensor, Tensor]
"""uint8 images `(batch, 3, size, size)`, or texts, and their labels `(batch,)`."""

TakeSeat = Callable[[Model, RunSpec, torch.device, Tensor | None], TrainingStep]
"""Makes the step of a model, by a settled spec, on a device, with factors of the loss by class."""


def training_step(
    model: Model,
    spec: RunSpec,
    split: Split,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
    may_record: bool = True,
    take_seat: TakeSeat | None = None,
) -> TrainingStep:
    """The step of a run on a device, with a settled spec: what is quicker is measured, on copies of the model.

    A run that takes a seat has no choice. Raises `Stopped`, `RecordingFailed`, `CannotCompile`.
    """
    spec = settle(spec, device, may_record)
    if take_seat:
        spec = spec.settled_to(compile="on" if device.type == "cuda" else "off")
    if spec.compile == "on":
        check_compiler(device)
    weights = None if spec.class_weights == "none" else balanced_weights(split.labels, model.config.num_classes)
    if spec.compile not in TRIED:
        return (take_seat or _step)(model, spec, device, weights)

    def arm(mode: str) -> Callable[[], TrainingStep]:
        return lambda: _step(copy.deepcopy(model), spec.settled_to(compile=mode), device, weights)

    modes = [mode for mode in TRIED[spec.compile] if settle(spec.settled_to(compile=mode), device).compile == mode]
    steps = spec.epochs * math.ceil(len(split.labels) / spec.batch_size)
    batches = trial_batches(split, spec, device)
    mode = quickest({mode: arm(mode) for mode in modes}, batches, steps, should_stop)
    torch.cuda.empty_cache()  # what the trial has used counts for no epoch
    torch.cuda.reset_peak_memory_stats(device)
    return _step(model, spec.settled_to(compile=mode), device, weights)


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """A factor for each class, so that all count alike in a loss over these labels; 1 on average over the labels.

    A class without labels gets the factor of one that has a single one.
    """
    counts = labels.bincount(minlength=classes).clamp(min=1)
    return len(labels) / (classes * counts.float())


def _step(model: Model, spec: RunSpec, device: torch.device, weights: Tensor | None) -> TrainingStep:
    if (
        device.type == "cuda"
        and spec.compile == "on"
        and isinstance(model, CompactTransformer)
        and can_be_stacked(model)
    ):
        return Stack(model, spec, device, weights).seat(0, model, spec)
    is_recorded = device.type == "cuda" and spec.compile in ("graph", "on")
    return (RecordedStep if is_recorded else TrainingStep)(model, spec, device, weights)


def settle(spec: RunSpec, device: torch.device, may_record: bool = True) -> RunSpec:
    """The spec with what is known of `auto` before anything is measured.

    Precision is bf16 where the hardware multiplies it natively. `compile: auto` and `fastest` remain so on a GPU,
    unless steps may not be recorded: what failed once is not tried again. On a CPU they are `off`: compiled steps were
    slower wherever that was measured (docs/performance.md), and a choice by time would not be the same twice.
    """
    has_bf16 = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cuda"
        else torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    if spec.precision == "auto":
        spec = spec.settled_to(precision="bf16" if has_bf16 else "fp32")
    is_possible = (device.type == "cuda" and may_record) or spec.compile not in ("graph", *TRIED)
    return spec if is_possible else spec.settled_to(compile="off")


def quickest(
    arms: Mapping[str, Callable[[], TrainingStep]],
    batches: Sequence[Batch],
    steps: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> str:
    """Which way to execute a run's steps takes the least time, by trial; the first of the arms is the plain one.

    Another is tried if its warm-up is a small part (`TRIAL_SHARE`) of the time that the run would take by the best one
    so far, and is taken if its loss is the plain one's and it is faster, or `graph`: as that has the same operations
    with fewer launches, it can only seem slower, when other runs use the GPU meanwhile. What fails, for example for
    want of a compiler, is not taken; the reason is printed. Raises `Stopped`, `RecordingFailed`.
    """
    plain, *others = arms
    best, best_seconds, plain_loss = plain, *_trial(arms[plain](), batches, should_stop)
    for mode in others:
        if WARM_UP_SECONDS[mode] > TRIAL_SHARE * steps * best_seconds:
            continue
        try:
            seconds, loss = _trial(arms[mode](), batches, should_stop)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            reason = str(error).strip().split("\n")[0]
            _tell(f"{mode} is not used, as it failed: {reason}")
            check_kernels(batches[0][1].device)
            continue
        _tell(f"{mode} takes {1e3 * seconds:.2f} ms per step, {best} {1e3 * best_seconds:.2f} ms")
        if not math.isclose(loss, plain_loss, rel_tol=SAME_LOSS):
            _tell(f"{mode} is not used, as its loss is {loss:.4f} instead of {plain_loss:.4f}")
        elif seconds < best_seconds or mode == "graph":
            best, best_seconds = mode, seconds
    return best


def _tell(message: str) -> None:
    print(f"compile: {message}", file=sys.stderr, flush=True)


def _trial(step: TrainingStep, batches: Sequence[Batch], should_stop: Callable[[], bool]) -> tuple[float, float]:
    """Executes steps in one of the ways: its seconds per step, and the mean loss."""
    step.begin_epoch(0)
    endless = cycle(batches)

    def run(steps: int) -> None:
        for batch, labels in islice(endless, steps):
            if should_stop():
                raise Stopped
            step(batch, labels)

    run(WARM_UP_STEPS + 1)  # in the last of these the step is recorded
    step.means()  # waits for the device
    # At the highest learning rate: a step that does not learn, or goes on with the former rate, has another loss.
    step.begin_epoch(min(step.spec.warmup_epochs, step.spec.epochs - 1))
    began = time.perf_counter()
    run(TRIAL_STEPS)
    mean_loss, _ = step.means()
    return (time.perf_counter() - began) / TRIAL_STEPS, mean_loss


def trial_batches(split: Split, spec: RunSpec, device: torch.device) -> list[Batch]:
    """A few batches from all parts of the split, without augmentation.

    Sorted by class, so that a step that did not read its batch would have another loss.
    """
    size = min(spec.batch_size, len(split.labels))
    count = min(TRIAL_BATCHES, len(split.labels) // size) * size
    chosen = torch.arange(count, device=split.labels.device) * (len(split.labels) // count)
    chosen = chosen[split.labels[chosen].argsort(stable=True)]
    images, labels = split.images[chosen.to(split.images.device)].to(device), split.labels[chosen]
    return list(zip(torch.split(images, size), torch.split(labels, size), strict=True))
