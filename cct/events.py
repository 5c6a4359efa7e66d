"""What training tells, as it happens. Standard library only, never torch."""

from dataclasses import dataclass

BETWEEN_CLASSES = " / "
"""Stands between the names of classes, which are those of folders, in the provenance of a run on an image folder."""

EXTENDED = "extended_after_epoch"
"""The provenance's entry of a run that went on where a finished one ended."""

CODE_OF = "code of "
"""Stands before a pooling's name in the provenance of its runs, where it names the checksum of the pooling's code."""


@dataclass(frozen=True, slots=True)
class Image:
    """One of the test images that the lens shows, as a browser takes it."""

    label: int
    url: str
    """A data URL of a PNG or JPEG file."""


@dataclass(frozen=True, slots=True)
class Text:
    """One of the test texts that the lens shows."""

    label: int
    words: list[str]
    """Those that the model is given, in lower case."""


@dataclass(frozen=True, slots=True)
class RunWarning:
    """A reason to doubt that a run's numbers mean what they seem to; it is trained nevertheless."""

    code: str
    """Short and stable, for programs."""
    text: str
    """A sentence for people."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a run before its first step."""

    device: str
    parameters: int
    mixes_batch: bool
    provenance: dict[str, str]
    """What the numbers depend on beside the spec: code, versions, device, precision, threads, checksums."""
    images: list[Image] | list[Text]
    """The test images or texts that each `Look` tells of."""
    warnings: list[RunWarning]
    """Those that are known before the first step; what is found later is told as an event of its own."""
    majority_share: float
    """Percent of the validation images or texts that are of the most frequent class: top-1 of who always answers it."""
    duplicates: int
    """Validation images (the same pixels) or texts (the same line) that are in the training set, too."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training is within an epoch."""

    epoch: int
    step: int
    steps: int
    seconds: float
    """Time since the epoch began."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a model makes of the images or texts of `Facts` at the end of one epoch; lists are by image or text."""

    epoch: int
    shares: list[list[float]]
    """The share of each token, row by row over the token grid, or of each word of a text; sums to 1."""
    entropy: list[float]
    """The entropy of the shares in nats: 0 if one token is all, the logarithm of their number if all are alike."""
    predicted: list[int]
    confidence: list[float]
    """Probability of the predicted class."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often test images of a class (rows) were taken for each class (columns) after an epoch (from 1)."""

    epoch: int
    counts: list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What was measured at the end of one epoch. Losses in nats, top-k in percent.

    Where given weights were evaluated, there is one record, of epoch 0, and what is measured by training is None in it.
    So is, in results of other programs, what they do not tell.
    """

    epoch: int
    """The number of the epoch, counted from 1."""
    train_loss: float | None
    train_top1: float | None
    val_loss: float | None
    val_top1: float
    val_top5: float | None
    lr: float | None
    """Learning rate of the epoch."""
    seconds: float
    """Wall-clock time of training and validation; 0 if it is not known."""
    images_per_second: float | None
    """Training images per second of training time, augmentation included, validation excluded."""
    peak_memory_bytes: int | None
    """Most memory in use: reserved on the GPU during the epoch, or resident in the process until its end on a CPU."""
    pooling_entropy: float | None = None
    """Entropy of the pooling weights in nats, mean over the validation images (and heads): 0 if one token decides, the
    logarithm of the number of tokens if all count alike. None for poolings without weights and in older records."""
    val_balanced: float | None = None
    """Balanced accuracy: the mean over classes of the share of their images that is recognised, in percent. It is 100
    divided by the number of classes for whoever does not look at the image. None in older records."""
    val_nll: float | None = None
    """Negative log-likelihood in nats, mean over the validation images; unlike `val_loss` without smoothed labels. None
    in older records."""
    val_ece: float | None = None
    """Expected calibration error from 0 to 1: by how much the probability of the likeliest class and the share of right
    answers differ, over 15 equal bins of that probability, weighted by images. None in older records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalTest:
    """What was measured on the test set of a run that holds training images or texts out: once, when it has ended, so
    that nothing was chosen by it. Top-1 in percent."""

    images: int
    """How many images or texts it has."""
    top1: float
    """After the last epoch."""
    best_epoch: int
    """The epoch with the highest top-1 on what is held out, counted from 1."""
    best_top1: float
    """After that epoch."""
    balanced: float
    """Balanced accuracy after the last epoch."""
    nll: float
    """Negative log-likelihood in nats after the last epoch, without smoothed labels."""
    ece: float
    """Expected calibration error after the last epoch, from 0 to 1."""
    sha256: str
    """A checksum of the test set, as the model reads it, and of its labels."""


Event = Facts | Progress | Look | Confusion | EpochRecord | FinalTest | RunWarning
