"""Compact Convolutional Transformers and their pooling variants; useful without the board.

Importing this package does not import torch, names are loaded when they are first used; nor does it, or training,
change anything of the process.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cct.catalog import poolings
from cct.events import Confusion, EpochRecord, Facts, FinalTest, Look, Progress
from cct.named_datasets import DATASETS
from cct.named_models import MODELS, ModelConfig
from cct.spec import RunSpec, SpecError

if TYPE_CHECKING:
    from cct.models import build, create_model, mixes_batch
    from cct.training import train

__all__ = [
    "DATASETS",
    "MODELS",
    "Confusion",
    "EpochRecord",
    "Facts",
    "FinalTest",
    "Look",
    "ModelConfig",
    "Progress",
    "RunSpec",
    "SpecError",
    "build",
    "create_model",
    "list_models",
    "list_poolings",
    "mixes_batch",
    "train",
]

_LAZY = {"build": "cct.models", "create_model": "cct.models", "mixes_batch": "cct.models", "train": "cct.training"}


def list_models() -> list[str]:
    """The names of all models, for `create_model`."""
    return list(MODELS)


def list_poolings() -> list[str]:
    """The names of all poolings, for `create_model(..., pooling=...)`, the baseline first."""
    return list(poolings())


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        globals()[name] = getattr(import_module(_LAZY[name]), name)
        return globals()[name]
    raise AttributeError(f"module 'cct' has no attribute {name!r}")
