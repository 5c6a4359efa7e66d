"""The logits of several models of images at once, in training: the same arithmetic as theirs, for few large operations.

The models have one architecture and weights of their own, which get a first dimension that counts the models, as do
images and tokens. Convolutions with small kernels are matrix products over the pixels under them: as one convolution
with a group for each model they would take longer than one model after the other.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from cct.encoder import Block
from cct.models import CompactTransformer
from cct.named_models import ModelConfig

LARGEST_PRODUCT = 3
"""The side of the largest kernel that becomes a matrix product, whose copies of a pixel are as many as its cells."""

Weights = Mapping[str, Tensor]
"""The models' weights, by the names in one of them: `(models, ...)`."""


def can_be_stacked(model: nn.Module) -> bool:
    """Whether `stacked_logits` knows how: not for texts, nor where a pooling has a state that is no weight."""
    return isinstance(model, CompactTransformer) and next(model.buffers(), None) is None


def stacked_logits(model: CompactTransformer, weights: Weights, images: Tensor) -> Tensor:
    """Normalised images `(models, batch, channels, height, width)` to logits `(models, batch, classes)`.

    `model` is any one of them, in training mode; weights that it has and `weights` lacks are the same in all.
    """
    config = model.config
    x = images.permute(0, 1, 3, 4, 2)
    for layer in range(len(model.tokenizer.conv_layers)):
        name = f"tokenizer.conv_layers.{layer}.0"
        x = _convolution(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), config.stride, config.padding)
        if config.tokenizer == "conv":
            x = _max_pooling_relu(x)
    x = x.flatten(2, 3)
    classifier = model.classifier
    if classifier.class_emb is not None:
        first = weights["classifier.class_emb"].expand(-1, x.shape[1], -1, -1)
        x = torch.cat([first.to(x.dtype), x], dim=2)
    if classifier.positional_emb is not None:
        x = x + weights.get("classifier.positional_emb", classifier.positional_emb).to(x.dtype)
    x = F.dropout(x, config.dropout)
    for number, block in enumerate(classifier.blocks):
        assert isinstance(block, Block)
        x = _block(x, _within(weights, f"classifier.blocks.{number}"), config, block.stochastic_depth.p)
    x = _norm(x, _within(weights, "classifier.norm"))
    pool = vmap(lambda own, tokens: functional_call(classifier.attention_pool, own, (tokens,)), randomness="different")
    x = pool(_within(weights, "classifier.attention_pool"), x)
    return _linear(x, _within(weights, "classifier.fc"))


def _within(weights: Weights, module: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{module}."): value for name, value in weights.items() if name.startswith(f"{module}.")}


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """`(models, batch, height, width, channels)` by `(models, out, channels, side, side)`."""
    models, batch, _, _, channels = x.shape
    side = weight.shape[-1]
    if side > LARGEST_PRODUCT:
        one = x.permute(1, 0, 4, 2, 3).flatten(1, 2)
        y = F.conv2d(
            one, weight.flatten(0, 1), None if bias is None else bias.flatten(), stride, padding, groups=models
        )
        each: Tensor = y.unflatten(1, (models, -1))
        return each.permute(1, 0, 3, 4, 2)
    x = F.pad(x, (0, 0, padding, padding, padding, padding))
    height, width = ((pixels - side) // stride + 1 for pixels in x.shape[2:4])
    cells = [
        x[:, :, row : row + stride * height : stride, column : column + stride * width : stride]
        for row in range(side)
        for column in range(side)
    ]
    pixels = torch.stack(cells, dim=4).reshape(models, batch * height * width, side * side * channels)
    y = torch.bmm(pixels, weight.permute(0, 3, 4, 2, 1).flatten(1, 3))
    return (y if bias is None else y + bias[:, None]).view(models, batch, height, width, -1)


def _max_pooling_relu(x: Tensor) -> Tensor:
    """Of 3x3 pixels with stride 2, `(models, batch, height, width, channels)`."""
    images = x.flatten(0, 1)
    if x.is_cuda and not x.shape[2] % 2 and not x.shape[3] % 2:
        from cct.max_pooling import max_pooling_relu

        pooled: Tensor = max_pooling_relu(images)[0]
    else:
        pooled = F.max_pool2d(images.permute(0, 3, 1, 2), 3, 2, 1).relu().permute(0, 2, 3, 1)
    return pooled.view(*x.shape[:2], *pooled.shape[1:])


def _block(x: Tensor, weights: Weights, config: ModelConfig, depth: float) -> Tensor:
    """`cct.encoder.Block`, of tokens `(models, batch, tokens, channels)`."""
    attended = F.dropout(_attention(_norm(x, _within(weights, "pre_norm")), weights, config), config.dropout)
    x = _norm(x + _stochastic_depth(attended, depth), _within(weights, "norm1"))
    hidden = F.dropout(F.gelu(_linear(x, _within(weights, "linear1"))), config.dropout)
    branch = F.dropout(_linear(hidden, _within(weights, "linear2")), config.dropout)
    return x + _stochastic_depth(branch, depth)


def _attention(x: Tensor, weights: Weights, config: ModelConfig) -> Tensor:
    """`cct.encoder.Attention`, in which images of all models are one batch."""
    qkv = _linear(x, _within(weights, "self_attn.qkv")).flatten(0, 1)
    q, k, v = qkv.unflatten(-1, (3, config.num_heads, -1)).permute(2, 0, 3, 1, 4)
    heads = F.scaled_dot_product_attention(q, k, v, dropout_p=config.attention_dropout)
    attended = heads.transpose(1, 2).flatten(2).unflatten(0, [*x.shape[:2]])
    return _linear(attended, _within(weights, "self_attn.proj"))


def _stochastic_depth(branch: Tensor, p: float) -> Tensor:
    if p == 0:
        return branch
    kept = torch.empty(*branch.shape[:2], 1, 1, device=branch.device, dtype=branch.dtype).bernoulli_(1 - p)
    return branch * (kept / (1 - p))


def _norm(x: Tensor, weights: Weights) -> Tensor:
    return F.layer_norm(x, x.shape[-1:]) * weights["weight"][:, None, None] + weights["bias"][:, None, None]


def _linear(x: Tensor, weights: Weights) -> Tensor:
    """`(models, batch, ..., in)` to `(models, batch, ..., out)`."""
    y: Tensor = torch.bmm(x.flatten(1, -2), weights["weight"].mT)
    if "bias" in weights:
        y = y + weights["bias"][:, None]
    return y.view(*x.shape[:-1], -1)
