"""A training step on a GPU that is recorded once as a CUDA graph, and replayed.

That is one launch instead of hundreds, with the same operations and the same random numbers.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from cct.models import Model
from cct.spec import RunSpec
from cct.step import TrainingStep

WARM_UP_STEPS = 3
"""Steps before one is recorded: libraries choose their algorithms, and the optimizer makes its state."""

_CANNOT_BE_RECORDED = "a training step cannot be recorded; set compile to off"


class RecordingFailed(Exception):
    """A step could not be recorded, and PyTorch is of no more use to this process; another one can train without."""


class StepWaits(RecordingFailed, RuntimeError):
    """A step cannot be recorded, as it makes the host wait; that was noticed before, and PyTorch is fine."""


class Recording:
    """A function of a batch that is executed by itself a few times, then recorded, and replayed from then on.

    What it reads and writes must stay where it is. A call raises `RecordingFailed`.
    """

    def __init__(self, execute: Callable[[Tensor, Tensor], None], device: torch.device) -> None:
        self.graph: torch.cuda.CUDAGraph | None = None
        self.is_recording = False
        self._execute = execute
        self._device = device
        self._calls = 0
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Each time with a batch of the same shape."""
        self._calls += 1
        if self._calls <= WARM_UP_STEPS:
            self._warm_up(images, labels)
            return
        if self.graph is None:
            self.graph = self._record(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self.graph.replay()

    def _warm_up(self, images: Tensor, labels: Tensor) -> None:
        """On the stream that will record. The last time it must not make the host wait, or raises `StepWaits`."""
        caller = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(caller)
        try:
            with torch.cuda.stream(self._stream):
                if self._calls < WARM_UP_STEPS:
                    self._execute(images, labels)
                else:
                    self._execute_without_waiting(images, labels)
        finally:
            caller.wait_stream(self._stream)

    def _execute_without_waiting(self, images: Tensor, labels: Tensor) -> None:
        try:
            with waiting_is_an_error():
                self._execute(images, labels)
        except RuntimeError as error:
            raise StepWaits(f"{_CANNOT_BE_RECORDED} ({error})") from error

    def _record(self, images: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph:
        self._images, self._labels = images.clone(), labels.clone()
        graph = torch.cuda.CUDAGraph()
        self.is_recording = True
        try:
            # Other threads may use the GPU meanwhile, for another run or for what comes next.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._execute(self._images, self._labels)
        except RuntimeError as error:
            raise RecordingFailed(f"{_CANNOT_BE_RECORDED} ({error})") from error
        finally:
            self.is_recording = False
        return graph


class RecordedStep(TrainingStep):
    """Steps on whole batches are recorded after a few by themselves, and replayed from then on; others are executed.

    A step raises `RecordingFailed`.
    """

    def __init__(self, model: Model, spec: RunSpec, device: torch.device, class_weights: Tensor | None = None) -> None:
        super().__init__(model, spec, device, class_weights)
        self.recording = Recording(self._execute_recordable, device)

    def _execute(self, images: Tensor, labels: Tensor) -> None:
        if len(labels) == self.spec.batch_size:
            self.recording(images, labels)
        else:
            super()._execute(images, labels)

    def _execute_recordable(self, images: Tensor, labels: Tensor) -> None:
        # AdamW refuses to be recorded otherwise, though its fused form is the same for it.
        for group in self.optimizer.param_groups:
            group["capturable"] = self.recording.is_recording
        super()._execute(images, labels)
        for group in self.optimizer.param_groups:
            group["capturable"] = False


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


def check_kernels(device: torch.device) -> None:
    """Raises `RecordingFailed` if a kernel has failed, for then no other runs in this process."""
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except RuntimeError as error:
            raise RecordingFailed(f"{_CANNOT_BE_RECORDED} ({error})") from error
