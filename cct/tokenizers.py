"""From images `(batch, in_channels, height, width)`, row by row, or texts to tokens `(batch, tokens, embed_dim)`."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.cpu import Convolution, convolve_words, dense
from cct.named_models import ModelConfig, TextConfig


class Tokenizer(nn.Module):
    """Convolutions, flattened: CCT's (overlapping, with ReLU and max-pooling) or those of ViT and CVT (patches).

    Hassani et al. 2021, section 3.2 and equation 8: x0 = MaxPool(ReLU(Conv2d(x))).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers = [_patches(config)] if config.tokenizer == "patch" else _convolutions(config)
        self.conv_layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        features = dense(self.conv_layers(images))
        return features.flatten(2).transpose(1, 2)


def _patches(config: ModelConfig) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(config.in_channels, config.embed_dim, config.kernel_size, config.stride))


def _convolutions(config: ModelConfig) -> list[nn.Sequential]:
    return [
        nn.Sequential(
            Convolution(before, after, config.kernel_size, config.stride, config.padding, bias=False),
            # The reference's order is ReLU, then pooling: the same values and gradients, on four times as many pixels.
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
        )
        for before, after in pairwise(config.tokenizer_channels)
    ]


class TextTokenizer(nn.Module):
    """Turns words `(batch, words, word_channels)` into tokens: by a convolution, by patches, or the words themselves.

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
        _, stride, padding = self.windows[0]
        tokens = convolve_words(words, self.conv_layers.get_parameter("0.weight"), stride, padding)
        for size, stride, padding in self.windows[1:]:
            tokens = F.max_pool1d(tokens.transpose(1, 2), size, stride, padding).relu().transpose(1, 2)
        return tokens, self._see(mask)

    def reach(self, words: int) -> Tensor:
        """Which tokens see which of so many words, `(words, tokens)`."""
        return self._see(torch.eye(words))

    def _see(self, words: Tensor) -> Tensor:
        """Whether each token has seen any of the words that are not 0: `(batch, words)` to `(batch, tokens)`."""
        seen = words.unsqueeze(1)
        for size, stride, padding in self.windows:
            seen = F.conv1d(seen.float(), torch.ones(1, 1, size, device=words.device), None, stride, padding) > 0
        return seen.squeeze(1)
