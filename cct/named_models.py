"""The architectures of all named models. Standard library only, never torch."""

from dataclasses import dataclass
from typing import Literal

Tokenizer = Literal["conv", "patch"]
TextTokenizer = Literal["conv", "patch", "none"]
PositionalEmbedding = Literal["learnable", "sine", "none"]

TEXT_LENGTH = 64
"""Words that are read of a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """What all models share (Hassani et al. 2021, "Escaping the Big Data Paradigm")."""

    num_classes: int
    kernel_size: int
    """Side of a convolution's kernel or of a patch in pixels, or its length in words."""
    depth: int
    num_heads: int
    mlp_ratio: int
    embed_dim: int
    pooling: str
    positional_embedding: PositionalEmbedding = "learnable"
    dropout: float = 0.0
    attention_dropout: float = 0.1
    stochastic_depth: float = 0.1
    """Probability that the last block is skipped for an image; it grows linearly from 0 over the blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(EncoderConfig):
    """Architecture of one CCT, CVT or ViT-Lite model.

    Images are `(batch, in_channels, image_size, image_size)`; the tokenizer makes `tokens` of `embed_dim` channels.
    """

    image_size: int
    tokenizer: Tokenizer
    conv_layers: int
    """Convolutions (each followed by ReLU and 3x3 max-pooling of stride 2) in the tokenizer; 1 for patches."""
    in_channels: int = 3
    conv_channels: int = 64
    """Channels between two convolutions of the tokenizer."""

    @property
    def stride(self) -> int:
        """Pixels between neighbouring windows of the tokenizer's convolutions; patches do not overlap."""
        return self.kernel_size if self.tokenizer == "patch" else max(1, self.kernel_size // 2 - 1)

    @property
    def padding(self) -> int:
        """Pixels that the tokenizer's convolutions add on each side."""
        return 0 if self.tokenizer == "patch" else max(1, self.kernel_size // 2)

    @property
    def tokenizer_channels(self) -> tuple[int, ...]:
        """Channels before the first convolution of the tokenizer and after each."""
        return (self.in_channels, *[self.conv_channels] * (self.conv_layers - 1), self.embed_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig(EncoderConfig):
    """Architecture of one text model: CCT, CVT, ViT-Lite, or a plain transformer whose tokens are the words."""

    tokenizer: TextTokenizer
    text_length: int = TEXT_LENGTH
    """Words of a text: shorter texts are padded, longer ones are cut."""
    word_channels: int = 300
    """Length of a word's vector."""
    vocabulary_size: int = 20_000
    """Words that have an embedding of their own, padding and the unknown word included."""

    @property
    def windows(self) -> tuple[tuple[int, int, int], ...]:
        """Kernel size, stride and padding on each side, in words, of what the tokenizer slides over the text in turn.

        CCT: a convolution, then max-pooling.
        """
        if self.tokenizer == "none":
            return ()
        if self.tokenizer == "patch":
            return ((self.kernel_size, self.kernel_size, 0),)
        return ((self.kernel_size, max(1, self.kernel_size // 2 - 1), max(1, self.kernel_size // 2)), (2, 2, 1))


# (depth, heads, MLP ratio, channels) of the encoder, by its depth.
_ENCODERS = {2: (2, 2, 1, 128), 4: (4, 2, 1, 128), 6: (6, 4, 2, 256), 7: (7, 4, 2, 256), 14: (14, 6, 3, 384)}


def _variant(
    tokenizer: Tokenizer, depth: int, kernel: int, layers: int, size: int, classes: int, pooling: str, sine: bool
) -> ModelConfig:
    blocks, heads, ratio, channels = _ENCODERS[depth]
    return ModelConfig(
        image_size=size,
        num_classes=classes,
        tokenizer=tokenizer,
        kernel_size=kernel,
        conv_layers=layers,
        depth=blocks,
        num_heads=heads,
        mlp_ratio=ratio,
        embed_dim=channels,
        pooling=pooling,
        positional_embedding="sine" if sine else "learnable",
    )


def _named_image_models() -> dict[str, ModelConfig]:
    models: dict[str, ModelConfig] = {}
    for suffix, sine in (("", False), ("_sine", True)):
        for depth, kernel, layers, size, classes in (
            (2, 3, 2, 32, 10),
            (4, 3, 2, 32, 10),
            (6, 3, 1, 32, 10),
            (6, 3, 2, 32, 10),
            (7, 3, 1, 32, 10),
            (7, 3, 2, 32, 10),
            (7, 7, 2, 224, 102),
        ):
            name = f"cct_{depth}_{kernel}x{layers}_{size}{suffix}"
            models[name] = _variant("conv", depth, kernel, layers, size, classes, "seqpool", sine)
        models[f"cct_7_3x1_32{suffix}_c100"] = _variant("conv", 7, 3, 1, 32, 100, "seqpool", sine)
        for family, pooling in (("cvt", "seqpool"), ("vit", "class_token")):
            for depth in (2, 4, 6, 7):
                models[f"{family}_{depth}_4_32{suffix}"] = _variant("patch", depth, 4, 1, 32, 10, pooling, sine)
    models["cct_14_7x2_224"] = _variant("conv", 14, 7, 2, 224, 1000, "seqpool", False)
    models["cct_14_7x2_384"] = _variant("conv", 14, 7, 2, 384, 1000, "seqpool", False)
    models["cct_14_7x2_384_fl"] = _variant("conv", 14, 7, 2, 384, 102, "seqpool", False)
    return dict(sorted(models.items()))


def _named_text_models() -> dict[str, TextConfig]:
    models: dict[str, TextConfig] = {}
    families: tuple[tuple[str, TextTokenizer, str], ...] = (
        ("cct", "conv", "seqpool"),
        ("cvt", "patch", "seqpool"),
        ("transformer", "none", "class_token"),
        ("vit", "patch", "class_token"),
    )
    for family, tokenizer, pooling in families:
        for depth in (2, 4, 6):
            blocks, heads, ratio, channels = _ENCODERS[depth]
            if (family, depth) == ("cvt", 6):
                channels = 128  # narrower than the others of its depth, in the reference too
            models[f"text_{family}_{depth}"] = TextConfig(
                num_classes=4,
                tokenizer=tokenizer,
                kernel_size=4,
                depth=blocks,
                num_heads=heads,
                mlp_ratio=ratio,
                embed_dim=channels if tokenizer != "none" else 300,
                pooling=pooling,
                positional_embedding="sine",
            )
    return models


IMAGE_MODELS: dict[str, ModelConfig] = _named_image_models()
TEXT_MODELS: dict[str, TextConfig] = _named_text_models()
MODELS: dict[str, ModelConfig | TextConfig] = {**IMAGE_MODELS, **TEXT_MODELS}
