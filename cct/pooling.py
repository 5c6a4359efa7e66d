"""The pooling step: from one vector per token to one vector per image. This is the file to edit to try a new pooling.

A variant is one class decorated with `@register("name")`: a module made from the number of channels, whose `forward`
turns tokens `(batch, tokens, channels)` into `(batch, channels)`. Its docstring's first paragraph and its `formula`
appear on the board. `x` is the encoder's output after its last norm, `g` a learned linear score per token.

A variant that learns a score derives from `SeqPool` or `nn.Linear(channels, 1)`: its weights are then stored as
`classifier.attention_pool.weight` and `.bias`, the reference's names.
"""

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

P = TypeVar("P", bound=nn.Module)

POOLINGS: dict[str, type[nn.Module]] = {}


def register(name: str) -> Callable[[type[P]], type[P]]:
    """Makes a class the pooling variant of this name."""

    def add(pooling: type[P]) -> type[P]:
        POOLINGS[name] = pooling
        return pooling

    return add


@register("seqpool")
class SeqPool(nn.Linear):
    """Sequence pooling: the mean of the tokens, weighted by a softmax over a learned score per token.

    Hassani et al. 2021, "Escaping the Big Data Paradigm with Compact Transformers", section 3.3, equations 6 and 7.
    """

    formula = "softmax(g(x), tokens)ᵀ x"

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1)

    def weights(self, x: Tensor) -> Tensor:
        """The share of each token, `(batch, tokens)`; sums to 1."""
        return super().forward(x).squeeze(-1).softmax(dim=1)

    def values(self, x: Tensor) -> Tensor:
        """What is averaged, `(batch, tokens, channels)`."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        return (self.weights(x).unsqueeze(1) @ self.values(x)).squeeze(1)


@register("seqpool_softmax_tokens")
class SeqPoolSoftmaxTokens(SeqPool):
    """Sequence pooling of values that a softmax normalises over the tokens of their image, channel by channel."""

    formula = "softmax(g(x), tokens)ᵀ softmax(x, tokens)"

    def values(self, x: Tensor) -> Tensor:
        return x.softmax(dim=1)


@register("seqpool_softmax_batch")
class SeqPoolSoftmaxBatch(SeqPool):
    """Sequence pooling of values that a softmax normalises over the batch: a historic bug, kept for comparison.

    An image's output depends on its batch-mates.
    """

    formula = "softmax(g(x), tokens)ᵀ softmax(x, batch)"

    def values(self, x: Tensor) -> Tensor:
        return x.softmax(dim=0)


@register("seqpool_softmax_channels")
class SeqPoolSoftmaxChannels(SeqPool):
    """Sequence pooling of values that a softmax normalises over the channels of their token."""

    formula = "softmax(g(x), tokens)ᵀ softmax(x, channels)"

    def values(self, x: Tensor) -> Tensor:
        return x.softmax(dim=2)


@register("class_token")
class ClassToken(nn.Module):
    """The output of an extra learned token that the encoder carries along in front of the others.

    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.1, equation 4.
    """

    formula = "x[class token]"
    uses_class_token = True

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


@register("mean")
class Mean(nn.Module):
    """The mean of the tokens."""

    formula = "mean(x, tokens)"

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


@register("max")
class Max(nn.Module):
    """The largest value of each channel over the tokens."""

    formula = "max(x, tokens)"

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=1)
