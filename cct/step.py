"""One training step, and how it is executed: arithmetic, memory layout, and whether it is compiled or replayed."""

import copy
import ctypes
import math
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice

import torch
import torch.nn.functional as F
from torch import Tensor

from cct.augment import centre_crop
from cct.data import Split
from cct.models import Model, TextTransformer
from cct.named_datasets import DATASETS
from cct.named_models import TEXT_MODELS, ModelConfig
from cct.seeds import seed_generators, seed_of
from cct.spec import RunSpec

WARM_UP_STEPS = 3
"""Before a step is recorded: libraries choose their algorithms, and the optimizer makes its state."""
TRIAL_STEPS = 20
TRIAL_BATCHES = 8
TRIAL_SHARE = 0.05
"""Of the time that a run is expected to take: the most that may be spent on trying to shorten it."""
WARM_UP_SECONDS = {"graph": 2.0, "on": 60.0}
"""Roughly what it takes until a step is recorded (`graph`) or compiled (`on`)."""
SAME_LOSS = 0.003
"""Relative difference of the mean loss over a trial, up to which two ways to execute a step compute the same."""
STEPS_AHEAD = 16
"""How many steps the host may have launched that a GPU has not finished: a run that is stopped must do them all."""

_CANNOT_BE_RECORDED = "a training step cannot be recorded; set compile to off"

Batch = tuple[Tensor, Tensor]
"""uint8 images `(batch, 3, size, size)`, or texts, and their labels `(batch,)`."""


class Stopped(Exception):
    """Training ended because `should_stop` said so; the last finished epoch is in the checkpoint."""


class RecordingFailed(Exception):
    """A step could not be recorded, and PyTorch is of no more use to this process; another one can train without."""


class StepWaits(RecordingFailed, RuntimeError):
    """A step cannot be recorded, as it makes the host wait; that was noticed before, and PyTorch is fine."""


class TrainingStep:
    """Forward, backward and AdamW on a batch, as a settled spec says; moves the model to the device.

    Losses and hits are summed on the device until `means` reads them, so that a GPU never waits for the host. With
    `compile: graph`, steps on whole batches are recorded once as a CUDA graph and replayed from then on: one launch
    instead of hundreds, with the same operations and the same random numbers. With `compile: on` only whole batches
    are compiled, as a smaller one would need a compilation of its own.
    """

    def __init__(self, model: Model, spec: RunSpec, device: torch.device) -> None:
        if device.type == "cpu":
            _keep_large_blocks()
        self.model: Model = model.to(device).to(memory_format=torch.channels_last)
        self.spec = spec
        self.device = device
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=spec.lr, weight_decay=spec.weight_decay, fused=True)
        self._compiled: Callable[[Tensor], Tensor] = torch.compile(model, disable=spec.compile != "on")
        self._precision, self._prepare = autocast(spec, device), preparation(spec, model, device)
        self._loss_sum, self._correct, self._lr = (torch.zeros((), device=device) for _ in range(3))
        self._whole_batches = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._launched = deque[torch.cuda.Event]()
        if spec.compile == "graph":
            self._stream: torch.cuda.Stream = torch.cuda.Stream(device)

    def begin_epoch(self, epoch: int) -> None:
        """Sets the mode, the learning rate and the random numbers of an epoch (counted from 0), and the sums to 0."""
        self.model.train()
        seed_generators(self.device, seed_of(self.spec.seed, "model", epoch))
        lr = learning_rate(self.spec, epoch)
        self._lr.fill_(lr)
        for group in self.optimizer.param_groups:
            group["lr"] = lr if self.device.type == "cpu" else self._lr  # what was recorded reads it from the device
        self._loss_sum.zero_()
        self._correct.zero_()
        self._count = 0

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """One step on a batch that lies on the device. Raises `RecordingFailed`."""
        self._count += len(labels)
        if self.spec.compile == "graph" and len(labels) == self.spec.batch_size:
            self._replay(images, labels)
        else:
            self._run(images, labels)
        if self.device.type == "cuda":
            # Who waits for it sleeps, and leaves the core to other trainers.
            event = torch.cuda.Event(blocking=True)
            self._launched.append(torch.cuda.current_stream(self.device).record_event(event))
            if len(self._launched) > STEPS_AHEAD:
                self._launched.popleft().synchronize()

    def means(self) -> tuple[float, float]:
        """The mean loss in nats and the top-1 in percent over the epoch's images so far; waits for the device."""
        return self._loss_sum.item() / self._count, 100 * self._correct.item() / self._count

    def _run(self, images: Tensor, labels: Tensor) -> None:
        forward = self._compiled if len(labels) == self.spec.batch_size else self.model
        with self._precision:
            logits = forward(self._prepare(images)).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self.spec.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self._loss_sum += loss.detach() * len(labels)
        self._correct += (logits.detach().argmax(dim=1) == labels).sum()

    def _replay(self, images: Tensor, labels: Tensor) -> None:
        """The recorded step on another batch; the first ones by themselves."""
        self._whole_batches += 1
        if self._whole_batches <= WARM_UP_STEPS:
            self._warm_up(images, labels)
            return
        if self._graph is None:
            self._graph = self._record(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()

    def _warm_up(self, images: Tensor, labels: Tensor) -> None:
        """A step on the stream that will record. The last one must not make the host wait, or raises `StepWaits`."""
        caller = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(caller)
        try:
            with torch.cuda.stream(self._stream):
                if self._whole_batches < WARM_UP_STEPS:
                    self._run(images, labels)
                else:
                    self._run_without_waiting(images, labels)
        finally:
            caller.wait_stream(self._stream)

    def _run_without_waiting(self, images: Tensor, labels: Tensor) -> None:
        try:
            with waiting_is_an_error():
                self._run(images, labels)
        except RuntimeError as error:
            raise StepWaits(f"{_CANNOT_BE_RECORDED} ({error})") from error

    def _record(self, images: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph:
        self._images, self._labels = images.clone(), labels.clone()
        graph = torch.cuda.CUDAGraph()
        # AdamW refuses to be recorded otherwise, though its fused form is the same for it.
        for group in self.optimizer.param_groups:
            group["capturable"] = True
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._run(self._images, self._labels)
        except RuntimeError as error:
            raise RecordingFailed(f"{_CANNOT_BE_RECORDED} ({error})") from error
        for group in self.optimizer.param_groups:
            group["capturable"] = False
        return graph


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """What makes the host wait for a GPU raises a `RuntimeError`, as far as PyTorch notices."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


def training_step(
    model: Model,
    spec: RunSpec,
    split: Split,
    device: torch.device,
    should_stop: Callable[[], bool] = lambda: False,
    may_record: bool = True,
) -> TrainingStep:
    """The step of a run on a device, with a settled spec: what `auto` stands for is known or, on a GPU, measured.

    bf16 where the hardware multiplies it natively. On a CPU nothing is compiled: that was slower wherever it was
    measured (docs/performance.md), and a choice by time would not be the same twice. Raises `Stopped`,
    `RecordingFailed`.
    """
    spec = settle(spec, device, may_record)
    if spec.compile != "auto":
        return TrainingStep(model, spec, device)

    def arm(mode: str) -> Callable[[], TrainingStep]:
        return lambda: TrainingStep(copy.deepcopy(model), spec.settled_to(compile=mode), device)

    modes = [mode for mode in ("off", "graph", "on") if settle(spec.settled_to(compile=mode), device).compile == mode]
    steps = spec.epochs * math.ceil(len(split.labels) / spec.batch_size)
    batches = trial_batches(split, spec, device)
    mode = quickest({mode: arm(mode) for mode in modes}, batches, steps, should_stop)
    torch.cuda.empty_cache()  # what the trial has used counts for no epoch
    torch.cuda.reset_peak_memory_stats(device)
    return TrainingStep(model, spec.settled_to(compile=mode), device)


def settle(spec: RunSpec, device: torch.device, may_record: bool = True) -> RunSpec:
    """The spec with what is known of `auto` before anything is measured.

    `compile: auto` remains so on a GPU, unless steps may not be recorded: what failed once is not tried again.
    """
    has_bf16 = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cuda"
        else torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    if spec.precision == "auto":
        spec = spec.settled_to(precision="bf16" if has_bf16 else "fp32")
    # Steps on texts are not recorded: in older versions of PyTorch (issue 82886) the gradient of many embeddings makes
    # the host wait, unnoticed by the warm-up.
    has_choice = device.type == "cuda" and may_record
    is_recordable = has_choice and spec.model not in TEXT_MODELS
    if (spec.compile == "auto" and not has_choice) or (spec.compile == "graph" and not is_recordable):
        spec = spec.settled_to(compile="off")
    return spec


def quickest(
    arms: Mapping[str, Callable[[], TrainingStep]],
    batches: Sequence[Batch],
    steps: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> str:
    """Which way to execute a run's steps takes the least time, by trial; the first of the arms is the plain one.

    Another is tried if its warm-up is a small part (`TRIAL_SHARE`) of the time that the run would take by the best one
    so far, and is taken if it is faster and its loss is the plain one's. What fails, for example for want of a
    compiler, is not taken; the reason is printed. Raises `Stopped`, `RecordingFailed`.
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
            _check(batches[0][1].device)
            continue
        _tell(f"{mode} takes {1e3 * seconds:.2f} ms per step, {best} {1e3 * best_seconds:.2f} ms")
        if not math.isclose(loss, plain_loss, rel_tol=SAME_LOSS):
            _tell(f"{mode} is not used, as its loss is {loss:.4f} instead of {plain_loss:.4f}")
        elif seconds < best_seconds:
            best, best_seconds = mode, seconds
    return best


def _check(device: torch.device) -> None:
    """Raises `RecordingFailed` if a kernel has failed, for then no other runs in this process."""
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except RuntimeError as error:
            raise RecordingFailed(f"{_CANNOT_BE_RECORDED} ({error})") from error


def _tell(message: str) -> None:
    print(f"compile: {message}", file=sys.stderr, flush=True)


def _trial(step: TrainingStep, batches: Sequence[Batch], should_stop: Callable[[], bool]) -> tuple[float, float]:
    """Seconds per step, and the mean loss."""
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


def learning_rate(spec: RunSpec, epoch: int) -> float:
    """Of an epoch counted from 0: lr / (warmup - epoch) while warming up, then half a cosine from lr to 0."""
    if epoch < spec.warmup_epochs:
        return spec.lr / (spec.warmup_epochs - epoch)
    share = (epoch - spec.warmup_epochs) / (spec.epochs - spec.warmup_epochs)
    return spec.lr * 0.5 * (1 + math.cos(math.pi * share))


def autocast(spec: RunSpec, device: torch.device) -> torch.autocast:
    """The arithmetic of a settled spec."""
    return torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16")


def preparation(spec: RunSpec, model: Model, device: torch.device) -> Callable[[Tensor], Tensor]:
    """`normalisation`, and on a CPU into oneDNN's own layout, for its max-pooling is the faster one."""
    normalise = normalisation(spec, model)
    is_pooled = isinstance(model.config, ModelConfig) and model.config.tokenizer == "conv"
    has_onednn = device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    if not is_pooled or not has_onednn or spec.compile == "on":
        return normalise
    dtype = torch.bfloat16 if spec.precision == "bf16" else torch.float32
    return lambda images: normalise(images).to_mkldnn(dtype)


def normalisation(spec: RunSpec, model: Model) -> Callable[[Tensor], Tensor]:
    """From uint8 images to what the model takes: its size, zero mean and unit variance per channel, channels last.

    Larger images are cut to their middle, smaller ones are enlarged. Texts are taken as they are.
    """
    if isinstance(model, TextTransformer):
        return lambda words: words
    info, size = DATASETS[spec.dataset], model.config.image_size
    device = next(model.parameters()).device
    mean = 255 * torch.tensor(info.mean, device=device)[:, None, None]
    std = 255 * torch.tensor(info.std, device=device)[:, None, None]

    def normalise(images: Tensor) -> Tensor:
        pixels = (centre_crop(images, size).float() - mean) / std
        if pixels.shape[-1] != size:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        return pixels.contiguous(memory_format=torch.channels_last)

    return normalise


def _keep_large_blocks() -> None:
    """Has glibc keep freed blocks of tens of megabytes, whose pages the kernel would else map and zero in each step."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other systems have none
    if mallopt:
        m_trim_threshold, m_mmap_max = -1, -4  # mallopt(3)
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, -1)
