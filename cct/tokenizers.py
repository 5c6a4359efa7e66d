"""From images `(batch, in_channels, height, width)` to tokens `(batch, tokens, embed_dim)`, row by row."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from cct.config import ModelConfig


class Tokenizer(nn.Module):
    """Convolutions, flattened: of CCT (overlapping, with ReLU and max-pooling) or of ViT and CVT (patches).

    Hassani et al. 2021, section 3.2 and equation 8: x0 = MaxPool(ReLU(Conv2d(x))).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers = [_patches(config)] if config.tokenizer == "patch" else _convolutions(config)
        self.conv_layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.conv_layers(images).flatten(2).transpose(1, 2)
        return tokens


def count_tokens(config: ModelConfig) -> int:
    """Number of tokens of one image; computes shapes only."""
    with torch.device("meta"):
        images = torch.empty(1, config.in_channels, config.image_size, config.image_size)
        tokens: Tensor = Tokenizer(config)(images)
    return tokens.shape[1]


def _patches(config: ModelConfig) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(config.in_channels, config.embed_dim, config.kernel_size, stride=config.kernel_size))


def _convolutions(config: ModelConfig) -> list[nn.Sequential]:
    kernel = config.kernel_size
    stride, padding = max(1, kernel // 2 - 1), max(1, kernel // 2)
    channels = [config.in_channels, *[config.conv_channels] * (config.conv_layers - 1), config.embed_dim]
    return [
        nn.Sequential(
            nn.Conv2d(before, after, kernel, stride, padding, bias=False),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        for before, after in pairwise(channels)
    ]
