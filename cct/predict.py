"""What trained weights say of image files or texts: `python -m cct predict`, or `trained_model` in a notebook.

The weights are a checkpoint or an export of this package, which have a `Card`. Images and texts are prepared as those
that the run was validated on, so an image of its validation set gets the answer that it got there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from cct.card import Card
from cct.models import Model, TextTransformer, mixes_batch, model_of
from cct.named_datasets import DATASETS
from cct.named_models import TEXT_LENGTH
from cct.own_image import file_as_dataset
from cct.spec import SpecError
from cct.step import autocast, preparation
from cct.texts import encode
from cct.weights import UnusableWeights, read_weights

T = TypeVar("T", Path, str)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained model and what is needed to ask it; made by `trained_model`."""

    model: Model
    card: Card
    vocabulary: tuple[str, ...]
    """A text model's words in the order of its embedding; empty for images."""

    @property
    def reads_texts(self) -> bool:
        return isinstance(self.model, TextTransformer)

    @property
    def mixes_batch(self) -> bool:
        """Whether what is said of an image depends on those beside it."""
        return mixes_batch(self.model)

    def of_images(self, files: Sequence[Path]) -> Tensor:
        """The probability of each class for each file, `(files, classes)`. Raises `UnreadableImage`."""
        return self._probabilities(
            files, lambda some: torch.stack([file_as_dataset(file, self.card.spec, self.card.bits) for file in some])
        )

    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """The probability of each class for each text, `(texts, classes)`."""
        return self._probabilities(texts, lambda some: encode(some, self.vocabulary, TEXT_LENGTH))

    @torch.no_grad()
    def _probabilities(self, inputs: Sequence[T], prepared: Callable[[Sequence[T]], Tensor]) -> Tensor:
        spec, device = self.card.spec, torch.device("cpu")
        prepare, found = preparation(spec, self.model, device), []
        for start in range(0, len(inputs), spec.batch_size):
            batch = prepared(inputs[start : start + spec.batch_size])
            with autocast(spec, device):
                found.append(self.model(prepare(batch)).float().softmax(dim=1))
        return torch.cat(found)


def trained_model(path: Path) -> TrainedModel:
    """The model of a file of weights, on the CPU. Raises `UnusableWeights`."""
    weights = read_weights(path)
    card = weights.card
    if card is None:
        raise UnusableWeights(
            f"{path} does not say which model it is of: it is not from here, or of an earlier version; evaluate it on "
            "its dataset (--pretrained FILE --epochs 0 --out FOLDER), and use FOLDER/best.pt, which says it"
        )
    try:
        model = model_of(card.spec, len(card.class_names))
        model.load_state_dict(weights.tensors)
    except (SpecError, KeyError, RuntimeError) as error:
        named, why = f"{card.spec.model} with {card.spec.pooling}", " ".join(str(error).split())
        raise UnusableWeights(
            f"{path} does not fit {named} as it is now ({why}); use the version that trained it"
        ) from error
    if DATASETS[card.spec.dataset].has_texts and not weights.vocabulary:
        raise UnusableWeights(f"{path} does not say which words its vectors are of; export it from a newer checkpoint")
    return TrainedModel(model.eval(), card, weights.vocabulary)
