"""What a run is trained with. Standard library only, never torch.

A hyperparameter is declared once, as a field of `RunSpec`: its default reproduces the reference recipe, its metadata
(description, range, choices) becomes the API's schema, the form of the dashboard and the messages of this module.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args

from cct.architecture import ARCHITECTURE, changed, obstacle, own
from cct.catalog import poolings
from cct.misspelt import unknown
from cct.named_datasets import DATASETS
from cct.named_models import IMAGE_MODELS, MODELS, TEXT_MODELS, ModelConfig, PositionalEmbedding, TextConfig
from cct.own_poolings import UnusablePooling, full_name
from cct.published import PUBLISHED
from cct.recipes import DEFAULT_DATASET, OWN, RECIPES, filled, recipe_of

AUGMENTATIONS: dict[str, str] = {
    "autoaugment": "AutoAugment (CIFAR-10 policy), random crop, horizontal flip: the reference's short script",
    "randaugment": "random crop, horizontal flip, RandAugment (rand-m9-mstd0.5-inc1): its training script, by timm",
    "crop_flip": "random crop and horizontal flip",
    "crop": "random crop (for digits and letters, which a flip would change)",
    "none": "none",
}

FLIPS = ("autoaugment", "randaugment", "crop_flip")
"""Augmentations that mirror images."""

CLASS_WEIGHTS = ("none", "balanced")

SCHEDULES = ("bare", "timm")
DECAYED = ("all", "matrices")
_OF_TIMM = ("min_lr", "warmup_lr", "cooldown_epochs")
_OF_IMAGES: dict[str, float] = {"scale": 1, "mixup": 0, "cutmix": 0, "random_erasing": 0}
"""Fields that say what is done to images, and their values for nothing."""

PRECISIONS = ("auto", "fp32", "bf16")
COMPILE = ("auto", "off", "graph", "on", "fastest")


class SpecError(ValueError):
    """A spec that cannot be trained: which field is wrong and what to change."""

    def __init__(self, field_name: str, message: str) -> None:
        super().__init__(f"{field_name}: {message}")
        self.field = field_name
        self.message = message


def _parameter(
    default: Any, description: str, *, ge: float | None = None, gt: float | None = None, le: float | None = None
) -> Any:
    return field(default=default, metadata={"description": description, "ge": ge, "gt": gt, "le": le})


def _choice(default: str, description: str, choices: tuple[str, ...]) -> Any:
    return field(default=default, metadata={"description": description, "choices": choices})


def _architecture(description: str, most: int) -> Any:
    return _parameter(0, f"{description}; 0: the model's own", ge=0, le=most)


def _text(default: str, description: str, examples: Iterable[str] = ()) -> Any:
    metadata = {"description": description, "max_length": 500}
    return field(default=default, metadata=metadata | ({"examples": known} if (known := list(examples)) else {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One training of one model with one seed. The defaults are the reference's bare-minimum recipe on CIFAR-10.

    Raises `SpecError`, which names the field, if the spec cannot be trained.
    """

    model: str = _choice("cct_2_3x2_32", "Named model variant", tuple(MODELS))
    pooling: str = _text(
        "auto",
        "Pooling step before the classifier; auto: the model's own; an own one's name stands for its code as it is now",
        ("auto", *poolings()),
    )
    dataset: str = _choice(DEFAULT_DATASET, "Dataset to train and validate on", tuple(DATASETS))
    epochs: int = _parameter(
        200,
        "Passes over the training images or texts; 0: none, the pretrained weights are evaluated as they are",
        ge=0,
        le=10_000,
    )
    seed: int = _parameter(0, "Fixes initial weights, data order, augmentation and dropout", ge=0, le=2**31 - 1)
    recipe: str = _choice(
        "bare-200",
        "The reference's values of all other fields but model, pooling, dataset and seed, where none are given; own if "
        "they are not exactly a recipe's",
        (*RECIPES, OWN),
    )
    batch_size: int = _parameter(128, "Images or texts per step", ge=1, le=65_536)
    lr: float = _parameter(5e-4, "Peak learning rate of AdamW", gt=0, le=10)
    weight_decay: float = _parameter(0.03, "Decoupled weight decay of AdamW", ge=0, le=10)
    decayed: str = _choice(
        "all",
        "Weights that decay; matrices: not biases and normalisations, as by timm (reference: create_optimizer)",
        DECAYED,
    )
    schedule: str = _choice(
        "bare",
        "Learning rate by epoch; bare: the reference's short script's; timm: its training script's, a linear warm-up "
        "from warmup_lr, then a cosine to min_lr (reference: sched cosine)",
        SCHEDULES,
    )
    warmup_epochs: int = _parameter(5, "Epochs before the cosine schedule starts", ge=0, le=10_000)
    warmup_lr: float = _parameter(
        0.0, "Schedule timm: learning rate of the first epoch (reference: warmup_lr)", ge=0, le=10
    )
    min_lr: float = _parameter(
        0.0, "Schedule timm: lowest learning rate of the cosine (reference: min_lr)", ge=0, le=10
    )
    cooldown_epochs: int = _parameter(
        0,
        "Schedule timm: how many of the epochs, the last ones, stay at min_lr (reference: cooldown_epochs, which it "
        "adds to epochs)",
        ge=0,
        le=10_000,
    )
    clip_grad: float = _parameter(
        0.0,
        "Largest norm of the gradient, to which a larger one is scaled; 0: none (reference: clip_grad)",
        ge=0,
        le=1e6,
    )
    ema_decay: float = _parameter(
        0.0,
        "Decay per step of the moving average of weights that is validated and kept instead of these; 0: none, as in "
        "the paper (reference: model_ema_decay)",
        ge=0,
        le=0.999999,
    )
    label_smoothing: float = _parameter(0.1, "Share of the target spread over all classes", ge=0, le=0.99)
    dropout: float = _parameter(0.0, "Dropout of embeddings, projections and MLPs", ge=0, le=0.99)
    attention_dropout: float = _parameter(0.1, "Dropout of attention weights", ge=0, le=0.99)
    stochastic_depth: float = _parameter(0.1, "Skip probability of the last block, linear from 0", ge=0, le=0.99)
    depth: int = _architecture("Blocks of the encoder", 64)
    heads: int = _architecture("Heads of its attention, which share out the channels", 64)
    embed_dim: int = _architecture("Channels of a token", 4_096)
    mlp_ratio: int = _architecture("Width of a block's MLP in channels, as a multiple of embed_dim", 16)
    kernel_size: int = _architecture(
        "Side of the tokenizer's convolutions or of a patch, in pixels; for texts its length in words", 64
    )
    conv_layers: int = _architecture("Convolutions of CCT's tokenizer, each with a max-pooling", 8)
    positional_embedding: str = _choice(
        "auto", "What tells tokens their places; auto: the model's own", ("auto", *get_args(PositionalEmbedding))
    )
    image_size: int = _architecture(
        "Side of the images that the model takes, in pixels, to which smaller ones are enlarged", 1_024
    )
    precision: str = _choice("auto", "Arithmetic of the model; auto: bf16 where the hardware has it", PRECISIONS)
    compile: str = _choice(
        "auto",
        "How steps are executed; off: one operation after the other; graph: recorded once and replayed (GPU); on: by "
        "torch.compile, on a GPU recorded too; auto: graph where that works, else off; fastest: by the quickest "
        "of all, found by trial (GPU)",
        COMPILE,
    )
    augmentation: str = _choice(
        "auto",
        "What is done to training images, not to texts; auto: the dataset's own, crop for digits, else autoaugment",
        ("auto", *AUGMENTATIONS),
    )
    scale: float = _parameter(
        1.0,
        "Smallest share of an image's area in a random resized crop, which then replaces the random crop; 1: none "
        "(reference: scale, up to 1)",
        gt=0,
        le=1,
    )
    mixup: float = _parameter(0.0, "Alpha of mixup's beta distribution; 0: none (reference: mixup)", ge=0, le=100)
    cutmix: float = _parameter(0.0, "Alpha of CutMix's beta distribution; 0: none (reference: cutmix)", ge=0, le=100)
    mixup_switch_prob: float = _parameter(
        0.5,
        "Probability of CutMix instead of mixup for a batch, if both are on (reference: mixup_switch_prob)",
        ge=0,
        le=1,
    )
    mixup_off_epoch: int = _parameter(
        0, "Epochs after which mixup and CutMix end; 0: never (reference: mixup_off_epoch)", ge=0, le=10_000
    )
    random_erasing: float = _parameter(
        0.0, "Probability that a box in an image becomes noise (reference: reprob, remode pixel)", ge=0, le=1
    )
    class_weights: str = _choice(
        "none", "Weights of the training loss; balanced: all classes count alike, however rare", CLASS_WEIGHTS
    )
    val_share: float = _parameter(
        0.0,
        "Share of the training images or texts that is held out to validate on, the same for all runs; the test set is "
        "then read once, when the run has ended. 0: validate on the official test set (or a folder's own validation "
        "images) after every epoch, as the reference does, so that its best epoch is optimistic",
        ge=0,
        le=0.9,
    )
    image_folder: str = _text("", "Dataset image_folder: a folder below image_folder/ of the datasets")
    pretrained: str = _text(
        "",
        "Initial weights: a file's path below pretrained/ of the datasets, an https address, which may end with "
        "#sha256=CHECKSUM, or the name of published weights",
        examples=PUBLISHED,
    )
    word_vectors: str = _text("", "Text models: a GloVe file below word_vectors/ of the datasets; empty: learned")

    def __post_init__(self) -> None:
        for spec_field in fields(self):
            _check(spec_field.name, getattr(self, spec_field.name), spec_field.type, spec_field.metadata)
        try:
            pooling = MODELS[self.model].pooling if self.pooling == "auto" else full_name(self.pooling)
        except UnusablePooling as error:
            raise SpecError("pooling", str(error)) from error
        object.__setattr__(self, "pooling", pooling)
        if self.augmentation == "auto":
            object.__setattr__(self, "augmentation", DATASETS[self.dataset].augmentation)
        _check_path("pretrained", self.pretrained)
        _check_path("word_vectors", self.word_vectors)
        _check_path("image_folder", self.image_folder)
        self._check_kind()
        self._settle_architecture()
        self._check_evaluation()
        self._check_recipe()
        self._name_recipe()
        train_size = DATASETS[self.dataset].train_size
        kept = train_size and int(train_size * (1 - self.val_share))
        if kept is not None and self.batch_size > kept:
            raise SpecError(
                "batch_size",
                f"{self.batch_size} is larger than the training split of {self.dataset}, {kept}; use at most {kept}",
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

    def _settle_architecture(self) -> None:
        """What is given as the model has it anyway counts as left out, so that equal models have equal specs."""
        for name, usual in ARCHITECTURE.items():
            if getattr(self, name) == own(self.model, name):
                object.__setattr__(self, name, usual)
        if found := obstacle(self.model, asdict(self), self.dataset):
            raise SpecError(*found)

    def _check_evaluation(self) -> None:
        if self.epochs:
            return
        if not self.pretrained:
            raise SpecError(
                "epochs", "is 0, which evaluates given weights; name them as pretrained, or train for at least 1"
            )
        if self.seed:
            raise SpecError("seed", "changes nothing where nothing is trained, with epochs 0; leave it at 0")

    @property
    def is_evaluation(self) -> bool:
        """Whether given weights are evaluated as they are."""
        return self.epochs == 0

    def _name_recipe(self) -> None:
        augmentation = DATASETS[self.dataset].augmentation if self.dataset in DATASETS else ""
        object.__setattr__(self, "recipe", recipe_of(asdict(self), augmentation))

    @classmethod
    def given(cls, values: Mapping[str, Any]) -> "RunSpec":
        """A spec of some fields: what is left out has the value of the recipe, if one is named, or its default.

        Raises `SpecError`.
        """
        return cls(**filled(values))

    def _check_recipe(self) -> None:
        """A field that would change nothing is a mistake."""
        if self.schedule != "timm":
            for name in _OF_TIMM:
                if getattr(self, name):
                    raise SpecError(name, f"is of schedule timm; set schedule to timm, or {name} to 0")
        if self.schedule == "timm" and self.cooldown_epochs >= self.epochs > 0:
            raise SpecError("cooldown_epochs", f"are among the epochs, which are {self.epochs}; give fewer")
        if self.min_lr > self.lr:
            raise SpecError("min_lr", f"is above lr, {self.lr:g}; give less")
        if DATASETS[self.dataset].has_texts:
            for name, off in _OF_IMAGES.items():
                if getattr(self, name) != off:
                    raise SpecError(name, f"is for images; set it to {off} for {self.dataset}")
        if self.class_weights != "none" and (self.mixup or self.cutmix):
            raise SpecError(
                "class_weights", "are of one class, which mixed images do not have; set mixup and cutmix to 0"
            )

    @property
    def config(self) -> ModelConfig | TextConfig:
        """The model's architecture; classes and vocabulary are those of the named model, not of the dataset."""
        return replace(
            changed(self.model, asdict(self)),
            pooling=self.pooling,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            stochastic_depth=self.stochastic_depth,
        )

    @property
    def architecture(self) -> str:
        """The model by a name that tells changed ones apart: `cct_2_3x2_32 (depth 4, heads 4)`."""
        values = {name: getattr(self, name) for name, usual in ARCHITECTURE.items() if getattr(self, name) != usual}
        changes = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
        return f"{self.model} ({changes})" if changes else self.model

    def value_of(self, name: str) -> Any:
        """The value of a field, and where that stands for the model's own, what the model has."""
        value = getattr(self, name)
        return own(self.model, name) if name in ARCHITECTURE and value == ARCHITECTURE[name] else value

    @property
    def source(self) -> str:
        """The dataset by a name that tells image folders and hold-outs apart: `image_folder/birds (val_share 0.2)`."""
        name = f"{self.dataset}/{self.image_folder}" if self.image_folder else self.dataset
        return f"{name} (val_share {self.val_share:g})" if self.val_share else name

    @property
    def validated_on(self) -> str:
        """What is called validation (`val_top1`, ...), in words."""
        if self.val_share:
            return f"{100 * self.val_share:g} % of the training set, held out"
        return "the folder's images beside train" if self.image_folder else "the official test set"

    def settled_to(self, **values: str) -> "RunSpec":
        """The spec with what `auto` stands for in some fields. It is not checked again."""
        return self.stored(asdict(self) | values)

    def with_epochs(self, epochs: int) -> "RunSpec":
        """The spec with another number of epochs. It is not checked again."""
        return self.stored(asdict(self) | {"epochs": epochs})

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> "RunSpec":
        """A spec accepted earlier, perhaps by another version: not checked again, so that old runs stay readable."""
        spec = object.__new__(cls)
        for spec_field in fields(cls):
            object.__setattr__(spec, spec_field.name, values.get(spec_field.name, spec_field.default))
        spec._name_recipe()
        return spec


def _check(name: str, value: Any, kind: Any, limits: Any) -> None:
    if "choices" in limits:
        if value not in limits["choices"]:
            raise SpecError(name, unknown(value, limits["choices"]))
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
        _, has_fragment, fragment = value.partition("#")
        if has_fragment and not re.fullmatch("sha256=[0-9a-f]{64}", fragment):
            raise SpecError(
                name, f"#{fragment} is no checksum; give #sha256= and its 64 digits 0-9 and a-f, or nothing"
            )
    elif value.startswith("/") or ".." in value.split("/"):
        raise SpecError(name, f"{value!r} leaves the folder {name}/; give a path relative to it, without ..")
