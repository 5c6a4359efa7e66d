"""What a model costs, by arithmetic alone: standard library only, so that it is known before anything is built."""

from dataclasses import dataclass, replace
from itertools import pairwise

from cct.named_datasets import DATASETS
from cct.named_models import ModelConfig, TextConfig
from cct.own_poolings import pooling_info
from cct.spec import RunSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one model costs at one image size or text length."""

    tokens: int
    """Length of the encoder's sequence, class token included."""
    parameters: int
    """Number of weights, fixed embeddings included, as the reference counts them."""
    macs: int
    """Multiply-accumulates of the forward pass of one image or text in convolutions, linear layers and attention;
    norms, activations and the pooling step, together below 1 %, are left out."""


def cost(config: ModelConfig | TextConfig) -> Cost:
    """What the model of a configuration costs."""
    pooling = pooling_info(config.pooling)
    conv_parameters, conv_macs = _text_tokenizer(config) if isinstance(config, TextConfig) else _tokenizer(config)
    tokens = count_tokens(config) + pooling.uses_class_token
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
    """What the model of a run costs, with the classes of its dataset.

    Where those are not known, it has as many as its name says.
    """
    config, dataset = spec.config, DATASETS[spec.dataset]
    if isinstance(config, TextConfig):
        config = replace(config, vocabulary_size=dataset.vocabulary_size)
    return cost(replace(config, num_classes=dataset.num_classes or config.num_classes))


def count_tokens(config: ModelConfig | TextConfig) -> int:
    """Number of tokens that the tokenizer makes of one image or text."""
    return _lengths(config)[-1] if isinstance(config, TextConfig) else _sides(config)[-1][1] ** 2


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


def _text_tokenizer(config: TextConfig) -> tuple[int, int]:
    """Parameters of word embedding and convolution, and the multiply-accumulates of the latter."""
    embedding = config.vocabulary_size * config.word_channels
    if not config.windows:
        return embedding, 0
    weights = config.kernel_size * config.word_channels * config.embed_dim
    return embedding + weights, weights * _lengths(config)[1]


def _lengths(config: TextConfig) -> list[int]:
    """Length of the text at first and after each window."""
    lengths = [config.text_length]
    for size, stride, padding in config.windows:
        lengths.append((lengths[-1] + 2 * padding - size) // stride + 1)
    return lengths
