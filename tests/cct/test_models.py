"""Parity with the reference implementation: keys, shapes, parameter counts and logits are those of `golden.json`.

Every key that is not frozen is filled in closed form: 0.05 * cos(0.37 * i + crc32(key) % 1000), plus 1 for norms.
"""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from torch import Tensor

import cct
from cct.models import Model, create_model, mixes_batch, parameter_count
from cct.named_models import IMAGE_MODELS, MODELS
from cct.pooling import POOLINGS
from cct.spec import SpecError

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
POOLING_NAMES = {
    "seqpool": "seqpool",
    "seqpool with softmax over tokens of the values (dim=1)": "seqpool_softmax_tokens",
    "seqpool with softmax over the batch of the values (dim=0)": "seqpool_softmax_batch",
    "seqpool with softmax over channels of the values (dim=2)": "seqpool_softmax_channels",
    "mean": "mean",
    "max": "max",
}


def fill(model: Model, frozen: list[str]) -> None:
    weights = model.state_dict()
    for key, value in weights.items():
        if key not in frozen:
            i = torch.arange(value.numel(), dtype=torch.float64)
            filled = 0.05 * torch.cos(0.37 * i + crc32(key.encode()) % 1000)
            if "norm" in key and key.endswith(".weight"):
                filled += 1
            weights[key] = filled.reshape(value.shape).float()
    model.load_state_dict(weights, strict=True)


def images(batch: int, size: int) -> Tensor:
    j = torch.arange(batch * 3 * size * size, dtype=torch.float64)
    return torch.sin(0.01 * j).reshape(batch, 3, size, size).float()


@pytest.mark.parametrize("name", GOLDEN["models"])
def test_a_model_equals_the_reference(name: str) -> None:
    golden = GOLDEN["models"][name]
    model = create_model(name, num_classes=golden["num_classes"], image_size=golden["img_size"]).eval()
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == golden["state_dict"]
    assert list(model.state_dict()) == list(golden["state_dict"])
    assert parameter_count(model) == golden["params"]
    fill(model, golden["frozen"])
    with torch.no_grad():
        logits = model(images(2, golden["img_size"]))
    torch.testing.assert_close(logits, torch.tensor(golden["logits"]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("golden_name", GOLDEN["poolings_cct_2_3x2_32_batch4"])
def test_a_pooling_equals_the_reference(golden_name: str) -> None:
    model = create_model("cct_2_3x2_32", pooling=POOLING_NAMES[golden_name]).eval()
    fill(model, [])
    with torch.no_grad():
        logits = model(images(4, 32))
    expected = torch.tensor(GOLDEN["poolings_cct_2_3x2_32_batch4"][golden_name])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name, config in IMAGE_MODELS.items() if config.image_size == 32])
def test_every_small_model_classifies(name: str) -> None:
    model = create_model(name, num_classes=7, seed=0)
    assert model(images(2, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", [name for name, config in IMAGE_MODELS.items() if config.image_size > 32])
def test_every_large_model_is_built(name: str) -> None:
    config = IMAGE_MODELS[name]
    model = create_model(name)
    assert model.classifier.fc.out_features == config.num_classes
    assert model.classifier.positional_emb is not None
    assert model.classifier.positional_emb.shape[1] == (config.image_size // 16) ** 2


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_learns_and_only_one_mixes_the_batch(pooling: str) -> None:
    model = create_model("cct_2_3x2_32", pooling=pooling, seed=0)
    assert mixes_batch(model) == (pooling == "seqpool_softmax_batch")
    model(images(2, 32)).logsumexp(dim=1).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_the_catalog_names_what_is_registered() -> None:
    assert cct.list_poolings() == list(POOLINGS)
    assert cct.list_models() == list(MODELS)


def test_models_of_a_seed_share_their_initial_weights() -> None:
    baseline = create_model("cct_2_3x2_32", seed=5).state_dict()
    for pooling in POOLINGS:
        weights = create_model("cct_2_3x2_32", pooling=pooling, seed=5).state_dict()
        shared = [key for key in weights if key in baseline and weights[key].shape == baseline[key].shape]
        assert len(shared) >= 28
        assert all(torch.equal(weights[key], baseline[key]) for key in shared)
    other = create_model("cct_2_3x2_32", seed=6).state_dict()
    assert not torch.equal(other["classifier.fc.weight"], baseline["classifier.fc.weight"])


def test_positional_embedding_can_be_chosen() -> None:
    none = create_model("cct_2_3x2_32", positional_embedding="none")
    assert none.classifier.positional_emb is None
    sine = create_model("cct_2_3x2_32", positional_embedding="sine").classifier.positional_emb
    assert sine is not None
    assert not sine.requires_grad


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SpecError, match="cct_2_3x2_32"):
        create_model("resnet")
    with pytest.raises(SpecError, match="seqpool_softmax_tokens"):
        create_model("cct_2_3x2_32", pooling="median")
    with pytest.raises(
        SpecError,
        match=r"positional_embedding: 'sin' is unknown; did you mean sine\? choose one of learnable, sine, none",
    ):
        create_model("cct_2_3x2_32", positional_embedding="sin")  # type: ignore[arg-type]


def test_stochastic_depth_drops_images_and_keeps_the_mean() -> None:
    from cct.encoder import StochasticDepth

    torch.manual_seed(0)
    branch = torch.ones(20_000, 1, 1)
    dropped = StochasticDepth(0.25)(branch)
    assert dropped.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(StochasticDepth(0.25).eval()(branch), branch)


AVX512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16] if AVX512 else [torch.float32])
def test_images_in_the_layout_of_onednn_give_the_same_logits_and_gradients(dtype: torch.dtype) -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits, gradients = [], []
    for given in (images, images.to_mkldnn(dtype)):
        model = create_model("cct_2_3x2_32", seed=0).eval()
        with torch.autocast("cpu", dtype, enabled=dtype is torch.bfloat16):
            logits.append(model(given).float())
        torch.nn.functional.cross_entropy(logits[-1], torch.arange(4)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    tolerance = 0.02 if dtype is torch.bfloat16 else 1e-5
    assert (logits[0] - logits[1]).norm() <= tolerance * logits[0].norm()
    assert (gradients[0] - gradients[1]).norm() <= tolerance * gradients[0].norm()
    assert (gradients[0] != 0).sum() > 200_000
