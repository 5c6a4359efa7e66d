import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cct.catalog import poolings
from cct.models import initialise
from cct.pooling import POOLINGS, GeneralisedMean, LogSumExp, SeqPoolMultiHead, SeqPoolSoftmaxTokens, SeqPoolTemperature

CHANNELS, TOKENS = 12, 9
WEIGHTED = [name for name, kind in POOLINGS.items() if hasattr(kind, "weights")]


def make(name: str, channels: int = CHANNELS) -> Any:
    """A pooling whose weights are far from their initial values."""
    pooling = POOLINGS[name](channels)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in pooling.parameters():
            weight.add_(torch.randn(weight.shape, generator=random))
    return pooling


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(5, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(1))


def test_what_averages_tokens_has_weights() -> None:
    assert [name for name in POOLINGS if name.startswith("seqpool")] == WEIGHTED


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_of_an_image_sum_to_one(name: str, tokens: Tensor) -> None:
    weights = make(name).weights(tokens)
    assert weights.shape in [(5, TOKENS), (5, SeqPoolMultiHead.heads, TOKENS)]
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    assert weights.std() > 0.01


@pytest.mark.parametrize("name", POOLINGS)
def test_only_one_pooling_looks_at_the_rest_of_the_batch(name: str, tokens: Tensor) -> None:
    pooling = make(name)
    alone = torch.cat([pooling(image) for image in tokens.split(1)])
    assert torch.allclose(pooling(tokens), alone, atol=1e-6) == (name != "seqpool_softmax_batch")


@pytest.mark.parametrize("name", POOLINGS)
def test_gradients_reach_every_weight(name: str, tokens: Tensor) -> None:
    pooling = make(name)
    pooling(tokens.requires_grad_()).square().sum().backward()
    assert tokens.grad is not None
    for key, weight in pooling.named_parameters():
        assert weight.grad is not None
        if key != "bias":  # the same number is added to every score, which a softmax does not see
            assert (weight.grad.abs() > 1e-5).all(), key


@pytest.mark.parametrize("name", POOLINGS)
def test_initial_weights_depend_on_the_seed_and_the_name_alone(name: str) -> None:
    def initial(place: str, seed: int, before: int) -> dict[str, Tensor]:
        torch.manual_seed(before)
        model = nn.ModuleDict({place: POOLINGS[name](CHANNELS)})
        initialise(model, seed)
        return {key.removeprefix(f"{place}."): weight for key, weight in model.state_dict().items()}

    first, again, other_seed, other_name = (
        initial(*how) for how in [("pool", 3, 0), ("pool", 3, 1), ("pool", 4, 0), ("loop", 3, 0)]
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    if "weight" in first:
        assert not torch.equal(first["weight"], other_seed["weight"])
        assert not torch.equal(first["weight"], other_name["weight"])


@pytest.mark.parametrize("channels", [128, 384])
@pytest.mark.parametrize("name", POOLINGS)
def test_the_catalog_counts_a_poolings_weights(name: str, channels: int) -> None:
    info, kind = poolings()[name], POOLINGS[name]
    assert info.uses_class_token == getattr(kind, "uses_class_token", False)
    own = sum(weight.numel() for weight in kind(channels).parameters())
    assert info.parameters(channels) == own + info.uses_class_token * channels


@pytest.mark.parametrize("name", POOLINGS)
def test_the_catalog_explains_a_pooling(name: str) -> None:
    assert poolings()[name].summary.endswith(".")
    assert poolings()[name].formula == POOLINGS[name].formula  # type: ignore[attr-defined]


def test_the_generalised_mean_lies_between_mean_and_maximum(tokens: Tensor) -> None:
    pooling, positive = GeneralisedMean(CHANNELS), nn.functional.softplus(tokens)
    torch.testing.assert_close(pooling(tokens), positive.pow(3).mean(dim=1).pow(1 / 3))
    for exponent, expected, tolerance in [(1.0, positive.mean(dim=1), 1e-5), (1e4, positive.amax(dim=1), 2e-3)]:
        nn.init.constant_(pooling.log_exponent, math.log(exponent))
        torch.testing.assert_close(pooling(tokens), expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("name", ["gem", "logsumexp"])
@pytest.mark.parametrize("offset", [-200.0, 200.0])
def test_extreme_tokens_give_finite_values_and_gradients(name: str, offset: float, tokens: Tensor) -> None:
    pooling = POOLINGS[name](CHANNELS)
    extreme = (tokens + offset).requires_grad_()
    pooled = pooling(extreme)
    pooled.sum().backward()
    assert pooled.isfinite().all()
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()


def test_log_sum_exp_lies_between_mean_and_maximum(tokens: Tensor) -> None:
    pooled = LogSumExp(CHANNELS)(tokens)
    torch.testing.assert_close(pooled, tokens.exp().mean(dim=1).log())
    assert ((tokens.mean(dim=1) < pooled) & (pooled < tokens.amax(dim=1))).all()


def test_rescaling_makes_outputs_as_large_as_one_whatever_the_number_of_tokens(tokens: Tensor) -> None:
    rescaled = make("seqpool_softmax_tokens_rescaled")
    historic = SeqPoolSoftmaxTokens(CHANNELS)
    historic.load_state_dict(rescaled.state_dict())
    torch.testing.assert_close(rescaled(tokens), TOKENS * historic(tokens))
    for count in (16, 1024):
        many = torch.randn(50, count, CHANNELS, generator=torch.Generator().manual_seed(2))
        uniform: Any = POOLINGS["seqpool_softmax_tokens_rescaled"](CHANNELS)
        nn.init.zeros_(uniform.weight)
        torch.testing.assert_close(uniform(many), torch.ones(50, CHANNELS))


def test_temperature_decides_between_one_token_and_all(tokens: Tensor) -> None:
    pooling = SeqPoolTemperature(CHANNELS)
    baseline = POOLINGS["seqpool"](CHANNELS)
    baseline.load_state_dict({key: weight for key, weight in pooling.state_dict().items() if key != "log_temperature"})
    torch.testing.assert_close(pooling(tokens), baseline(tokens))
    nn.init.constant_(pooling.log_temperature, math.log(1e6))
    torch.testing.assert_close(pooling.weights(tokens), torch.full((5, TOKENS), 1 / TOKENS))
    nn.init.constant_(pooling.log_temperature, math.log(1e-6))
    assert (pooling.weights(tokens).amax(dim=1) > 0.999).all()


def test_a_head_sees_its_own_channels_only(tokens: Tensor) -> None:
    pooling = make("seqpool_multihead")
    changed = tokens.clone()
    changed[..., 3:6] += torch.randn(5, TOKENS, 3)
    same = torch.isclose(pooling(tokens), pooling(changed)).all(dim=0)
    assert same.tolist() == [True] * 3 + [False] * 3 + [True] * 6
    for head, weights in enumerate(pooling.weights(tokens).unbind(dim=1)):
        part = slice(3 * head, 3 * head + 3)
        torch.testing.assert_close(pooling(tokens)[:, part], (weights[..., None] * tokens[..., part]).sum(dim=1))
