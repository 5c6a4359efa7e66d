"""The pooling step: from one vector per token to one vector per image.

Variants of your own are written in the same way, in a folder outside this package: see `cct.own_poolings`.

A variant is one class decorated with `@register("name")`: a module made from the number of channels, whose `forward`
turns tokens `(batch, tokens, channels)` into `(batch, channels)`. Its docstring's first paragraph and its `formula`
appear on the board. `x` is the encoder's output after its last norm, `g` a learned linear score per token.

Texts are of different lengths: `forward` is then given a `mask` too, `(batch, tokens)`, false where a token is padding.
Padding must not change the result, for which `hide` is made. At least one token of each text is valid. Images have no
mask, so that a variant for images alone can do without.

A variant that learns a score derives from `SeqPool` or `nn.Linear(channels, 1)`: its weights are then stored as
`classifier.attention_pool.weight` and `.bias`, the reference's names. A variant that averages tokens says by how much
in `weights(x, mask)`, `(batch, tokens)` or `(batch, heads, tokens)`, each row with the sum 1: the board shows their
entropy.

A variant with weights of its own declares `coefficients`: their number as a polynomial of the channels, lowest power
first. What shall start as random values is an `nn.Linear`, which draws from a random stream of its own name.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.own_code import load

P = TypeVar("P", bound=nn.Module)

POOLINGS: dict[str, type[nn.Module]] = {}


def register(name: str) -> Callable[[type[P]], type[P]]:
    """Makes a class the pooling variant of this name."""

    def add(pooling: type[P]) -> type[P]:
        POOLINGS[name] = pooling
        return pooling

    return add


def pooling_class(name: str) -> type[nn.Module]:
    """The class of a variant, of this package or by the full name of an own one. Raises `UnusablePooling`."""
    return POOLINGS[name] if name in POOLINGS else load(name)


def hide(x: Tensor, mask: Tensor | None) -> Tensor:
    """`(batch, tokens, ...)` with values at padded tokens that no softmax, maximum or sum of exponentials sees.

    Not minus infinity: a softmax over nothing else would be undefined.
    """
    if mask is None:
        return x
    return x.masked_fill(~mask.reshape(*mask.shape, *[1] * (x.dim() - 2)), torch.finfo(x.dtype).min)


def log_mean_exp(x: Tensor, mask: Tensor | None) -> Tensor:
    """The logarithm of the mean over the valid tokens of exp(x): `(batch, tokens, channels)` to `(batch, channels)`."""
    tokens = math.log(x.shape[1]) if mask is None else mask.sum(dim=1, keepdim=True).log()
    return hide(x, mask).logsumexp(dim=1) - tokens


@register("seqpool")
class SeqPool(nn.Linear):
    """Sequence pooling: the mean of the tokens, weighted by a softmax over a learned score per token.

    Hassani et al. 2021, "Escaping the Big Data Paradigm with Compact Transformers", section 3.3, equations 6 and 7.
    """

    formula = "softmax(g(x), tokens)ᵀ x"
    coefficients = (1, 1)

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1)

    def scores(self, x: Tensor) -> Tensor:
        """What decides on the share of each token, `(batch, tokens)`."""
        return super().forward(x).squeeze(-1)

    def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The share of each token, `(batch, tokens)`; sums to 1."""
        return hide(self.scores(x), mask).softmax(dim=1)

    def values(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """What is averaged, `(batch, tokens, channels)`."""
        return x

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return (self.weights(x, mask).unsqueeze(1) @ self.values(x, mask)).squeeze(1)


@register("seqpool_softmax_tokens")
class SeqPoolSoftmaxTokens(SeqPool):
    """Sequence pooling of values that a softmax normalises over the tokens of their image, channel by channel."""

    formula = "softmax(g(x), tokens)ᵀ softmax(x, tokens)"

    def values(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return hide(x, mask).softmax(dim=1)


@register("seqpool_softmax_batch")
class SeqPoolSoftmaxBatch(SeqPool):
    """Sequence pooling of values that a softmax normalises over the batch: a historic bug, kept for comparison.

    An image's output depends on its batch-mates, though not on the padding of texts.
    """

    formula = "softmax(g(x), tokens)ᵀ softmax(x, batch)"

    def values(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return hide(x, mask).softmax(dim=0)


@register("seqpool_softmax_channels")
class SeqPoolSoftmaxChannels(SeqPool):
    """Sequence pooling of values that a softmax normalises over the channels of their token."""

    formula = "softmax(g(x), tokens)ᵀ softmax(x, channels)"

    def values(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
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

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x[:, 0]


@register("mean")
class Mean(nn.Module):
    """The mean of the tokens."""

    formula = "mean(x, tokens)"

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return x.mean(dim=1)
        return (x * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)


@register("max")
class Max(nn.Module):
    """The largest value of each channel over the tokens."""

    formula = "max(x, tokens)"

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return hide(x, mask).amax(dim=1)


@register("seqpool_softmax_tokens_rescaled")
class SeqPoolSoftmaxTokensRescaled(SeqPool):
    """Sequence pooling of values that a softmax normalises over the tokens, times the number of tokens n.

    Values of `seqpool_softmax_tokens` are 1/n in the mean, so its outputs shrink as images grow; these are 1 in the
    mean. The two differ in nothing else.
    """

    formula = "softmax(g(x), tokens)ᵀ (n softmax(x, tokens))"

    def values(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = x.shape[1] if mask is None else mask.sum(dim=1)[:, None, None]
        return tokens * hide(x, mask).softmax(dim=1)


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

    def scores(self, x: Tensor) -> Tensor:
        return super().scores(x) / self.log_temperature.exp()


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

    def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The share of each token in each head, `(batch, heads, tokens)`; sums to 1 over the tokens."""
        scores = torch.einsum("bthc,hc->bht", self._split(x), self.weight)
        return hide(scores.transpose(1, 2), mask).transpose(1, 2).softmax(dim=-1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.einsum("bht,bthc->bhc", self.weights(x, mask), self._split(x)).flatten(1)

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

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        exponent = self.log_exponent.exp()
        powers = exponent * F.softplus(x).clamp(min=1e-6).log()
        return (log_mean_exp(powers, mask) / exponent).exp()


@register("logsumexp")
class LogSumExp(nn.Module):
    """A smooth maximum: the logarithm of the mean of the tokens' exponentials, between their mean and their maximum.

    Pinheiro and Collobert 2015, "From Image-level to Pixel-level Labeling with Convolutional Networks", with r = 1.
    """

    formula = "log(mean(exp(x), tokens))"

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return log_mean_exp(x, mask)
