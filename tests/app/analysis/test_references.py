"""Results of others: to which runs they are comparable, and whether they are those of their tables."""

import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from app.analysis.comparison import compare
from app.analysis.references import reference_results
from cct.named_models import MODELS
from cct.published import PUBLISHED as WEIGHTS
from cct.spec import RunSpec
from tests.app.analysis.test_comparison import run

CHECKOUT = os.environ.get("CCTBOARD_REFERENCE", "")
"""A folder with SHI-Labs/Compact-Transformers."""


def _others_of(spec: dict[str, Any]) -> tuple[set[float | None], dict[float | None, str]]:
    """The best results that are comparable to a run of this spec, and by result why others are not."""
    comparison = compare([run("seqpool", 0, 88.0, spec=asdict(RunSpec.given(spec)) | {"pooling": "seqpool"})])
    return (
        {reference.best for reference in comparison.references},
        {reference.best: reference.why_not for reference in comparison.other_references},
    )


def test_results_of_others_are_comparable_by_the_same_recipe_alone() -> None:
    for changed, said in (
        ({"lr": 0.001}, "lr is 0.0005, here 0.001"),
        ({"pretrained": "weights.pth"}, "pretrained is none, here weights.pth"),
        (
            {"class_weights": "balanced", "val_share": 0.1},
            "class_weights is none, here balanced; val_share is 0.0, here 0.1",
        ),
        ({"recipe": "paper-cifar-300", "epochs": 200, "mixup_off_epoch": 0}, "recipe is bare-200, here own"),
    ):
        comparable, others = _others_of(changed)
        assert (comparable, others[89.17]) == (set(), f"Not comparable: {said}.")
    large = {"model": "cct_7_3x1_32"}
    comparable, others = _others_of(large)
    assert comparable == set()
    assert others[94.78] == "Not comparable: batch_size is 64, here 128; warmup_epochs is 10, here 5."
    assert others[96.53] == "Not comparable: epochs is 310, here 200; recipe is paper-cifar-300, here bare-200."
    assert _others_of(large | {"batch_size": 64, "warmup_epochs": 10})[0] == {94.78}
    assert _others_of(large | {"recipe": "paper-cifar-300"})[0] == {96.53}
    assert _others_of({"model": "cct_7_3x1_32_c100", "dataset": "cifar100", "recipe": "paper-cifar-300"})[0] == {80.92}
    _, texts = _others_of({"model": "text_cct_2", "dataset": "trec"})
    assert texts[91.0] == "Not comparable: how it was trained is not told."
    _, flowers = _others_of({"model": "cct_7_7x2_224_sine", "dataset": "flowers102", "recipe": "paper-flowers-300"})
    assert flowers[97.19].endswith("which of its images were for training and which for validation is not told.")


def test_results_of_others_say_how_they_were_chosen() -> None:
    assert {one.said for one in reference_results() if one.best in (84.61, 89.17, 96.53)} == {
        "89.17 % by the weights cct2-3x2_cifar10",
        "96.53 % by the weights cct_7_3x1_32_cifar10_300epochs",
        "final 84.56 %, best 84.61 % (one run)",
        "best 89.17 % (best of 4 runs)",
        "best 96.53 % (of how many runs is not told)",
    }


@pytest.mark.skipif(not CHECKOUT, reason="CCTBOARD_REFERENCE names no checkout of SHI-Labs/Compact-Transformers")
def test_results_of_others_are_those_of_their_tables() -> None:
    known = {
        (one.source.partition(",")[2].split(",")[0].strip(), one.model, one.dataset, one.epochs): one
        for one in PUBLISHED
    }
    read = 0
    for cells in _rows("examples/README.md", 6):
        family, (kind, epochs, *top1) = cells[0], cells[1:5]
        depth, kernel = kind.split("/")
        name = f"{family.split('-')[0].lower()}_{depth}_{kernel}_32"
        for dataset, value in zip(("cifar10", "cifar100"), top1, strict=True):
            one = known.pop(("examples/README.md", name, dataset, int(epochs)))
            assert (one.final, one.best, one.runs, one.recipe) == (None, float(value.rstrip("%")), 4, "bare-200")
            read += 1
    assert read == 22
    for model, kernel, *top1, _ in _rows("nlp/README.md", 4):
        name = f"text_{model.lower().replace('-', '_')}" + ("" if kernel == "4" else f" with kernels of {kernel}")
        for dataset, value in zip(("ag_news", "trec"), top1, strict=True):
            assert known.pop(("nlp/README.md", name, dataset, None)).best == float(value.rstrip("%"))
    readme = (Path(CHECKOUT) / "README.md").read_text(encoding="utf-8")
    for (file, *_), one in known.items():
        assert (file, one.final, f">{one.best:.2f}%<" in readme) == ("README.md", None, True)
        at = readme.index(f">{one.best:.2f}%<")
        assert one.dataset.removesuffix("102") in readme[:at].rsplit("href=", 1)[1], "the name of its checkpoint"
    assert len(known) == 10


@pytest.mark.skipif(not CHECKOUT, reason="CCTBOARD_REFERENCE names no checkout of SHI-Labs/Compact-Transformers")
def test_published_weights_are_those_that_the_reference_links() -> None:
    for weights in WEIGHTS.values():
        page = (Path(CHECKOUT) / weights.source.split(", ")[1]).read_text(encoding="utf-8")
        assert f'<a href="{weights.address}">{weights.top1:.2f}%</a>' in page
        assert weights.model in MODELS
        assert weights.dataset in weights.name
    linked = [(Path(CHECKOUT) / page).read_text(encoding="utf-8") for page in ("README.md", "examples/README.md")]
    assert len(WEIGHTS) == sum(len(re.findall(r'href="[^"]*\.pth[^"]*"', page)) for page in linked) == 32


PUBLISHED = [one for one in reference_results() if one.label == "published"]


def _rows(file: str, cells: int) -> list[list[str]]:
    """The rows of a page's table, which have so many cells beside the first, that may stand for several rows."""
    found, first = [], ""
    for row in re.findall("<tr>(.*?)</tr>", (Path(CHECKOUT) / file).read_text(encoding="utf-8"), re.S):
        texts = [re.sub("<[^>]*>", "", cell).strip() for cell in re.findall("<td[^>]*>(.*?)</td>", row, re.S)]
        if len(texts) > cells:
            first = texts.pop(0)
        if re.match(r"\d", texts[0]):
            found.append([first, *texts])
    return found
