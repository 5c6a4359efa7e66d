"""What a model costs, by arithmetic alone: standard library only, so that it is known before anything is built."""

from dataclasses import dataclass, replace
from itertools import pairwise

from cct.catalog import poolings
from cct.config import DATASETS, MODELS, ModelConfig, RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one model at one image size."""

    tokens: int
    """Length of the encoder's sequence, class token included."""
    parameters: int
    """Number of weights, fixed embeddings included, as the reference counts them."""
    macs: int
    """Multiply-accumulates of one image's forward pass in convolutions, linear layers and attention; norms, activations
    and the pooling step, together below 1 %, are left out."""


def cost(config: ModelConfig) -> Cost:
    """What the model of a configuration costs."""
    pooling = poolings()[config.pooling]
    conv_parameters, conv_macs = _tokenizer(config)
    tokens = count_patches(config) + pooling.uses_class_token
    width, hidden = config.embed_dim, config.mlp_ratio * config.embed_dim
    # Per block: query, key, value and projection; two layers of the MLP; three norms. Weights, then biases and norms.
    linear = 4 * width * width + 2 * width * hidden
    block_parameters = linear + (width + hidden + width) + 2 * 2 * width
    # Scores and weighted sums of all heads together.
    attention = 2 * tokens * tokens * width
    embedding = tokens * width if config.positional_embedding != "none" else 0
    head = width * config.num_classes
    return Cost(
        tokens=tokens,
        parameters=conv_parameters
        + embedding
        + pooling.parameters(width)
        + config.depth * block_parameters
        + 2 * width
        + head
        + config.num_classes,
        macs=conv_macs + config.depth * (tokens * linear + attention) + head,
    )


def cost_of_run(spec: RunSpec) -> Cost:
    """What the model of a run costs: with the run's pooling and the classes of its dataset."""
    return cost(replace(MODELS[spec.model], pooling=spec.pooling, num_classes=DATASETS[spec.dataset].num_classes))


def count_patches(config: ModelConfig) -> int:
    """Number of tokens that the tokenizer makes of one image."""
    return _sides(config)[-1][1] ** 2


def _tokenizer(config: ModelConfig) -> tuple[int, int]:
    """Parameters and multiply-accumulates of the convolutions."""
    weights = [before * after * config.kernel_size**2 for before, after in pairwise(config.tokenizer_channels)]
    biases = config.embed_dim if config.tokenizer == "patch" else 0
    return sum(weights) + biases, sum(
        weight * convolved**2 for weight, (convolved, _) in zip(weights, _sides(config), strict=True)
    )


def _sides(config: ModelConfig) -> list[tuple[int, int]]:
    """Side of the feature map after each convolution, and after its max-pooling."""
    sides, side = [], config.image_size
    for _ in range(config.conv_layers):
        convolved = (side + 2 * config.padding - config.kernel_size) // config.stride + 1
        side = convolved if config.tokenizer == "patch" else (convolved - 1) // 2 + 1
        sides.append((convolved, side))
    return sides
