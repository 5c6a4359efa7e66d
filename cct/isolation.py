"""Lets training run in a process that others use too, such as a notebook's, without a trace in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from cct.device import default_device

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Globals:
    """What PyTorch keeps for the whole process and training must set, as its bits depend on it."""

    threads: int
    random: Tensor
    random_of_gpus: list[Tensor]

    @classmethod
    def now(cls, device: torch.device) -> "_Globals":
        of_gpus = torch.cuda.get_rng_state_all() if device.type == "cuda" else []
        return cls(torch.get_num_threads(), torch.get_rng_state(), of_gpus)

    def restore(self) -> None:
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        torch.set_rng_state(self.random)
        if self.random_of_gpus:
            torch.cuda.set_rng_state_all(self.random_of_gpus)


def isolated(training: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """Gives a generator function random numbers and a number of threads of its own.

    Those of its caller are back whenever it yields, ends or raises, and its own when it goes on. The device is its
    argument `device`, by default the GPU if there is one.
    """

    @wraps(training)
    def apart(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        chosen: Any = kwargs.get("device")
        device: torch.device = chosen or default_device()
        events = training(*args, **kwargs)
        ours: _Globals | None = None
        while True:
            callers = _Globals.now(device)
            if ours:
                ours.restore()
            try:
                event = next(events)
            except StopIteration:
                return
            finally:
                ours = _Globals.now(device)
                callers.restore()
            yield event

    return apart
