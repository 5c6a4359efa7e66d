"""Assembles ViT-Lite, CVT and CCT for images and for texts (Hassani et al. 2021).

State dicts have the reference's keys and shapes. (One exception: the reference's text models have a positional
embedding for one token more than there are, and cannot be run.)
"""

from dataclasses import replace
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cct.cost import count_tokens
from cct.encoder import Block
from cct.misspelt import unknown
from cct.named_datasets import DATASETS
from cct.named_models import MODELS, EncoderConfig, ModelConfig, PositionalEmbedding, TextConfig
from cct.own_poolings import UnusablePooling, full_name
from cct.pooling import pooling_class
from cct.seeds import seed_of
from cct.spec import RunSpec, SpecError
from cct.texts import PADDING
from cct.tokenizers import TextTokenizer, Tokenizer


class Classifier(nn.Module):
    """Positional embedding, encoder, pooling and linear head: tokens `(batch, tokens, channels)` to logits.

    With a mask, `(batch, tokens)`, tokens where it is false are padding and do not count.
    """

    def __init__(self, config: EncoderConfig, tokens: int) -> None:
        super().__init__()
        pooling = pooling_class(config.pooling)(config.embed_dim)
        self.class_emb: nn.Parameter | None = None
        self.positional_emb: nn.Parameter | None = None
        if getattr(pooling, "uses_class_token", False):
            tokens += 1
            self.class_emb = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        if config.positional_embedding == "learnable":
            self.positional_emb = nn.Parameter(torch.empty(1, tokens, config.embed_dim))
        elif config.positional_embedding == "sine":
            table = sinusoidal_embedding(tokens, config.embed_dim)
            self.positional_emb = nn.Parameter(table, requires_grad=False)
        self.attention_pool = pooling
        self.dropout = nn.Dropout(config.dropout)
        depths = torch.linspace(0, config.stochastic_depth, config.depth).tolist()
        self.blocks = nn.Sequential(*(Block(config, depth) for depth in depths))
        self.norm = nn.LayerNorm(config.embed_dim)
        self.fc = nn.Linear(config.embed_dim, config.num_classes)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.class_emb is not None:
            x = torch.cat([self.class_emb.expand(len(x), -1, -1), x], dim=1)
            mask = None if mask is None else F.pad(mask, (1, 0), value=True)
        if self.positional_emb is not None:
            x = x + self.positional_emb.to(x.dtype)  # else it would make all that follows float32 under autocast
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        pooled = self.attention_pool(x) if mask is None else self.attention_pool(x, mask)
        logits: Tensor = self.fc(pooled)
        return logits


class CompactTransformer(nn.Module):
    """Images `(batch, in_channels, image_size, image_size)`, normalised, to logits `(batch, num_classes)`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config)
        self.classifier = Classifier(config, count_tokens(config))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.tokenizer(images))
        return logits


class Embedder(nn.Module):
    """Turns words' numbers `(batch, words)` into their vectors `(batch, words, word_channels)`; zero where masked."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(config.vocabulary_size, config.word_channels, padding_idx=PADDING)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        vectors: Tensor = self.embeddings(words) * mask.unsqueeze(-1)
        return vectors


class TextTransformer(nn.Module):
    """Texts `(batch, words)`, as the numbers of their words, to logits `(batch, num_classes)`.

    What the mask `(batch, words)` says to be padding changes no result; by default it is what has the number `PADDING`.
    Texts of another length than the model's are padded or cut; each must have a valid word.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embedder = Embedder(config)
        self.tokenizer = TextTokenizer(config)
        self.classifier = Classifier(config, count_tokens(config))

    def forward(self, words: Tensor, mask: Tensor | None = None) -> Tensor:
        lacking = (0, self.config.text_length - words.shape[1])  # below zero it cuts
        words = F.pad(words, lacking, value=PADDING)
        mask = words != PADDING if mask is None else F.pad(mask, lacking, value=False)
        logits: Tensor = self.classifier(*self.tokenizer(self.embedder(words, mask), mask))
        return logits


Model = CompactTransformer | TextTransformer


def create_model(
    name: str,
    *,
    pooling: str | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    positional_embedding: PositionalEmbedding | None = None,
    dropout: float | None = None,
    attention_dropout: float | None = None,
    stochastic_depth: float | None = None,
    vocabulary_size: int | None = None,
    seed: int | None = None,
) -> Model:
    """A named model with fresh weights; what is None is as the name says. Raises `SpecError` for an unknown name.

    The image size is for models of images, the size of the vocabulary for models of texts.

    Models of the same seed start from the same weights wherever their shapes agree, whatever their pooling. Without a
    seed the weights depend on `torch.manual_seed`.
    """
    if name not in MODELS:
        raise SpecError("model", unknown(name, MODELS))
    changes: dict[str, Any] = {
        "pooling": pooling,
        "num_classes": num_classes,
        "image_size": image_size,
        "positional_embedding": positional_embedding,
        "dropout": dropout,
        "attention_dropout": attention_dropout,
        "stochastic_depth": stochastic_depth,
        "vocabulary_size": vocabulary_size,
    }
    return build(replace(MODELS[name], **{field: value for field, value in changes.items() if value is not None}), seed)


def model_of(spec: RunSpec, classes: int) -> Model:
    """The model of a spec for a dataset of so many classes, with fresh weights. Raises `SpecError`."""
    config = replace(spec.config, num_classes=classes)
    if isinstance(config, TextConfig):
        config = replace(config, vocabulary_size=DATASETS[spec.dataset].vocabulary_size)
    return build(config, spec.seed)


def build(config: ModelConfig | TextConfig, seed: int | None = None) -> Model:
    """The model that a configuration describes. Raises `SpecError` for an unknown pooling or positional embedding."""
    if (chosen := config.positional_embedding) not in (choices := get_args(PositionalEmbedding)):
        raise SpecError("positional_embedding", unknown(chosen, choices))
    try:
        config = replace(config, pooling=full_name(config.pooling))
        pooling_class(config.pooling)
    except UnusablePooling as error:
        raise SpecError("pooling", str(error)) from error
    model = TextTransformer(config) if isinstance(config, TextConfig) else CompactTransformer(config)
    initialise(model, int(torch.randint(2**31, ())) if seed is None else seed)
    return model


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Draws the reference's initial weights, each parameter from a random stream of its own name and the seed.

    Linear: truncated normal of SD 0.02 and zero bias; convolution: Kaiming normal; positional embedding: truncated
    normal of SD 0.2; norms: identity; words: normal of SD 1, padding zero.
    """
    for prefix, module in model.named_modules():
        random = torch.Generator().manual_seed(seed_of(seed, prefix))
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02, generator=random)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=random)
            if module.bias is not None:
                bound = module.weight[0].numel() ** -0.5
                nn.init.uniform_(module.bias, -bound, bound, generator=random)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=random)
            module.weight[PADDING] = 0
        elif (
            isinstance(module, Classifier) and module.positional_emb is not None and module.positional_emb.requires_grad
        ):
            nn.init.trunc_normal_(module.positional_emb, std=0.2, generator=random)


def sinusoidal_embedding(tokens: int, channels: int) -> Tensor:
    """`(1, tokens, channels)`: sines in even and cosines in odd channels (Vaswani et al. 2017, section 3.5)."""
    channel = torch.arange(channels)
    angles = torch.arange(tokens)[:, None] / 10_000 ** (2 * (channel // 2) / channels)
    return torch.where(channel % 2 == 0, angles.sin(), angles.cos()).unsqueeze(0)


def parameter_count(model: nn.Module) -> int:
    """Number of weights, fixed embeddings included, as the reference counts them."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def mixes_batch(model: Model) -> bool:
    """Whether the outputs for an image depend on its batch-mates in evaluation mode: a mistake in nearly all cases.

    Compares the same image beside two different companions, on noise, with the model's present weights. The same for
    texts.
    """
    config, device = model.config, next(model.parameters()).device
    random = torch.Generator().manual_seed(0)
    if isinstance(config, TextConfig):
        noise = torch.randint(PADDING + 1, config.vocabulary_size, (5, config.text_length), generator=random)
    else:
        noise = torch.randn(5, config.in_channels, config.image_size, config.image_size, generator=random)
    first, *others = noise.to(device)
    was_training = model.training
    model.eval()
    one = model(torch.stack([first, others[0], others[1]]))[0]
    two = model(torch.stack([first, others[2], others[3]]))[0]
    model.train(was_training)
    return not torch.allclose(one, two, rtol=1e-4, atol=1e-6)
