"""Weights that the reference has published, by name. Standard library only, never torch.

From SHI-Labs/Compact-Transformers, whose pages link each top-1 to the weights that gave it. Its text models are left
out: their files do not say which words their vectors are of.
"""

from dataclasses import dataclass

_STRONG = "https://shi-labs.com/projects/cct/checkpoints"
_BARE = "https://github.com/SHI-Labs/Compact-Transformers/files"


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """Weights that somebody has published, and what they should give."""

    name: str
    address: str
    model: str
    dataset: str
    """ImageNet, `imagenet`, is no dataset of the board: it is an image folder here."""
    top1: float
    """Top-1 accuracy in percent, on the images that the dataset has for validation or test."""
    source: str


def _of(page: str, address: str, model: str, dataset: str, top1: float) -> PublishedWeights:
    name = address.rsplit("/", 1)[1].split(".pth")[0]
    return PublishedWeights(name, address, model, dataset, top1, f"SHI-Labs/Compact-Transformers, {page}")


_ALL = (
    *(
        _of("README.md", f"{_STRONG}/{file}.pth", model, dataset, top1)
        for file, model, dataset, top1 in (
            ("pretrained/cct_7_3x1_32_cifar10_300epochs", "cct_7_3x1_32", "cifar10", 96.53),
            ("pretrained/cct_7_3x1_32_cifar100_300epochs", "cct_7_3x1_32", "cifar100", 80.92),
            ("pretrained/cct_7_3x1_32_sine_cifar10_1500epochs", "cct_7_3x1_32_sine", "cifar10", 97.48),
            ("pretrained/cct_7_3x1_32_sine_cifar100_1500epochs", "cct_7_3x1_32_sine", "cifar100", 82.72),
            ("pretrained/cct_7_3x1_32_sine_cifar10_5000epochs", "cct_7_3x1_32_sine", "cifar10", 98.00),
            ("pretrained/cct_7_3x1_32_sine_cifar100_5000epochs", "cct_7_3x1_32_sine", "cifar100", 82.87),
            ("pretrained/cct_7_7x2_224_flowers102", "cct_7_7x2_224_sine", "flowers102", 97.19),
            ("finetuned/cct_14_7x2_384_flowers102", "cct_14_7x2_384", "flowers102", 99.76),
            ("pretrained/cct_14_7x2_224_imagenet", "cct_14_7x2_224", "imagenet", 80.67),
            ("finetuned/cct_14_7x2_384_imagenet", "cct_14_7x2_384", "imagenet", 82.71),
        )
    ),
    *(
        _of("examples/README.md", f"{_BARE}/{file}.pth.zip", model, dataset, top1)
        for file, model, dataset, top1 in (
            ("6666087/vitlite7-4_cifar10", "vit_7_4_32", "cifar10", 91.38),
            ("6666088/vitlite7-4_cifar100", "vit_7_4_32", "cifar100", 69.75),
            ("6666085/vitlite6-4_cifar10", "vit_6_4_32", "cifar10", 90.94),
            ("6666086/vitlite6-4_cifar100", "vit_6_4_32", "cifar100", 69.20),
            ("6666077/cvt7-4_cifar10", "cvt_7_4_32", "cifar10", 92.43),
            ("6666078/cvt7-4_cifar100", "cvt_7_4_32", "cifar100", 73.01),
            ("6666075/cvt6-4_cifar10", "cvt_6_4_32", "cifar10", 92.58),
            ("6666076/cvt6-4_cifar100", "cvt_6_4_32", "cifar100", 72.25),
            ("6666059/cct2-3x2_cifar10", "cct_2_3x2_32", "cifar10", 89.17),
            ("6666060/cct2-3x2_cifar100", "cct_2_3x2_32", "cifar100", 66.90),
            ("6666061/cct4-3x2_cifar10", "cct_4_3x2_32", "cifar10", 91.45),
            ("6666066/cct4-3x2_cifar100", "cct_4_3x2_32", "cifar100", 70.46),
            ("6658604/cct6-3x2_cifar10_best", "cct_6_3x2_32", "cifar10", 93.56),
            ("6658605/cct6-3x2_cifar100_best", "cct_6_3x2_32", "cifar100", 74.47),
            ("6657152/cct7-3x2_cifar10_best", "cct_7_3x2_32", "cifar10", 93.83),
            ("6657154/cct7-3x2_cifar100_best", "cct_7_3x2_32", "cifar100", 74.92),
            ("6644400/cct7-3x1_cifar10_best", "cct_7_3x1_32", "cifar10", 94.78),
            ("6657226/cct7-3x1_cifar100_best", "cct_7_3x1_32", "cifar100", 77.05),
            ("6657185/cct6-3x1_cifar10_best", "cct_6_3x1_32", "cifar10", 94.81),
            ("6657221/cct6-3x1_cifar100_best", "cct_6_3x1_32", "cifar100", 76.71),
            ("6730781/cct6-3x1_cifar10_500", "cct_6_3x1_32", "cifar10", 95.29),
            ("6730783/cct6-3x1_cifar100_500", "cct_6_3x1_32", "cifar100", 77.31),
        )
    ),
)

PUBLISHED: dict[str, PublishedWeights] = {one.name: one for one in _ALL}
