"""What a model makes of images or texts that it was not trained on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.data import Split, batches, equally_large, to_device
from cct.models import Model
from cct.spec import RunSpec
from cct.step import Stopped, autocast, preparation

CALIBRATION_BINS = 15
VALIDATED_ON_GPU = 2048
"""Images of 32 pixels that a GPU validates at once; but at least a batch, and a batch if the pooling mixes it."""


class Validation(NamedTuple):
    """What a model makes of the test split."""

    loss: float
    """The mean in nats, with labels smoothed as in training (so does the reference)."""
    top1: float
    top5: float
    """The share of images, in percent, whose class is the likeliest, or among the five likeliest."""
    pooling_entropy: float | None
    """The mean over images (and heads) in nats; None for a pooling without weights."""
    confusion: Tensor
    """Counts of images, int64 on the host: `(true class, predicted class)`."""
    nll: float
    """The mean in nats, without smoothed labels."""
    ece: float
    """The expected calibration error, from 0 to 1."""
    predicted: Tensor
    confidence: Tensor
    """The likeliest class by image, int32, and its probability, float32; on the host."""

    @property
    def balanced(self) -> float:
        """The mean over the classes that occur of the share of their images that is recognised, in percent."""
        counts = self.confusion.sum(dim=1)
        return 100 * (self.confusion.diag()[counts > 0] / counts[counts > 0]).double().mean().item()


@torch.no_grad()
def validate(
    model: Model, split: Split, spec: RunSpec, batch_size: int, should_stop: Callable[[], bool] = lambda: False
) -> Validation:
    """Validates a model by a settled spec, so many images at a time. Raises `Stopped`."""
    model.eval()
    device, count = split.labels.device, len(split.labels)
    precision, prepare = autocast(spec, device), preparation(spec, model, device)
    sums = torch.zeros(4, device=device)
    classes, predictions, confidences = model.config.num_classes, list[Tensor](), list[Tensor]()
    with _pooling_entropies(model) as entropies:
        for batch, target in batches(split.images, split.labels, batch_size):
            if should_stop():
                raise Stopped
            with precision:
                logits = model(prepare(to_device(batch, device))).float()
            loss = F.cross_entropy(logits, target, label_smoothing=spec.label_smoothing)
            guesses = logits.topk(min(5, classes)).indices
            predictions.append(guesses[:, 0])
            hits = guesses == target[:, None]
            likelihoods = logits.log_softmax(dim=1)
            confidences.append(likelihoods.amax(dim=1).exp())
            nll = F.nll_loss(likelihoods, target, reduction="sum")
            sums += torch.stack([loss * len(target), hits[:, 0].sum(), hits.sum(), nll])
    loss_sum, top1, top5, nll_sum = sums.tolist()
    entropy = torch.cat(entropies).mean().item() if entropies else None
    # Once for all batches: bincount makes the host wait for the device.
    predicted = torch.cat(predictions)
    pairs = torch.bincount(split.labels * classes + predicted, minlength=classes**2)
    confusion = pairs.reshape(classes, classes).cpu()
    confidence = torch.cat(confidences)
    ece = calibration_error(confidence, predicted == split.labels)
    top1, top5 = 100 * top1 / count, 100 * top5 / count
    means = loss_sum / count, top1, top5, entropy, confusion, nll_sum / count, ece
    return Validation(*means, predicted.int().cpu(), confidence.cpu())


def calibration_error(confidences: Tensor, correct: Tensor) -> float:
    """The expected calibration error, from 0 to 1, of probabilities `(images,)` and whether each guess was right.

    A probability on the border of two bins belongs to the upper one, so that 1 is a bin of its own beside the 15: this
    is how torchmetrics has it.
    """
    borders = torch.linspace(0, 1, CALIBRATION_BINS + 1, device=confidences.device)
    bins = torch.bucketize(confidences, borders, right=True) - 1
    # Not by index_add, whose order of additions on a GPU differs from run to run.
    within = bins == torch.arange(len(borders), device=bins.device)[:, None]
    gaps = (within * (correct.double() - confidences.double())).sum(dim=1)
    return gaps.abs().sum().item() / len(confidences)


@contextmanager
def _pooling_entropies(model: Model) -> Iterator[list[Tensor]]:
    """Collects the entropy of the pooling weights, in nats, of each image that passes; nothing if there are none."""
    pooling, entropies = model.classifier.attention_pool, list[Tensor]()
    weights: Callable[..., Tensor] | None = getattr(pooling, "weights", None)
    if weights is None:
        yield entropies
        return

    def collect(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # The scores are computed a second time, which is one number per token: far less than another pass.
        per_row = torch.special.entr(weights(*inputs).float()).sum(dim=-1)
        entropies.append(per_row.reshape(len(per_row), -1).mean(dim=1))

    hook = pooling.register_forward_pre_hook(collect)
    try:
        yield entropies
    finally:
        hook.remove()


def validation_size(split: Split, spec: RunSpec) -> int:
    """How many images are validated at once, if that does not change the result."""
    if split.labels.device.type == "cpu":
        return spec.batch_size
    return max(spec.batch_size, min(VALIDATED_ON_GPU, equally_large(VALIDATED_ON_GPU, split)))
