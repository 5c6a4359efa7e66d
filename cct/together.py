"""Several runs at once on one GPU, whose models take their steps together (`cct.stacked_step`)."""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Protocol

import torch
from torch import Tensor

from cct.events import Event
from cct.models import CompactTransformer, Model
from cct.spec import RunSpec, SpecError
from cct.stacked_models import can_be_stacked
from cct.stacked_step import Stack
from cct.step import Stopped, TrainingStep
from cct.trial import TakeSeat


class Training(Protocol):
    """A call of `cct.training.train` that lacks this argument."""

    def __call__(self, *, take_seat: TakeSeat | None) -> Iterator[Event]: ...


def together(trainings: Sequence[Training]) -> Iterator[tuple[int, Event | Exception | None]]:
    """Trains runs whose specs differ in their seed alone, each as if it were the only one.

    Yields the number of a run, counted from 0, with what that has to tell, and at its end None or what it raised; the
    others go on. They may have done different numbers of epochs before. Their random numbers of dropout and stochastic
    depth are other ones than if they were trained by themselves. Whoever asks for no more has them stopped.
    """
    news: queue.SimpleQueue[tuple[int, Event | Exception | None]] = queue.SimpleQueue()
    table = _Table(len(trainings))

    def follow(number: int, training: Training) -> None:
        ended: Exception | None = None
        try:
            for event in training(take_seat=lambda *model: table.seat(number, *model)):
                news.put((number, event))
        except Exception as error:
            ended = error
        finally:
            table.leave(number)
            news.put((number, ended))

    threads = [
        threading.Thread(target=follow, args=training, name=f"run-{training[0]}", daemon=True)
        for training in enumerate(trainings)
    ]
    try:
        for number, thread in enumerate(threads):
            thread.start()
            # One after the other, as what a run does before its first step takes random numbers that are the process's.
            table.settled[number].wait()
        ended = 0
        while ended < len(trainings):
            number, event = news.get()
            ended += event is None or isinstance(event, Exception)
            yield number, event
    finally:
        table.stop()
        for thread in threads:
            if thread.ident:
                thread.join()


def in_turn(trainings: Sequence[Training]) -> Iterator[tuple[int, Event | Exception | None]]:
    """The same, one run after another, each by itself: quicker than together on a CPU."""
    for number, training in enumerate(trainings):
        try:
            for event in training(take_seat=None):
                yield number, event
        except Exception as error:
            yield number, error
        else:
            yield number, None


class _Table:
    """The seats of runs whose stack is made when the first model is known."""

    def __init__(self, count: int) -> None:
        self.settled = [threading.Event() for _ in range(count)]
        """Set when a run waits for the others, or has ended."""
        self._count = count
        self._stack: Stack | None = None
        self._spec: RunSpec | None = None
        self._gone = list[int]()
        self._is_stopped = False

    def seat(
        self, number: int, model: Model, spec: RunSpec, device: torch.device, class_weights: Tensor | None
    ) -> TrainingStep:
        """Raises `SpecError`, `Stopped`."""
        if self._is_stopped:
            raise Stopped
        if not isinstance(model, CompactTransformer) or not can_be_stacked(model):
            raise SpecError("model", "only models of images without a state of their own can be trained together")
        if self._stack is None:
            self._stack = Stack(model, spec, device, class_weights, self._count, self._settle)
            self._spec = _without_seed(spec)
            for gone in self._gone:
                self._stack.leave(gone)
        if _without_seed(spec) != self._spec:
            raise SpecError("seed", "only runs that differ in nothing but their seed can be trained together")
        return self._stack.seat(number, model, spec)

    def stop(self) -> None:
        self._is_stopped = True
        if self._stack:
            self._stack.stop()

    def leave(self, number: int) -> None:
        if self._stack:
            self._stack.leave(number)
        self._gone.append(number)
        self.settled[number].set()

    def _settle(self, number: int) -> None:
        self.settled[number].set()


def _without_seed(spec: RunSpec) -> RunSpec:
    return RunSpec.stored(asdict(spec) | {"seed": 0})
