"""The pooling step: from one vector per token to one vector per image. This is the file to edit to try a new pooling.

A variant is one class decorated with `@register("name")`: a module made from the number of channels, whose `forward`
turns tokens `(batch, tokens, channels)` into `(batch, channels)`. Its docstring's first paragraph and its `formula`
appear on the board. `x` is the encoder's output after its last norm, `g` a learned linear score per token.

A variant that learns a score derives from `SeqPool` or `nn.Linear(channels, 1)`: its weights are then stored as
`classifier.attention_pool.weight` and `.bias`, the reference's names. A variant that averages tokens says by how much
in `weights(x)`, `(batch, tokens)` or `(batch, heads, tokens)`, each row with the sum 1: the board shows their entropy.

A variant with weights of its own declares `coefficients`: their number as a polynomial of the channels, lowest power
first. What shall start as random values is an `nn.Linear`, which draws from a random stream of its own name.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
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
    coefficients = (1, 1)

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
    coefficients = (0, 1)
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


@register("seqpool_softmax_tokens_rescaled")
class SeqPoolSoftmaxTokensRescaled(SeqPool):
    """Sequence pooling of values that a softmax normalises over the tokens, times the number of tokens n.

    Values of `seqpool_softmax_tokens` are 1/n in the mean, so its outputs shrink as images grow; these are 1 in the
    mean. The two differ in nothing else.
    """

    formula = "softmax(g(x), tokens)ᵀ (n softmax(x, tokens))"

    def values(self, x: Tensor) -> Tensor:
        return x.shape[1] * x.softmax(dim=1)


@register("seqpool_temperature")
class SeqPoolTemperature(SeqPool):
    """Sequence pooling whose softmax has a learned temperature τ: below 1 it favours few tokens, above 1 many.

    Temperature as in Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2. log τ is what is
    learned, so that τ stays positive; it starts at 0 and weight decay pulls it there, to plain sequence pooling.
    """

    formula = "softmax(g(x) / τ, tokens)ᵀ x"
    coefficients = (2, 1)

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.log_temperature = nn.Parameter(torch.zeros(1))

    def weights(self, x: Tensor) -> Tensor:
        scores = nn.Linear.forward(self, x).squeeze(-1)
        return (scores / self.log_temperature.exp()).softmax(dim=1)


@register("seqpool_multihead")
class SeqPoolMultiHead(nn.Linear):
    """Sequence pooling by four heads: each scores and averages its own quarter of the channels.

    India et al. 2019, "Self Multi-Head Attention for Speaker Recognition". Without a bias, which a softmax does not
    see. The number of channels must be a multiple of four.
    """

    formula = "concat over heads h: softmax(g_h(x_h), tokens)ᵀ x_h"
    coefficients = (0, 1)
    heads = 4

    def __init__(self, channels: int) -> None:
        super().__init__(channels // self.heads, self.heads, bias=False)

    def weights(self, x: Tensor) -> Tensor:
        """The share of each token in each head, `(batch, heads, tokens)`; sums to 1 over the tokens."""
        return torch.einsum("bthc,hc->bht", self._split(x), self.weight).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bht,bthc->bhc", self.weights(x), self._split(x)).flatten(1)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1)


@register("gem")
class GeneralisedMean(nn.Module):
    """The generalised mean of softplus(x) with a learned exponent p: the mean at p = 1, the maximum as p grows.

    Radenović et al. 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation", section 3.2, equation 3, starting
    at p = 3. The power mean needs positive values: the authors have them after a ReLU, tokens after a norm are of both
    signs. Softplus makes them positive and keeps their order, where a ReLU would discard half of them. log p is what is
    learned, so that p stays positive. Computed in logarithms, which do not overflow.
    """

    formula = "mean(softplus(x)ᵖ, tokens)^(1/p)"
    coefficients = (1,)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_exponent = nn.Parameter(torch.full((1,), math.log(3)))

    def forward(self, x: Tensor) -> Tensor:
        exponent = self.log_exponent.exp()
        powers = exponent * F.softplus(x).clamp(min=1e-6).log()
        return ((powers.logsumexp(dim=1) - math.log(x.shape[1])) / exponent).exp()


@register("logsumexp")
class LogSumExp(nn.Module):
    """A smooth maximum: the logarithm of the mean of the tokens' exponentials, between their mean and their maximum.

    Pinheiro and Collobert 2015, "From Image-level to Pixel-level Labeling with Convolutional Networks", with r = 1.
    """

    formula = "log(mean(exp(x), tokens))"

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.logsumexp(dim=1) - math.log(x.shape[1])
