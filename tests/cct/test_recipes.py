import os
import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from cct.recipes import OWN, RECIPE_FIELDS, RECIPES
from cct.spec import RunSpec, SpecError

CHECKOUT = os.environ.get("CCTBOARD_REFERENCE", "")
"""A folder with SHI-Labs/Compact-Transformers."""

NAMES = {
    "batch_size": "batch_size",
    "lr": "lr",
    "weight_decay": "weight_decay",
    "warmup_epochs": "warmup_epochs",
    "warmup_lr": "warmup_lr",
    "min_lr": "min_lr",
    "cooldown_epochs": "cooldown_epochs",
    "label_smoothing": "smoothing",
    "mixup": "mixup",
    "cutmix": "cutmix",
    "mixup_switch_prob": "mixup_switch_prob",
    "mixup_off_epoch": "mixup_off_epoch",
    "random_erasing": "reprob",
}
"""A spec's fields by the reference's names."""


def test_a_recipe_fills_what_is_not_given_and_is_named_until_something_is_changed() -> None:
    assert RunSpec().recipe == "bare-200"
    assert RunSpec.given({"recipe": "bare-200"}) == RunSpec()
    cifar10 = RunSpec.given({"recipe": "paper-cifar-300", "model": "cct_7_3x1_32"})
    cifar100 = RunSpec.given({"recipe": "paper-cifar-300", "dataset": "cifar100", "model": "cct_7_3x1_32_c100"})
    assert (cifar10.recipe, cifar10.epochs, cifar10.lr, cifar10.mixup_off_epoch) == ("paper-cifar-300", 310, 55e-5, 175)
    assert (cifar100.recipe, cifar100.lr, cifar100.random_erasing) == ("paper-cifar-300", 6e-4, 0.25)
    shorter = RunSpec.given({"recipe": "paper-cifar-300", "epochs": 20, "cooldown_epochs": 1})
    assert (shorter.recipe, shorter.epochs, shorter.mixup) == (OWN, 20, 0.8)
    assert RunSpec.stored({"epochs": 7, "recipe": "bare-200"}).recipe == OWN
    assert RunSpec(**asdict(cifar10)) == cifar10, "what is stored is the values"
    with pytest.raises(SpecError, match="recipe: 'paper' is unknown; choose one of bare-200"):
        RunSpec.given({"recipe": "paper"})


def test_every_recipe_can_be_trained_and_sets_the_same_fields() -> None:
    known = {field.name for field in fields(RunSpec)}
    for name, recipe in RECIPES.items():
        assert set(recipe.values) == set(RECIPE_FIELDS) <= known
        for dataset in recipe.files or ["cifar10"]:
            here = {"dataset": dataset} if dataset in ("cifar10", "cifar100", "flowers102") else {}
            assert RunSpec.given({"recipe": name, **here}).recipe == name


@pytest.mark.skipif(not CHECKOUT, reason="CCTBOARD_REFERENCE names no checkout of SHI-Labs/Compact-Transformers")
def test_every_value_is_the_references() -> None:
    train = (Path(CHECKOUT) / "train.py").read_text()
    examples = (Path(CHECKOUT) / "examples/main.py").read_text()
    bare = RECIPES["bare-200"].values
    for option, field in (
        ("epochs", "epochs"),
        ("warmup", "warmup_epochs"),
        ("batch-size", "batch_size"),
        ("lr", "lr"),
        ("weight-decay", "weight_decay"),
        ("clip-grad-norm", "clip_grad"),
    ):
        [value] = re.findall(rf"'--{option}',[^)]*?default=([^,)\s]+)", examples)
        assert float(value) == bare[field], option
    assert re.search(r"'--clip-grad',[^)]*default=None", train)
    assert re.search(r"'--drop',[^)]*default=0\.0", train)
    read = 0
    for name, recipe in RECIPES.items():
        for dataset, file in recipe.files.items():
            text = (Path(CHECKOUT) / "configs" / file).read_text()
            theirs = dict(re.findall(r"^(\w+): *(\S+)$", text, re.M))
            [(low, high)] = re.findall(r"^scale:\n +- (\S+)\n +- (\S+)$", text, re.M)
            ours = recipe.values_on(dataset)
            for field, option in NAMES.items():
                assert ours[field] == float(theirs[option]), (name, dataset, field)
                read += 1
            assert ours["epochs"] == int(theirs["epochs"]) + int(theirs["cooldown_epochs"])
            assert (ours["scale"], float(high)) == (float(low), 1.0)
            assert (theirs["aa"], theirs["remode"], theirs["opt"]) == ("rand-m9-mstd0.5-inc1", "pixel", "adamw")
            assert (theirs["model_ema"], ours["ema_decay"]) == ("False", 0)
            assert (theirs["mixup_prob"], theirs["mixup_mode"]) == ("1.0", "batch")
            assert theirs.get("sched", "cosine") == "cosine"
            assert (ours["schedule"], ours["decayed"], ours["augmentation"]) == ("timm", "matrices", "randaugment")
    assert read == len(NAMES) * 10, "one per file below configs/pretrained and configs/finetuned"
