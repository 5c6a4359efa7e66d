"""What a run may change of a named model's architecture. Standard library only, never torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cct.named_datasets import DATASETS
from cct.named_models import MODELS, ModelConfig, TextConfig

ATTRIBUTES = {
    "depth": "depth",
    "heads": "num_heads",
    "embed_dim": "embed_dim",
    "mlp_ratio": "mlp_ratio",
    "kernel_size": "kernel_size",
    "conv_layers": "conv_layers",
    "positional_embedding": "positional_embedding",
    "image_size": "image_size",
}
"""Fields of a spec, and the attribute of a model's configuration that each changes."""

ARCHITECTURE: dict[str, int | str] = dict.fromkeys(ATTRIBUTES, 0) | {"positional_embedding": "auto"}
"""These fields, and the value of each that stands for the named model's own."""


def own(model: str, name: str) -> Any:
    """What a named model has for one of these fields; None if it has no such thing, or is of another version."""
    return getattr(MODELS.get(model), ATTRIBUTES[name], None)


def changed(model: str, values: Mapping[str, Any]) -> ModelConfig | TextConfig:
    """The configuration of a named model with what the values of these fields change of it."""
    given = {ATTRIBUTES[name]: values[name] for name, usual in ARCHITECTURE.items() if values[name] != usual}
    return replace(MODELS[model], **given)


def obstacle(model: str, values: Mapping[str, Any], dataset: str) -> tuple[str, str] | None:
    """Why the changed model cannot be built or would not see its images whole: the field, and what to change."""
    given = [name for name, usual in ARCHITECTURE.items() if values[name] != usual]
    for name in given:
        if own(model, name) is None:
            return name, f"is for models of images; leave it out for {model}"
    if "conv_layers" in given and getattr(MODELS[model], "tokenizer", "") == "patch":
        return "conv_layers", f"are CCT's, {model} cuts images into patches; leave it out"
    config = changed(model, values)
    if config.tokenizer == "none":
        for name in ("kernel_size", "embed_dim"):
            if name in given:
                return name, f"cannot be changed for {model}, whose tokens are the words' vectors; leave it out"
    if config.embed_dim % config.num_heads:
        name = "embed_dim" if "embed_dim" in given else "heads"
        return name, f"{config.embed_dim} channels cannot be shared out to {config.num_heads} heads; give a multiple"
    if config.tokenizer == "patch":
        length, unit = (
            (config.text_length, "words") if isinstance(config, TextConfig) else (config.image_size, "pixels")
        )
        if length % config.kernel_size:
            name = "kernel_size" if "kernel_size" in given else "image_size"
            return name, f"patches of {config.kernel_size} {unit} do not cover {length}; give a divisor or a multiple"
    size = DATASETS[dataset].image_size
    if isinstance(config, ModelConfig) and "image_size" in given and size and config.image_size < size:
        return "image_size", f"is below the {size} pixels of {dataset}, whose images would be cut; give at least {size}"
    return None
