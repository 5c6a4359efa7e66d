"""Whether a pooling does what it should, in seconds: before it costs an hour of training."""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.models import create_model, initialise
from cct.own_code import why
from cct.own_poolings import UnusablePooling, pooling_info, source_of
from cct.pooling import pooling_class

CHANNELS, TOKENS, IMAGES = 128, 64, 4
MODEL = "cct_2_3x2_32"
"""Whose step is measured."""
BATCH, STEPS = 32, 3


@dataclass(frozen=True, slots=True)
class Finding:
    """What one of the checks found."""

    name: str
    outcome: Literal["passed", "noted", "failed"]
    """`noted` is for what may be meant, such as a pooling for images alone."""
    text: str


class _Noted(Exception):
    """What a check found is no mistake for certain."""


class _Failed(Exception):
    """What a check found is a mistake."""


def _need(condition: object, otherwise: str) -> None:
    if not condition:
        raise _Failed(otherwise)


def check(name: str) -> Iterator[Finding]:
    """What each check finds, one after another; the rest is left out where a pooling cannot even be used.

    `name` is of this package or a full one. On the CPU, with random numbers of its own.
    """
    with torch.random.fork_rng(devices=[]):
        for title, examine, is_vital in _CHECKS:
            finding = _finding(title, name, examine)
            yield finding
            if is_vital and finding.outcome == "failed":
                return


def _finding(title: str, name: str, examine: "Callable[[str], str]") -> Finding:
    torch.manual_seed(0)
    try:
        return Finding(title, "passed", examine(name))
    except _Noted as error:
        return Finding(title, "noted", str(error))
    except (_Failed, UnusablePooling) as error:
        return Finding(title, "failed", str(error))
    except Exception as error:
        return Finding(title, "failed", _where(error, name))


def _where(error: Exception, name: str) -> str:
    return why(error, source_of(name)) if "@" in name else f"{type(error).__name__}: {error}"


def _made(name: str, channels: int = CHANNELS) -> Any:
    """The pooling with weights as after some training, away from zeros and ones that hide what they do."""
    pooling = pooling_class(name)(channels)
    initialise(pooling, seed=0)
    with torch.no_grad():
        for weight in pooling.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return pooling.eval()


def _tokens() -> Tensor:
    return torch.randn(IMAGES, TOKENS, CHANNELS)


def _is_imported(name: str) -> str:
    kind = pooling_class(name)
    bases = ", ".join(base.__name__ for base in kind.__mro__[1:] if base.__module__.startswith("cct"))
    return f"{kind.__name__}{f', made from {bases}' if bases else ''}"


def _has_shape(name: str) -> str:
    pooled = _made(name)(_tokens())
    _need(isinstance(pooled, Tensor), f"forward must return a tensor, not a {type(pooled).__name__}")
    wanted = (IMAGES, CHANNELS)
    _need(pooled.shape == wanted, f"tokens {(IMAGES, TOKENS, CHANNELS)} must become {wanted}, not {(*pooled.shape,)}")
    _need(pooled.isfinite().all(), "some results are infinite or not a number")
    return f"{(IMAGES, TOKENS, CHANNELS)} becomes {wanted}"


def _gradients_reach_all(name: str) -> str:
    pooling, tokens = _made(name).train(), _tokens().requires_grad_()
    pooling(tokens).square().sum().backward()
    if tokens.grad is None or not tokens.grad.any():
        raise _Failed("no gradient reaches the tokens: nothing is learned")
    _need(tokens.grad.isfinite().all(), "gradients of the tokens are infinite or not a number")
    for key, weight in pooling.named_parameters():
        if weight.grad is None:
            raise _Failed(f"no gradient reaches {key}: it would never be learned")
        _need(weight.grad.isfinite().all(), f"gradients of {key} are infinite or not a number")
    return "they reach the tokens and all weights, and are finite"


def _repeats(name: str) -> str:
    pooling, tokens = _made(name), _tokens()
    one, two = pooling(tokens), pooling(tokens)
    _need(torch.equal(one, two), "the same tokens give another result at the second time, in evaluation mode")
    return "the same tokens give the same result"


def _does_not_mix(name: str) -> str:
    pooling, tokens = _made(name), _tokens()
    together, alone = pooling(tokens), torch.cat([pooling(image) for image in tokens.split(1)])
    if not torch.allclose(together, alone, rtol=1e-4, atol=1e-5):
        raise _Noted("it mixes the batch: an image's result depends on those beside it, a mistake in nearly all cases")
    return "an image's result does not depend on those beside it"


def _works_in_bf16(name: str) -> str:
    pooling, tokens = _made(name), _tokens()
    exact = pooling(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        rough = pooling(tokens.bfloat16()).float()
    _need(rough.isfinite().all(), "some results are infinite or not a number")
    error = ((rough - exact).norm() / exact.norm().clamp(min=1e-6)).item()
    _need(error < 0.1, f"results differ from those in fp32 by {100 * error:.0f} %")
    return f"results differ from those in fp32 by {100 * error:.1g} %"


def _honours_masks(name: str) -> str:
    pooling, tokens, valid = _made(name), _tokens(), TOKENS // 2
    mask = (torch.arange(TOKENS) < valid).expand(IMAGES, -1)
    try:
        pooled = pooling(tokens, mask)
    except TypeError as error:
        if "positional argument" in str(error):
            raise _Noted("for images only: forward takes no mask, which models of texts give it") from error
        raise
    other = torch.where(mask.unsqueeze(-1), tokens, 100 * torch.randn_like(tokens))
    _need(torch.allclose(pooled, pooling(other, mask), rtol=1e-4, atol=1e-5), "what is padding changes the result")
    return "what is padding changes nothing"


def _weights_sum_to_one(name: str) -> str:
    pooling = _made(name)
    if not hasattr(pooling, "weights"):
        return "it has none to show"
    shares = pooling.weights(_tokens())
    is_right = shares.shape[0] == IMAGES and shares.shape[-1] == TOKENS
    _need(is_right, f"weights must be (images, tokens) or (images, heads, tokens), not {(*shares.shape,)}")
    _need(torch.allclose(shares.sum(-1), torch.ones(()), atol=1e-3), "weights of an image do not sum to 1")
    return "those of an image sum to 1"


def _is_saved_whole(name: str) -> str:
    pooling, other, tokens = _made(name), pooling_class(name)(CHANNELS).eval(), _tokens()
    torch.save(pooling.state_dict(), buffer := io.BytesIO())
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    _need(torch.equal(pooling(tokens), other(tokens)), "saved and loaded again, it gives another result")
    return "saved and loaded again, it gives the same result"


def _counts_weights(name: str) -> str:
    info = pooling_info(name)
    uses_class_token = getattr(pooling_class(name), "uses_class_token", False)
    _need(info.uses_class_token == uses_class_token, "write uses_class_token into the class itself, as True or False")
    for channels in (CHANNELS, 2 * CHANNELS):
        counted = sum(weight.numel() for weight in pooling_class(name)(channels).parameters())
        declared = info.parameters(channels) - info.uses_class_token * channels
        _need(
            counted == declared,
            f"with {channels} channels it has {counted:,} weights, but coefficients = {info.coefficients} declares "
            f"{declared:,}; write their number as a polynomial of the channels, lowest power first",
        )
    return f"{info.parameters(CHANNELS):,} for {CHANNELS} channels, as declared"


def _costs(name: str) -> str:
    """Of a whole step beside the baseline's, in turn."""
    models = {one: create_model(MODEL, pooling=one, seed=0) for one in dict.fromkeys((name, "seqpool"))}
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    seconds: dict[str, list[float]] = {one: [] for one in models}
    kept: dict[str, int] = {}
    for _ in range(STEPS + 1):
        for one, model in models.items():
            begin = time.perf_counter()
            kept[one] = _step(model, images, labels)
            seconds[one].append(time.perf_counter() - begin)
    ours, theirs = (median(seconds[one][1:]) for one in (name, "seqpool"))
    more = kept[name] - kept["seqpool"]
    return (
        f"a step of {MODEL} with {BATCH} images takes {1000 * ours:.0f} ms, with seqpool {1000 * theirs:.0f} ms, and "
        f"keeps {abs(more) / 1e6:.1f} MB {'more' if more >= 0 else 'less'} for its gradients; on this machine's CPU"
    )


def _step(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Takes a step forward and back; the bytes that it kept for its gradients."""
    kept = 0

    def keep(values: Tensor) -> Tensor:
        nonlocal kept
        kept += values.nbytes
        return values

    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda values: values):
        loss = F.cross_entropy(model(images), labels)
    loss.backward()
    return kept


_CHECKS: tuple[tuple[str, Callable[[str], str], bool], ...] = (
    ("imports", _is_imported, True),
    ("output", _has_shape, True),
    ("gradients", _gradients_reach_all, False),
    ("repeatable", _repeats, False),
    ("batch", _does_not_mix, False),
    ("bf16", _works_in_bf16, False),
    ("masks", _honours_masks, False),
    ("weights shown", _weights_sum_to_one, False),
    ("checkpoint", _is_saved_whole, False),
    ("number of weights", _counts_weights, False),
    ("cost", _costs, False),
)
"""Title, check, and whether the others make no sense where it fails."""
