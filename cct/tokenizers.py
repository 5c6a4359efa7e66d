"""From images `(batch, in_channels, height, width)`, row by row, or texts to tokens `(batch, tokens, embed_dim)`."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.named_models import ModelConfig, TextConfig


class Tokenizer(nn.Module):
    """Convolutions, flattened: of CCT (overlapping, with ReLU and max-pooling) or of ViT and CVT (patches).

    Hassani et al. 2021, section 3.2 and equation 8: x0 = MaxPool(ReLU(Conv2d(x))). Before CCT's convolutions, images on
    a CPU may be in oneDNN's own layout (`to_mkldnn`).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers = [_patches(config)] if config.tokenizer == "patch" else _convolutions(config)
        self.conv_layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.conv_layers(images)
        if features.is_mkldnn:
            features = features.to_dense().contiguous(memory_format=torch.channels_last)
        return features.flatten(2).transpose(1, 2)


class _Convolution(nn.Conv2d):
    """One without bias that takes images in oneDNN's own layout too, of any precision."""

    def forward(self, images: Tensor) -> Tensor:
        if not images.is_mkldnn:
            return super().forward(images)
        assert not isinstance(self.padding, str)
        weight = self.weight.to(images.dtype)
        return torch.mkldnn_convolution(images, weight, None, self.padding, self.stride, self.dilation, self.groups)


def _patches(config: ModelConfig) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(config.in_channels, config.embed_dim, config.kernel_size, config.stride))


def _convolutions(config: ModelConfig) -> list[nn.Sequential]:
    return [
        nn.Sequential(
            _Convolution(before, after, config.kernel_size, config.stride, config.padding, bias=False),
            # The reference's order is ReLU, then pooling: the same values and gradients, on four times as many pixels.
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
        )
        for before, after in pairwise(config.tokenizer_channels)
    ]


class TextTokenizer(nn.Module):
    """From words `(batch, words, word_channels)` to tokens: by a convolution, by patches, or the words themselves.

    Takes and returns a mask too, `(batch, words)` and `(batch, tokens)`: a token is valid if it has seen a valid word.
    Words that are padding must be zero, so that a token at the end of a text is not changed by what follows.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.windows = config.windows
        self.conv_layers = nn.Sequential()
        if self.windows:
            kernel = (config.kernel_size, config.word_channels)
            self.conv_layers.append(nn.Conv2d(1, config.embed_dim, kernel, bias=False))

    def forward(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if not self.windows:
            return words, mask
        tokens = self._convolve(words, *self.windows[0])
        for size, stride, padding in self.windows[1:]:
            tokens = F.max_pool1d(tokens.transpose(1, 2), size, stride, padding).relu().transpose(1, 2)
        seen = mask.unsqueeze(1)
        for size, stride, padding in self.windows:
            seen = F.conv1d(seen.float(), torch.ones(1, 1, size, device=mask.device), None, stride, padding) > 0
        return tokens, seen.squeeze(1)

    def _convolve(self, words: Tensor, size: int, stride: int, padding: int) -> Tensor:
        # As a matrix product: the backward pass of the convolution takes seconds on a CPU.
        weight = self.conv_layers.get_parameter("0.weight")
        windows = F.pad(words, (0, 0, padding, padding)).unfold(1, size, stride).transpose(2, 3)
        return F.linear(windows.flatten(2), weight.flatten(1))
