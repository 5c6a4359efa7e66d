"""What can be trained: model variants, datasets and the spec of a run. Standard library only, never torch.

A hyperparameter is declared once, as a field of `RunSpec`: its default reproduces the reference recipe, its metadata
(description, range, choices) becomes the API's schema, the form of the dashboard and the messages of this module.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from cct.catalog import poolings

Tokenizer = Literal["conv", "patch"]
TextTokenizer = Literal["conv", "patch", "none"]
PositionalEmbedding = Literal["learnable", "sine", "none"]

TEXT_LENGTH = 64
"""Words that are read of a text."""


class SpecError(ValueError):
    """A spec that cannot be trained: which field is wrong and what to change."""

    def __init__(self, field_name: str, message: str) -> None:
        super().__init__(f"{field_name}: {message}")
        self.field = field_name
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """What all models share (Hassani et al. 2021, "Escaping the Big Data Paradigm")."""

    num_classes: int
    kernel_size: int
    """Of a convolution, or a patch: its side in pixels, or its length in words."""
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
        """Of the tokenizer's convolutions, in pixels; patches do not overlap."""
        return self.kernel_size if self.tokenizer == "patch" else max(1, self.kernel_size // 2 - 1)

    @property
    def padding(self) -> int:
        """Of the tokenizer's convolutions, in pixels on each side."""
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
    """Of the word embedding."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """A dataset as the board knows it: images, or texts. Sizes are numbers of them."""

    title: str
    num_classes: int | None = None
    """None, as the other sizes, where it is known only when the files are read."""
    train_size: int | None = None
    test_size: int | None = None
    image_size: int | None = None
    """Side in pixels; None for texts, and for images of all sizes, which become as large as the model's."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """Mean and standard deviation per channel of pixels scaled to 0..1."""
    vocabulary_size: int = 0
    """Most frequent words of the training texts that models know, padding and the unknown word included."""
    bundled: bool = False
    class_names: tuple[str, ...] = ()
    """In the order of the labels; empty where classes are known by their numbers, or when the files are read."""

    @property
    def has_texts(self) -> bool:
        return self.vocabulary_size > 0


_CIFAR100_CLASSES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard "
    "lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear "
    "pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal "
    "shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank "
    "telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)

_FLOWERS = (
    "pink primrose,hard-leaved pocket orchid,canterbury bells,sweet pea,english marigold,tiger lily,moon orchid,"
    "bird of paradise,monkshood,globe thistle,snapdragon,colt's foot,king protea,spear thistle,yellow iris,"
    "globe-flower,purple coneflower,peruvian lily,balloon flower,giant white arum lily,fire lily,pincushion flower,"
    "fritillary,red ginger,grape hyacinth,corn poppy,prince of wales feathers,stemless gentian,artichoke,"
    "sweet william,carnation,garden phlox,love in the mist,mexican aster,alpine sea holly,ruby-lipped cattleya,"
    "cape flower,great masterwort,siam tulip,lenten rose,barbeton daisy,daffodil,sword lily,poinsettia,"
    "bolero deep blue,wallflower,marigold,buttercup,oxeye daisy,common dandelion,petunia,wild pansy,primula,"
    "sunflower,pelargonium,bishop of llandaff,gaura,geranium,orange dahlia,pink-yellow dahlia?,cautleya spicata,"
    "japanese anemone,black-eyed susan,silverbush,californian poppy,osteospermum,spring crocus,bearded iris,"
    "windflower,tree poppy,gazania,azalea,water lily,rose,thorn apple,morning glory,passion flower,lotus,toad lily,"
    "anthurium,frangipani,clematis,hibiscus,columbine,desert-rose,tree mallow,magnolia,cyclamen,watercress,"
    "canna lily,hippeastrum,bee balm,ball moss,foxglove,bougainvillea,camellia,mallow,mexican petunia,bromelia,"
    "blanket flower,trumpet creeper,blackberry lily"
)

DATASETS: dict[str, DatasetInfo] = {
    "ag_news": DatasetInfo(
        title="AG News (texts)",
        num_classes=4,
        train_size=120_000,
        test_size=7_600,
        vocabulary_size=20_000,
        class_names=("World", "Sports", "Business", "Sci/Tech"),
    ),
    "cifar10": DatasetInfo(
        title="CIFAR-10",
        num_classes=10,
        train_size=50_000,
        test_size=10_000,
        image_size=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
    "cifar100": DatasetInfo(
        title="CIFAR-100",
        num_classes=100,
        train_size=50_000,
        test_size=10_000,
        image_size=32,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        class_names=tuple(_CIFAR100_CLASSES.split()),
    ),
    "digits": DatasetInfo(
        title="Digits (scikit-learn, bundled)",
        num_classes=10,
        train_size=1_437,
        test_size=360,
        image_size=32,
        mean=(0.3057,) * 3,
        std=(0.3238,) * 3,
        class_names=tuple("0123456789"),
        bundled=True,
    ),
    "fashion_mnist": DatasetInfo(
        title="Fashion-MNIST",
        num_classes=10,
        train_size=60_000,
        test_size=10_000,
        image_size=32,
        mean=(0.2190,) * 3,
        std=(0.3318,) * 3,
        class_names=(
            *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ),
    ),
    "flowers102": DatasetInfo(
        title="Oxford 102 Flower",
        num_classes=102,
        train_size=2_040,
        test_size=6_149,
        mean=(0.4353, 0.3773, 0.2872),
        std=(0.2966, 0.2455, 0.2698),
        class_names=tuple(_FLOWERS.split(",")),
    ),
    "image_folder": DatasetInfo(
        title="Images of your own, in a folder per class",
        mean=(0.485, 0.456, 0.406),  # ImageNet's
        std=(0.229, 0.224, 0.225),
    ),
    "mnist": DatasetInfo(
        title="MNIST",
        num_classes=10,
        train_size=60_000,
        test_size=10_000,
        image_size=32,
        mean=(0.1000,) * 3,
        std=(0.2752,) * 3,
        class_names=tuple("0123456789"),
    ),
    "trec": DatasetInfo(
        title="TREC (texts)",
        num_classes=6,
        train_size=5_452,
        test_size=500,
        vocabulary_size=8_000,
        class_names=("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"),
    ),
}

BETWEEN_CLASSES = " / "
"""Stands between the names of classes, which are those of folders, in the provenance of a run on an image folder."""

CODE_OF = "code of "
"""Stands before a pooling's name in the provenance of its runs, where it names the checksum of the pooling's code."""

AUGMENTATIONS: dict[str, str] = {
    "autoaugment": "AutoAugment (CIFAR-10 policy), random crop, horizontal flip: the reference recipe",
    "crop_flip": "random crop and horizontal flip",
    "crop": "random crop (for digits and letters, which a flip would change)",
    "none": "none",
}


PRECISIONS = ("auto", "fp32", "bf16")
COMPILE = ("auto", "off", "graph", "on")


def _parameter(
    default: Any, description: str, *, ge: float | None = None, gt: float | None = None, le: float | None = None
) -> Any:
    return field(default=default, metadata={"description": description, "ge": ge, "gt": gt, "le": le})


def _choice(default: str, description: str, choices: tuple[str, ...]) -> Any:
    return field(default=default, metadata={"description": description, "choices": choices})


def _text(default: str, description: str) -> Any:
    return field(default=default, metadata={"description": description, "max_length": 500})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One training of one model with one seed. The defaults are the reference's bare-minimum recipe on CIFAR-10.

    Raises `SpecError`, which names the field, if the spec cannot be trained.
    """

    model: str = _choice("cct_2_3x2_32", "Named model variant", tuple(MODELS))
    pooling: str = _choice("auto", "Pooling step before the classifier; auto: the model's own", ("auto", *poolings()))
    dataset: str = _choice("cifar10", "Dataset to train and validate on", tuple(DATASETS))
    epochs: int = _parameter(200, "Passes over the training images or texts", ge=1, le=10_000)
    seed: int = _parameter(0, "Fixes initial weights, data order, augmentation and dropout", ge=0, le=2**31 - 1)
    batch_size: int = _parameter(128, "Images or texts per step", ge=1, le=65_536)
    lr: float = _parameter(5e-4, "Peak learning rate of AdamW", gt=0, le=10)
    weight_decay: float = _parameter(0.03, "Decoupled weight decay of AdamW", ge=0, le=10)
    warmup_epochs: int = _parameter(5, "Epochs before the cosine schedule starts", ge=0, le=10_000)
    label_smoothing: float = _parameter(0.1, "Share of the target spread over all classes", ge=0, le=0.99)
    dropout: float = _parameter(0.0, "Dropout of embeddings, projections and MLPs", ge=0, le=0.99)
    attention_dropout: float = _parameter(0.1, "Dropout of attention weights", ge=0, le=0.99)
    stochastic_depth: float = _parameter(0.1, "Skip probability of the last block, linear from 0", ge=0, le=0.99)
    precision: str = _choice("auto", "Arithmetic of the model; auto: bf16 where the hardware has it", PRECISIONS)
    compile: str = _choice(
        "auto",
        "How steps are executed; graph: recorded once and replayed (GPU); on: torch.compile; auto: the fastest",
        COMPILE,
    )
    augmentation: str = _choice("autoaugment", "What is done to training images, not to texts", tuple(AUGMENTATIONS))
    image_folder: str = _text("", "Dataset image_folder: a folder below image_folder/ of the datasets")
    pretrained: str = _text("", "Initial weights: a file's path below pretrained/ of the datasets, or an https address")
    word_vectors: str = _text("", "Text models: a GloVe file below word_vectors/ of the datasets; empty: learned")

    def __post_init__(self) -> None:
        for spec_field in fields(self):
            _check(spec_field.name, getattr(self, spec_field.name), spec_field.type, spec_field.metadata)
        if self.pooling == "auto":
            object.__setattr__(self, "pooling", MODELS[self.model].pooling)
        _check_path("pretrained", self.pretrained)
        _check_path("word_vectors", self.word_vectors)
        _check_path("image_folder", self.image_folder)
        dataset = DATASETS[self.dataset]
        self._check_kind()
        if dataset.train_size is not None and self.batch_size > dataset.train_size:
            raise SpecError(
                "batch_size",
                f"{self.batch_size} is larger than the training split of {self.dataset}, {dataset.train_size}; "
                f"use at most {dataset.train_size}",
            )

    def _check_kind(self) -> None:
        """The model must read what the dataset has, images or texts."""
        texts = [name for name, info in DATASETS.items() if info.has_texts]
        if self.dataset in texts and self.model in IMAGE_MODELS:
            choices = ", ".join(TEXT_MODELS)
            raise SpecError("model", f"{self.model} reads images, {self.dataset} has texts; choose one of {choices}")
        if self.dataset not in texts and self.model in TEXT_MODELS:
            choices = ", ".join(texts)
            raise SpecError("dataset", f"{self.dataset} has images, {self.model} reads texts; choose one of {choices}")
        if self.dataset in texts:
            object.__setattr__(self, "augmentation", "none")
        elif self.word_vectors:
            raise SpecError("word_vectors", f"is for text models; leave it empty for {self.model}")
        if self.dataset == "image_folder" and not self.image_folder:
            raise SpecError("image_folder", "is missing; name a folder below image_folder/ of the datasets")
        if self.image_folder and self.dataset != "image_folder":
            raise SpecError("image_folder", f"is for the dataset image_folder; leave it empty for {self.dataset}")

    @property
    def source(self) -> str:
        """The dataset by a name that tells image folders apart, for example `image_folder/birds`."""
        return f"{self.dataset}/{self.image_folder}" if self.image_folder else self.dataset

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> "RunSpec":
        """A spec accepted earlier, perhaps by another version: not checked again, so that old runs stay readable."""
        spec = object.__new__(cls)
        for spec_field in fields(cls):
            object.__setattr__(spec, spec_field.name, values.get(spec_field.name, spec_field.default))
        return spec


def _check(name: str, value: Any, kind: Any, limits: Any) -> None:
    if "choices" in limits:
        if value not in limits["choices"]:
            raise SpecError(name, f"{value!r} is unknown; choose one of {', '.join(limits['choices'])}")
        return
    if kind is str:
        if not isinstance(value, str) or len(value) > limits["max_length"]:
            raise SpecError(name, f"{value!r} is not a text of at most {limits['max_length']} characters")
        return
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise SpecError(name, f"{value!r} is not {'an integer' if kind is int else 'a number'}")
    ge, gt, le = limits["ge"], limits["gt"], limits["le"]
    if (
        (ge is not None and not value >= ge)
        or (gt is not None and not value > gt)
        or (le is not None and not value <= le)
    ):
        lowest = f"at least {ge}" if ge is not None else f"above {gt}"
        raise SpecError(name, f"{value} is out of range; allowed: {lowest} and at most {le}")


def _check_path(name: str, value: str) -> None:
    """Specs arrive over the network: what they name is read below one folder and nowhere else."""
    if not value.isprintable() or "\\" in value:
        raise SpecError(name, f"{value!r} has characters that a path or an address should not have")
    if "://" in value and name == "pretrained":
        if not re.match(r"https://[\w.-]+(:\d+)?/", value):
            raise SpecError(name, f"{value!r} is not an https address; give https://… or the path of a file")
    elif value.startswith("/") or ".." in value.split("/"):
        raise SpecError(name, f"{value!r} leaves the folder {name}/; give a path relative to it, without ..")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What was measured at the end of one epoch. Losses in nats, top-k in percent."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    val_top5: float
    lr: float
    """Learning rate of the epoch."""
    seconds: float
    """Wall-clock time of training and validation."""
    images_per_second: float
    """Training images per second of training time, augmentation included, validation excluded."""
    peak_memory_bytes: int
    """Most memory in use: reserved on the GPU during the epoch, or resident in the process until its end on a CPU."""
    pooling_entropy: float | None = None
    """Entropy of the pooling weights in nats, mean over the validation images (and heads): 0 if one token decides, the
    logarithm of the number of tokens if all count alike. None for poolings without weights and in older records."""
