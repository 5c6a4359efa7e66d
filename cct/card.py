"""What a file of weights says of itself, so that it can be used without the run that made it."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from cct.named_datasets import DATASETS
from cct.named_models import ModelConfig
from cct.spec import RunSpec

CARD = "card"
"""The entry of a checkpoint, or in safetensors the metadata, that has a card as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Which model the weights are of, how its inputs are made, and what its outputs are called."""

    spec: RunSpec
    """The run's, settled to the arithmetic that it was trained by."""
    class_names: tuple[str, ...]
    """In the order of the model's outputs."""
    bits: int = 0
    """By which images of 16 bits are scaled, see `cct.pixels`; 0 where the training images have 8."""

    @property
    def told(self) -> str:
        """As JSON, which names what other programs need beside the whole spec."""
        told: dict[str, Any] = {"model": self.spec.model, "pooling": self.spec.pooling, "classes": self.class_names}
        if isinstance(self.spec.config, ModelConfig):
            info = DATASETS[self.spec.dataset]
            told |= {"image_size": self.spec.config.image_size, "mean": info.mean, "std": info.std, "bits": self.bits}
        return json.dumps(told | {"spec": asdict(self.spec)})

    @classmethod
    def read(cls, told: object) -> "Card | None":
        """The card in a file's entry; None if that is missing, or something else under the same name."""
        try:
            content = json.loads(told) if isinstance(told, str) else {}
            return cls(
                spec=RunSpec.stored(content["spec"]),
                class_names=tuple(map(str, content["classes"])),
                bits=int(content.get("bits", 0)),
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            return None
