"""What a run changes of a named model's architecture."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from cct.architecture import ARCHITECTURE, own
from cct.checkpoint import LAST, read_snapshot
from cct.events import EpochRecord
from cct.named_models import MODELS, TEXT_MODELS, ModelConfig
from cct.own_image import look_with_checkpoints
from cct.spec import RunSpec, SpecError
from cct.training import train
from tests.cct.test_cost import check_cost
from tests.cct.told import first, only


def test_what_the_model_has_anyway_counts_as_left_out() -> None:
    usual = {name: own("cct_2_3x2_32", name) for name in ARCHITECTURE}
    assert RunSpec(**usual) == RunSpec()
    spec = RunSpec(depth=4, heads=2, positional_embedding="none")
    assert (spec.depth, spec.heads, spec.positional_embedding) == (4, 0, "none")
    assert [spec.value_of(name) for name in ("depth", "heads", "embed_dim", "lr")] == [4, 2, 128, 5e-4]
    assert spec.architecture == "cct_2_3x2_32 (depth 4, positional embedding none)"
    assert spec.recipe == RunSpec().recipe, "a recipe is of no model"
    assert RunSpec(depth=1).with_epochs(3).config.depth == 1


def test_random_changes_cost_what_is_told_or_are_refused_by_name() -> None:
    draw = random.Random(0)
    values: dict[str, list[Any]] = {
        "depth": [1, 3, 9],
        "heads": [1, 3, 4, 8],
        "embed_dim": [24, 96, 200],
        "mlp_ratio": [1, 3],
        "kernel_size": [1, 2, 5, 7, 8, 16],
        "conv_layers": [1, 2, 3],
        "positional_embedding": ["learnable", "sine", "none"],
        "image_size": [32, 48, 100],
    }
    built, refused = 0, list[tuple[str, list[str]]]()
    for _ in range(60):
        names = draw.sample([*values], draw.randint(1, 5))
        changes = {name: draw.choice(values[name]) for name in names}
        model = draw.choice([*MODELS])
        dataset = "ag_news" if model in TEXT_MODELS else "cifar10"
        try:
            spec = RunSpec(model=model, dataset=dataset, **changes)
        except SpecError as error:
            refused.append((error.field, names))
        else:
            check_cost(spec.config)
            built += 1
    assert min(built, len(refused)) > 10
    assert not [one for one in refused if one[0] not in one[1]]


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"embed_dim": 129}, "embed_dim", "129 channels cannot be shared out to 2 heads"),
        ({"heads": 3}, "heads", "128 channels cannot be shared out to 3 heads"),
        ({"heads": 3, "embed_dim": 100}, "embed_dim", "100 channels cannot be shared out to 3 heads"),
        ({"model": "vit_2_4_32", "conv_layers": 2}, "conv_layers", "vit_2_4_32 cuts images into patches"),
        ({"model": "vit_2_4_32", "kernel_size": 5}, "kernel_size", "patches of 5 pixels do not cover 32"),
        ({"model": "cvt_2_4_32", "image_size": 35}, "image_size", "patches of 4 pixels do not cover 35"),
        ({"image_size": 16}, "image_size", "is below the 32 pixels of cifar10, whose images would be cut"),
        ({"model": "text_cct_2", "dataset": "ag_news", "image_size": 64}, "image_size", "is for models of images"),
        ({"model": "text_vit_2", "dataset": "ag_news", "kernel_size": 5}, "kernel_size", "patches of 5 words"),
        ({"model": "text_transformer_2", "dataset": "ag_news", "embed_dim": 64}, "embed_dim", "tokens are the words"),
        ({"depth": 65}, "depth", "65 is out of range"),
        ({"positional_embedding": "sin"}, "positional_embedding", "'sin' is unknown"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        RunSpec(**changes)
    assert refused.value.field == field
    assert message in refused.value.message


def test_a_changed_model_is_trained_resumed_and_shown_images(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"depth": 1, "heads": 4, "embed_dim": 16, "kernel_size": 5, "image_size": 40}
    spec = RunSpec(dataset="digits", epochs=2, warmup_epochs=0, augmentation="none", val_share=0.9, **changes)
    whole = only(EpochRecord, train(spec, data_dir=tmp_path))
    folder = tmp_path / "run"
    first(EpochRecord, train(spec, data_dir=tmp_path, checkpoint_dir=folder))
    resumed = only(EpochRecord, train(spec, data_dir=tmp_path, checkpoint_dir=folder))
    assert [record.val_loss for record in resumed] == [record.val_loss for record in whole]
    config = spec.config
    assert isinstance(config, ModelConfig)
    assert (config.depth, config.num_heads, config.embed_dim, config.image_size) == (1, 4, 16, 40)
    weights, _ = read_snapshot(folder / LAST)
    assert weights["classifier.blocks.0.linear1.weight"].shape == (16, 16)
    looks = look_with_checkpoints(spec, folder, torch.zeros(3, 32, 32, dtype=torch.uint8))
    assert looks["last"].epoch == 2
