"""The reference's recipes by name. Standard library only, never torch.

Values are those of SHI-Labs/Compact-Transformers: of `examples/main.py`, and of the files below `configs/` with the
defaults of `train.py`. There, epochs of cooldown come on top of `epochs`; here they are a part of them. Text models
have no recipe of their own, as the repository does not tell how those of its table were trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OWN = "own"
"""Stands for values that are nobody's recipe."""

DEFAULT_DATASET = "cifar10"

Values = dict[str, Any]

_BARE: Values = {
    "epochs": 200,
    "batch_size": 128,
    "lr": 5e-4,
    "weight_decay": 0.03,
    "decayed": "all",
    "schedule": "bare",
    "warmup_epochs": 5,
    "warmup_lr": 0.0,
    "min_lr": 0.0,
    "cooldown_epochs": 0,
    "clip_grad": 0.0,
    "ema_decay": 0.0,
    "label_smoothing": 0.1,
    "dropout": 0.0,
    "attention_dropout": 0.1,
    "stochastic_depth": 0.1,
    "augmentation": "auto",
    "scale": 1.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "mixup_switch_prob": 0.5,
    "mixup_off_epoch": 0,
    "random_erasing": 0.0,
}
_TIMM: Values = _BARE | {
    "decayed": "matrices",
    "schedule": "timm",
    "warmup_epochs": 10,
    "warmup_lr": 1e-6,
    "min_lr": 1e-5,
    "cooldown_epochs": 10,
    "augmentation": "randaugment",
    "scale": 0.8,
    "mixup": 0.8,
    "cutmix": 1.0,
    "random_erasing": 0.25,
}
_CIFAR: Values = _TIMM | {"batch_size": 128, "lr": 5e-4, "weight_decay": 0.05, "warmup_lr": 1e-5}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named set of values of a spec's fields, the same fields for all recipes."""

    title: str
    values: Values
    on: Mapping[str, Values] = field(default_factory=dict)
    """Values that are others on some datasets."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Below the reference's `configs/`, what the values are read from, by dataset."""

    def values_on(self, dataset: str) -> dict[str, Any]:
        return {**self.values, **self.on.get(dataset, {})}


RECIPES: dict[str, Recipe] = {
    "bare-200": Recipe("The reference's short script, 200 epochs", _BARE),
    "paper-cifar-300": Recipe(
        "The paper's for CIFAR, 300 epochs and 10 of cooldown",
        _CIFAR | {"epochs": 310, "lr": 55e-5, "weight_decay": 0.06, "random_erasing": 0.0, "mixup_off_epoch": 175},
        {"cifar100": {"lr": 6e-4, "warmup_lr": 1e-6, "random_erasing": 0.25, "mixup_off_epoch": 0}},
        {
            "cifar10": "pretrained/cct_7-3x1_cifar10_300epochs.yml",
            "cifar100": "pretrained/cct_7-3x1_cifar100_300epochs.yml",
        },
    ),
    "paper-cifar-1500": Recipe(
        "The paper's for CIFAR, 1,500 epochs and 10 of cooldown",
        _CIFAR | {"epochs": 1510},
        {"cifar100": {"lr": 7e-4, "warmup_lr": 1e-6}},
        {
            "cifar10": "pretrained/cct_7-3x1_cifar10_1500epochs.yml",
            "cifar100": "pretrained/cct_7-3x1_cifar100_1500epochs.yml",
        },
    ),
    "paper-cifar-5000": Recipe(
        "The paper's for CIFAR, 5,000 epochs and 10 of cooldown",
        _CIFAR | {"epochs": 5010},
        {"cifar100": {"warmup_lr": 1e-6}},
        {
            "cifar10": "pretrained/cct_7-3x1_cifar10_5000epochs.yml",
            "cifar100": "pretrained/cct_7-3x1_cifar100_5000epochs.yml",
        },
    ),
    "paper-flowers-300": Recipe(
        "The paper's for Flowers-102, 300 epochs and 10 of cooldown",
        _TIMM | {"epochs": 310, "batch_size": 96, "weight_decay": 0.06},
        files={"flowers102": "pretrained/cct_7-7x2_flowers102.yml"},
    ),
    "paper-imagenet-300": Recipe(
        "The paper's for ImageNet, 300 epochs and 10 of cooldown",
        _TIMM | {"epochs": 310, "weight_decay": 0.05, "scale": 0.08},
        files={"imagenet": "pretrained/cct_14-7x2_imagenet.yml"},
    ),
    "paper-finetune-flowers": Recipe(
        "The paper's for fine-tuning on Flowers-102, 300 epochs and 10 of cooldown",
        _TIMM | {"epochs": 310, "batch_size": 20, "lr": 5e-5, "min_lr": 1e-8, "weight_decay": 0.05},
        files={"flowers102": "finetuned/cct_14-7x2_flowers102.yml"},
    ),
    "paper-finetune-imagenet": Recipe(
        "The paper's for fine-tuning on ImageNet with 384 pixels, 30 epochs and 10 of cooldown",
        _TIMM
        | {
            "epochs": 40,
            "batch_size": 96,
            "lr": 1e-5,
            "min_lr": 0.0,
            "weight_decay": 0.0,
            "warmup_epochs": 0,
            "warmup_lr": 0.0,
            "scale": 0.08,
        },
        files={"imagenet": "finetuned/cct_14-7x2_imagenet384.yml"},
    ),
}

RECIPE_FIELDS = tuple(_BARE)
"""Fields of a spec that a recipe sets."""


def filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of a spec, with the values of the recipe that it names where it gives none itself."""
    recipe = RECIPES.get(given.get("recipe", OWN))
    return {**(recipe.values_on(given.get("dataset", DEFAULT_DATASET)) if recipe else {}), **given}


def recipe_of(values: Mapping[str, Any], augmentation: str) -> str:
    """The recipe of a spec's values, or `OWN`; `augmentation` is what `auto` stands for on its dataset."""
    for name, recipe in RECIPES.items():
        wanted = recipe.values_on(values["dataset"])
        if wanted["augmentation"] == "auto":
            wanted["augmentation"] = augmentation
        if all(values[key] == value for key, value in wanted.items()):
            return name
    return OWN
