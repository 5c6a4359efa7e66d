"""Training steps of one or more models at once, compiled and recorded: `compile: on` for images on a GPU.

The models' weights lie in one tensor, a row for each model, as do their gradients and AdamW's averages. So what a step
does to each weight by itself (the cast to bf16, AdamW) is one kernel and not one for each tensor, and more models make
kernels larger instead of more. Each model keeps a `Seat`, which is its training step, with an optimizer whose state can
be saved and restored as any other's.
"""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.func import vmap

from cct.models import CompactTransformer
from cct.recording import Recording
from cct.seeds import seed_generators, seed_of
from cct.spec import RunSpec
from cct.stacked_models import stacked_logits
from cct.step import Stopped, TrainingStep, autocast, normalisation, training_loss

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""AdamW's, PyTorch's and the reference's."""


class Stack:
    """The seats of models that take their steps together: one that is ready waits for all others that are seated."""

    def __init__(
        self,
        model: CompactTransformer,
        spec: RunSpec,
        device: torch.device,
        class_weights: Tensor | None = None,
        seats: int = 1,
        is_ready: Callable[[int], None] = lambda number: None,
    ) -> None:
        """For models like this one and specs that differ from this settled one in the seed alone.

        `is_ready` is told a seat whenever it has a batch.
        """
        self._models = _Models(model.to(device), spec, device, class_weights, seats)
        self._whole = spec.batch_size
        self._batches: dict[int, _Batch] = {}
        self._seated, self._ready = set(range(seats)), set[int]()
        self._is_ready = is_ready
        self._turn = threading.Condition()
        self._steps = 0
        self._failure: BaseException | None = None
        self._epochs: dict[int, tuple[int, int]] = {}

    def seat(self, number: int, model: CompactTransformer, spec: RunSpec) -> "Seat":
        """The step of a model, counted from 0."""
        return Seat(self, self._models, number, model, spec)

    def begin_epoch(self, number: int, seed: int, epoch: int) -> None:
        """Tells which epoch of which run a seat is in."""
        self._epochs[number] = seed, epoch

    def leave(self, number: int) -> None:
        """The others no longer wait for it."""
        with self._turn:
            self._seated.discard(number)
            self._ready.discard(number)
            self._step_if_ready()

    def stop(self) -> None:
        """Steps raise `Stopped` from now on."""
        with self._turn:
            self._failure = self._failure or Stopped()
            self._turn.notify_all()

    def step(self, number: int, images: Tensor, labels: Tensor) -> None:
        """Returns when the step is launched for all; raises for all what it raises. All have as many images."""
        with self._turn:
            if len(images) not in self._batches:
                self._batches[len(images)] = self._new_batch(images, labels)
            self._batch = self._batches[len(images)]
            self._batch.images[number].copy_(images)
            self._batch.labels[number].copy_(labels)
            self._ready.add(number)
            self._is_ready(number)
            before = self._steps
            self._step_if_ready()
            self._turn.wait_for(lambda: self._steps > before or self._failure)
            if self._failure:
                raise self._failure

    def _new_batch(self, images: Tensor, labels: Tensor) -> "_Batch":
        def execute(images: Tensor, labels: Tensor) -> None:
            self._models.step(images, labels, is_compiled=images.shape[1] == self._whole)

        count, device = len(self._models.lr), self._models.device
        return _Batch(
            images.new_zeros(count, *images.shape),
            labels.new_zeros(count, *labels.shape),
            Recording(execute, device) if device.type == "cuda" else execute,
        )

    def _step_if_ready(self) -> None:
        if self._failure or not self._ready or self._ready != self._seated:
            return
        try:
            self._models.choose(self._ready)
            if len(self._models.lr) > 1:  # each of the others has seeded the generators for itself meanwhile
                seed_generators(self._models.device, seed_of("stack", self._steps, *sorted(self._epochs.items())))
            self._batch.execute(self._batch.images, self._batch.labels)
        except BaseException as error:
            self._failure = error
        self._ready.clear()
        self._steps += 1
        self._turn.notify_all()


@dataclass(frozen=True)
class _Batch:
    """Where the seats' batches of one size are put together, and what executes a step on them."""

    images: Tensor
    labels: Tensor
    execute: Callable[[Tensor, Tensor], None]


class Seat(TrainingStep):
    """The step of one model of a stack."""

    def __init__(self, stack: Stack, models: "_Models", number: int, model: CompactTransformer, spec: RunSpec) -> None:
        super().__init__(model, spec.settled_to(compile="off"), models.device, models.class_weights)
        self.spec = spec
        self._stack, self._models, self._number = stack, models, number
        self._loss_sum, self._correct, self._lr = models.loss_sum[number], models.correct[number], models.lr[number]
        self._is_seated = False

    def begin_epoch(self, epoch: int) -> None:
        super().begin_epoch(epoch)
        self._stack.begin_epoch(self._number, self.spec.seed, epoch)

    def _execute(self, images: Tensor, labels: Tensor) -> None:
        if not self._is_seated:  # not before: until now weights may have been loaded
            self._models.take(self._number, self.model, self.optimizer, self.averaged)
            self._is_seated = True
        self._stack.step(self._number, images, labels)


class _Models:
    """What a step computes, and the tensors that it reads and writes, `(models, ...)`."""

    def __init__(
        self, model: CompactTransformer, spec: RunSpec, device: torch.device, class_weights: Tensor | None, count: int
    ) -> None:
        self.device, self.class_weights = device, class_weights
        # A copy, which stays in training mode when the run that it comes from validates.
        self._model, self._spec = copy.deepcopy(model).train(), spec
        self._precision, self._normalise = autocast(spec, device), normalisation(spec, model)
        trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        # First those that arithmetic in bf16 takes as such, cast at once; autocast would cast each.
        first = [name for name in trained if spec.precision == "bf16" and _is_cast(model, name)]
        self._shapes = {
            name: trained[name].shape for name in [*first, *(name for name in trained if name not in first)]
        }
        sizes = [shape.numel() for shape in self._shapes.values()]
        self._cast, self._uncast = sizes[: len(first)], sizes[len(first) :]
        self._ranges = dict(zip(self._shapes, pairwise(accumulate(sizes, initial=0)), strict=True))
        self._decay = torch.zeros(sum(sizes), device=device)
        for name, (begin, end) in self._ranges.items():
            decays = spec.decayed == "all" or len(self._shapes[name]) > 1
            self._decay[begin:end] = spec.weight_decay if decays else 0.0

        self._weights, self._first, self._second = (torch.zeros(count, sum(sizes), device=device) for _ in range(3))
        self._averages = torch.zeros(count, sum(sizes), device=device) if spec.ema_decay else None
        self._steps = torch.zeros(count, len(sizes), device=device)  # for AdamW counts them for each tensor
        self.loss_sum, self.correct, self.lr, self._is_taking_part = (
            torch.zeros(count, device=device) for _ in range(4)
        )
        self._taking_part = set[int]()
        is_plain = spec.compile != "on"
        self._compiled_losses = torch.compile(self._losses, dynamic=False, disable=is_plain)
        self._compiled_adamw = torch.compile(self._adamw, dynamic=False, disable=is_plain)

    def take(self, number: int, model: nn.Module, optimizer: torch.optim.Optimizer, averaged: nn.Module | None) -> None:
        """Moves a model's weights and its optimizer's state to their row, of which theirs are parts from now on."""
        weights = dict(model.named_parameters())
        averages = dict(averaged.named_parameters()) if averaged else {}
        for place, (name, shape) in enumerate(self._shapes.items()):
            state = optimizer.state[weights[name]]

            def put(values: Tensor, row: Tensor, name: str = name, shape: torch.Size = shape) -> Tensor:
                begin, end = self._ranges[name]
                part = row[begin:end].view(shape)
                return part.copy_(values)

            with torch.no_grad():
                weights[name].data = put(weights[name], self._weights[number])
                if self._averages is not None:
                    averages[name].data = put(averages[name], self._averages[number])
                for key, rows in (("exp_avg", self._first), ("exp_avg_sq", self._second)):
                    state[key] = put(state.get(key, torch.zeros(shape)), rows[number])
                state["step"] = self._steps[number, place].copy_(state.get("step", torch.zeros(())))

    def choose(self, numbers: set[int]) -> None:
        """Whose weights the next steps change."""
        if numbers != self._taking_part:
            self._taking_part = set(numbers)
            self._is_taking_part.copy_(torch.tensor([float(row in numbers) for row in range(len(self.lr))]))

    def step(self, images: Tensor, labels: Tensor, is_compiled: bool) -> None:
        """On batches of all models, `(models, batch, ...)`, compiled if the spec wants it, too."""
        weights = self._weights.requires_grad_()
        total, losses, correct = (self._compiled_losses if is_compiled else self._losses)(weights, images, labels)
        (gradient,) = torch.autograd.grad(total, weights)
        with torch.no_grad():
            (self._compiled_adamw if is_compiled else self._adamw)(self._weights.detach(), gradient)
            self.loss_sum += self._is_taking_part * losses * labels.shape[1]
            self.correct += self._is_taking_part * correct

    def _losses(self, weights: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of the models' losses, these, and how many images each recognises."""
        with self._precision:
            prepared = self._normalise(images.flatten(0, 1)).unflatten(0, images.shape[:2])
            logits = stacked_logits(self._model, self._by_name(weights), prepared).float()
        smoothing = self._spec.label_smoothing
        losses = vmap(lambda logits, labels: training_loss(logits, labels, smoothing, self.class_weights))(
            logits, labels
        )
        classes = labels if labels.dim() == 2 else labels.argmax(dim=-1)
        return losses.sum(), losses.detach(), (logits.detach().argmax(dim=-1) == classes).sum(dim=1)

    def _by_name(self, weights: Tensor) -> dict[str, Tensor]:
        cast, uncast = weights.split([sum(self._cast), sum(self._uncast)], dim=1)
        parts = [*cast.to(torch.bfloat16).split(self._cast, dim=1), *uncast.split(self._uncast, dim=1)]
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def _adamw(self, weights: Tensor, gradient: Tensor) -> None:
        """Loshchilov and Hutter 2019, algorithm 2, as PyTorch has it, for the models that take part."""
        takes_part = self._is_taking_part[:, None] > 0
        steps, lr = self._steps[:, :1] + 1, self.lr[:, None]
        if self._spec.clip_grad:
            gradient = gradient * (self._spec.clip_grad / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1.0)
        first = self._first.lerp(gradient, 1 - BETAS[0])
        second = BETAS[1] * self._second + (1 - BETAS[1]) * gradient.square()
        root = second.sqrt() / (1 - BETAS[1] ** steps).sqrt() + EPSILON
        new = weights * (1 - lr * self._decay) - lr / (1 - BETAS[0] ** steps) * first / root
        if self._averages is not None:
            self._averages.copy_(
                torch.where(takes_part, self._averages.lerp(new, 1 - self._spec.ema_decay), self._averages)
            )
        self._first.copy_(torch.where(takes_part, first, self._first))
        self._second.copy_(torch.where(takes_part, second, self._second))
        weights.copy_(torch.where(takes_part, new, weights))
        self._steps.add_(takes_part)


def _is_cast(model: nn.Module, weight: str) -> bool:
    """Whether autocast turns a weight into bf16 wherever it is used; what a pooling does with its own is not known."""
    module, _, _ = weight.rpartition(".")
    is_linear = isinstance(model.get_submodule(module), nn.Linear | nn.Conv2d)
    return is_linear and not weight.startswith("classifier.attention_pool.")
