"""What the pooling step looks at: the share of each token, for a few images or texts of the test split."""

import base64
import io
from collections.abc import Callable
from typing import cast

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn

from cct.data import Split
from cct.encoder import Block
from cct.events import Image, Look, Text
from cct.models import Model, TextTransformer
from cct.texts import PADDING, words_of

IMAGES = 16
"""How many images or texts are looked at."""

PICTURE_PIXELS = 128
"""Side of the largest picture that is sent to browsers."""


def chosen_images(split: Split) -> Tensor:
    """Numbers of what every run of a dataset looks at: the first image or text of each class, then the second, ..."""
    seen: dict[int, int] = {}
    ranks = []
    for number, label in enumerate(split.labels.tolist()):
        seen[label] = seen.get(label, 0) + 1
        ranks.append((seen[label], label, number))
    return torch.tensor([number for _, _, number in sorted(ranks)[:IMAGES]])


def pictures(images: Tensor, labels: Tensor) -> list[Image]:
    """Images `(count, 3, height, width)` and their labels for browsers."""
    return [Image(label, url_of(pixels)) for pixels, label in zip(images.cpu(), labels.tolist(), strict=True)]


def sentences(split: Split, chosen: Tensor, length: int) -> list[Text]:
    """The chosen texts, as the first words that models take of them."""
    return [
        Text(int(split.labels[number]), words_of(split.texts[number])[:length] or [""]) for number in chosen.tolist()
    ]


def url_of(pixels: Tensor) -> str:
    """A data URL of the image `(3, height, width)`, uint8: exact as a PNG file, or smaller as JPEG if it is large."""
    file, image = io.BytesIO(), PIL.Image.fromarray(pixels.permute(1, 2, 0).numpy())
    kind = "png" if max(image.size) <= PICTURE_PIXELS else "jpeg"
    image.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
    image.save(file, kind, quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def pixels_of(url: str) -> Tensor:
    """The image of a URL that `url_of` made."""
    file = io.BytesIO(base64.b64decode(url.partition(",")[2]))
    return torch.from_numpy(np.array(PIL.Image.open(file))).permute(2, 0, 1)


def chosen_epochs(epochs: int) -> set[int]:
    """The epochs at whose end images are looked at: 1, 2, 3, 5, 8, ... and the last; weights change most at first."""
    chosen, following = {epochs}, (1, 2)
    while following[0] < epochs:
        chosen.add(following[0])
        following = following[1], sum(following)
    return chosen


def look(model: Model, images: Tensor, epoch: int) -> Look:
    """Looks at normalised images `(batch, channels, size, size)`, or texts `(batch, words)`, in evaluation mode."""
    pooling = model.classifier.attention_pool
    pooled: list[tuple[Tensor, ...]] = []
    queries_and_keys: list[Tensor] = []
    attention = cast(Block, model.classifier.blocks[-1]).self_attn
    hooks = [
        pooling.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs)),
        attention.qkv.register_forward_hook(lambda _, __, output: queries_and_keys.append(output.detach())),
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            confidence, predicted = model(images).float().softmax(dim=1).max(dim=1)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    tokens, mask = pooled[0][0].detach().float(), next(iter(pooled[0][1:]), None)
    if getattr(pooling, "uses_class_token", False):
        shares = _class_attention(queries_and_keys[0].float(), attention.num_heads, mask)
    else:
        shares = token_shares(pooling, tokens, mask)
    shares = shares.cpu()
    rows = _shares_of_words(model, images, shares) if isinstance(model, TextTransformer) else [*shares]
    return Look(
        epoch=epoch,
        shares=[[round(share, 4) for share in row.tolist()] for row in rows],
        entropy=[float(torch.special.entr(row).sum()) for row in rows],
        predicted=predicted.tolist(),
        confidence=confidence.tolist(),
    )


def token_shares(pooling: nn.Module, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """How much each token of `(batch, tokens, channels)` counts, `(batch, tokens)`; padding, of a `mask`, does not.

    The pooling's weights, the mean over heads where there are several. A pooling without weights is differentiated: the
    share of a token is the mean over channels of the derivative of the pooled value by the token's, which is 1 / tokens
    for the mean, and for the maximum the share of channels in which the token is the largest.
    """
    valid = () if mask is None else (mask,)
    with torch.no_grad():
        if hasattr(pooling, "weights"):
            weights = cast(Callable[..., Tensor], pooling.weights)
            return weights(x, *valid).reshape(len(x), -1, x.shape[1]).mean(dim=1)
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        [derivative] = torch.autograd.grad(pooling(x, *valid).sum(), x)
    shares = derivative.mean(dim=2)
    return shares / shares.sum(dim=1, keepdim=True)


def _class_attention(qkv: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """What the class token, the first, attends to among the others in the last block, the mean over heads."""
    q, k, _ = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    scores = q[:, :, :1] @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], -torch.inf)  # the class token itself is never hidden
    attention = scores.softmax(dim=-1)
    others: Tensor = attention[:, :, 0, 1:].mean(dim=1)
    return others / others.sum(dim=1, keepdim=True)


def _shares_of_words(model: TextTransformer, texts: Tensor, shares: Tensor) -> list[Tensor]:
    """The shares of each text's own words: a token's share `(batch, tokens)` is that of the words it sees, equally."""
    reach = model.tokenizer.reach(model.config.text_length).float()
    rows = []
    for words, of_tokens in zip(texts.cpu(), shares, strict=True):
        seen = reach[: int((words != PADDING).sum())]
        rows.append(seen / seen.sum(dim=0).clamp(min=1) @ of_tokens)
    return rows
