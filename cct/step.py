"""One training step: forward, backward and AdamW on a batch, by the arithmetic and the learning rate of a spec.

`cct/recording.py` executes the same on a GPU by a recording, `cct/trial.py` finds out which way is the quickest.
"""

import copy
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cct.augment import centre_crop
from cct.cpu import faster_layout
from cct.data import to_device
from cct.models import Model, TextTransformer
from cct.named_datasets import DATASETS
from cct.schedule import learning_rate
from cct.seeds import seed_generators, seed_of
from cct.spec import RunSpec

STEPS_AHEAD = 16
"""How many steps the host may have launched that a GPU has not finished: a run that is stopped must do them all."""


class Stopped(Exception):
    """Training ended because `should_stop` said so; the last finished epoch is in the checkpoint."""


class TrainingStep:
    """Forward, backward and AdamW on a batch, as a settled spec says; moves the model to the device.

    Losses and hits are summed on the device until `means` reads them, so that a GPU never waits for the host. With
    `compile: on` only whole batches are compiled, as a smaller one would need a compilation of its own.
    """

    def __init__(self, model: Model, spec: RunSpec, device: torch.device, class_weights: Tensor | None = None) -> None:
        """`class_weights` are factors of the loss by class."""
        self.model: Model = model.to(device).to(memory_format=torch.channels_last)
        self.spec = spec
        self.device = device
        self.optimizer = torch.optim.AdamW(
            _decaying(model, spec), lr=spec.lr, weight_decay=spec.weight_decay, fused=True
        )
        self.averaged: Model | None = copy.deepcopy(self.model).requires_grad_(False) if spec.ema_decay else None
        """A model with the moving average of the weights, if the spec wants it."""
        self._compiled_loss = torch.compile(self._loss, disable=spec.compile != "on")
        self._precision, self._prepare = autocast(spec, device), preparation(spec, model, device)
        self._class_weights = class_weights
        self._loss_sum, self._correct, self._lr = (torch.zeros((), device=device) for _ in range(3))
        self._count = 0
        self._launched = deque[torch.cuda.Event]()

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
        """One step on a batch that lies on the device, which may be what `BatchAugmentation` makes of one."""
        self._execute(images, labels)
        self._count += len(labels)
        if self.device.type == "cuda":
            self._keep_pace()

    def means(self) -> tuple[float, float]:
        """The mean loss in nats and the top-1 in percent over the epoch's images so far; waits for the device."""
        return self._loss_sum.item() / self._count, 100 * self._correct.item() / self._count

    def _execute(self, images: Tensor, labels: Tensor) -> None:
        forward = self._compiled_loss if len(labels) == self.spec.batch_size else self._loss
        loss, correct = forward(images, labels)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if self.spec.clip_grad:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.clip_grad)
        self.optimizer.step()
        if self.averaged:
            pairs = zip(self.averaged.parameters(), self.model.parameters(), strict=True)
            averages, weights = zip(*[(average, weight.detach()) for average, weight in pairs], strict=True)
            torch._foreach_lerp_(averages, weights, 1 - self.spec.ema_decay)
        self._loss_sum += loss.detach() * len(labels)
        self._correct += correct

    def _loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and how many of its images are recognised."""
        with self._precision:
            logits = self.model(self._prepare(images)).float()
        loss = training_loss(logits, labels, self.spec.label_smoothing, self._class_weights)
        classes = labels if labels.dim() == 1 else labels.argmax(dim=1)
        return loss, (logits.detach().argmax(dim=1) == classes).sum()

    @property
    def validated(self) -> Model:
        """The model that is validated and kept."""
        return self.averaged or self.model

    def _keep_pace(self) -> None:
        """Waits until the GPU is near, asleep, which leaves the core to other trainers."""
        event = torch.cuda.Event(blocking=True)
        self._launched.append(torch.cuda.current_stream(self.device).record_event(event))
        if len(self._launched) > STEPS_AHEAD:
            self._launched.popleft().synchronize()


def _decaying(model: Model, spec: RunSpec) -> list[dict[str, Any]]:
    """Groups of weights: those that decay, and with `decayed: matrices` the biases and normalisations, which do not."""
    weights = list(model.parameters())
    if spec.decayed == "all":
        return [{"params": weights}]
    vectors = [weight for weight in weights if weight.dim() <= 1]
    return [{"params": [weight for weight in weights if weight.dim() > 1]}, {"params": vectors, "weight_decay": 0.0}]


def training_loss(logits: Tensor, labels: Tensor, smoothing: float, class_weights: Tensor | None) -> Tensor:
    """The mean cross-entropy in nats with smoothed labels, in which images count as much as their class's factor.

    Without factors `labels` may be shares of classes, `(batch, classes)`, as of mixed images.

    Not by the weights of `cross_entropy`, which it gives to the smoothed part of the labels, too: a rare class with a
    large factor would be the better guess for images of all others.
    """
    if class_weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    factors = class_weights[labels]
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    return (factors * losses).sum() / factors.sum()


def autocast(spec: RunSpec, device: torch.device) -> torch.autocast:
    """The arithmetic of a settled spec."""
    return torch.autocast(device.type, torch.bfloat16, enabled=spec.precision == "bf16")


def preparation(spec: RunSpec, model: Model, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Makes of a batch what the model takes: `normalisation`, and on a CPU the layout that is faster there."""
    normalise = normalisation(spec, model)
    if device.type != "cpu":
        return normalise
    move = faster_layout(spec, model.config)
    return lambda images: move(normalise(images))


def normalisation(spec: RunSpec, model: Model) -> Callable[[Tensor], Tensor]:
    """Makes of uint8 images what the model takes: its size, zero mean and unit variance per channel, channels last.

    Larger images are cut to their middle, smaller ones are enlarged. Texts, and images that were normalised before, are
    taken as they are.
    """
    if isinstance(model, TextTransformer):
        return lambda words: words
    info, size = DATASETS[spec.dataset], model.config.image_size
    device = next(model.parameters()).device
    mean = to_device(255 * torch.tensor(info.mean)[:, None, None], device)
    std = to_device(255 * torch.tensor(info.std)[:, None, None], device)

    def normalise(images: Tensor) -> Tensor:
        if images.is_floating_point():
            return images
        pixels = (centre_crop(images, size).float() - mean) / std
        if pixels.shape[-1] != size:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        return pixels.contiguous(memory_format=torch.channels_last)

    return normalise
