"""From images `(batch, in_channels, height, width)` to tokens `(batch, tokens, embed_dim)`, row by row."""

from itertools import pairwise

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


def _patches(config: ModelConfig) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(config.in_channels, config.embed_dim, config.kernel_size, config.stride))


def _convolutions(config: ModelConfig) -> list[nn.Sequential]:
    return [
        nn.Sequential(
            nn.Conv2d(before, after, config.kernel_size, config.stride, config.padding, bias=False),
            # The reference's order is ReLU, then pooling: the same values and gradients, on four times as many pixels.
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.ReLU(),
        )
        for before, after in pairwise(config.tokenizer_channels)
    ]
