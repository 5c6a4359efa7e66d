"""Results of others, and which of them runs can be held against. Pure functions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from operator import attrgetter
from typing import Any

from app.store.rows import Run
from cct.named_datasets import DATASETS
from cct.named_models import MODELS
from cct.published import PUBLISHED
from cct.recipes import RECIPE_FIELDS, filled

_BESIDE_RECIPE: dict[str, Any] = {"class_weights": "none", "val_share": 0.0, "pretrained": "", "word_vectors": ""}
"""What a result depends on beside model, dataset and recipe, and how it is in most results of others."""

_OF_EVALUATIONS = ("pretrained", "val_share")
"""The fields beside model and dataset on which the result of an evaluation depends."""

CONDITIONS = ("architecture", "dataset", *RECIPE_FIELDS, *_BESIDE_RECIPE)
"""What of a spec must agree with those of a result of others."""

_SPLIT = "which of its images were for training and which for validation"

NAMED = 3
"""Settings that differ, at most, to be named one by one instead of by their recipes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceResult:
    """A result somebody published or reported for one model, pooling, dataset and recipe. Top-1 in percent."""

    model: str
    pooling: str
    dataset: str
    epochs: int | None = None
    """Those of cooldown count; null if not told; 0 for what published weights should give without training."""
    recipe: str = ""
    """The recipe's name; empty if not told."""
    changed: dict[str, Any] = field(default_factory=dict)
    """Fields of the spec whose values were others than the recipe's."""
    final: float | None = None
    """Top-1 after the last epoch; null if not told."""
    best: float | None = None
    """Top-1 of the best epoch; null if not told."""
    runs: int | None = None
    """The number is the best one of so many runs; null if not told."""
    not_told: str = ""
    """What must be known for a comparison and is not; empty if all is."""
    label: str
    source: str
    said: str
    """The numbers and how they were chosen, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherReference(ReferenceResult):
    """A result that the compared runs cannot be held against."""

    why_not: str
    """What differs, as a sentence."""


@cache
def reference_results() -> tuple[ReferenceResult, ...]:
    """All known results of others: those in `reference_results.json`, tables whose rows share label, source and more,
    and what published weights should give.
    """
    tables = json.loads(files("app.analysis").joinpath("reference_results.json").read_text(encoding="utf-8"))
    return (
        *(_result(shared | row) for shared, rows in tables for row in rows),
        *(
            ReferenceResult(
                model=weights.model,
                pooling=MODELS[weights.model].pooling,
                dataset=weights.dataset,
                epochs=0,
                changed={"pretrained": weights.name},
                final=weights.top1,
                best=weights.top1,
                not_told=_SPLIT if weights.dataset == "flowers102" else "",
                label="published weights",
                source=weights.source,
                said=f"{weights.top1:.2f} % by the weights {weights.name}",
            )
            for weights in PUBLISHED.values()
        ),
    )


def _result(row: Mapping[str, Any]) -> ReferenceResult:
    numbers = [f"{name} {row[name]:.2f} %" for name in ("final", "best") if name in row]
    chosen = "of how many runs is not told"
    if "runs" in row:
        chosen = "one run" if row["runs"] == 1 else f"best of {row['runs']} runs"
    return ReferenceResult(**row, said=f"{', '.join(numbers)} ({chosen})")


def matching_references(runs: Sequence[Run]) -> list[ReferenceResult]:
    """The reference results whose model, dataset, epochs and recipe are those of some run."""
    trained = _trained(runs)
    return [
        result
        for result in reference_results()
        if any(result.epochs == ours["epochs"] and not _differences(result, ours) for ours in trained)
    ]


def other_references(runs: Sequence[Run]) -> list[OtherReference]:
    """The reference results for the model or the dataset of some run that match none of the runs."""
    trained = _trained(runs)
    found = []
    for result in reference_results():
        akin = [
            ours
            for ours in trained
            if (result.epochs == 0) == (ours["epochs"] == 0)
            and (result.dataset == ours["dataset"] or _same_model(result, ours))
        ]
        if differing := [_differences(result, ours) for ours in akin]:
            fewest = min(differing, key=len)
            if fewest:
                found.append(OtherReference(**asdict(result), why_not=f"Not comparable: {'; '.join(fewest)}."))
    return found


def _trained(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """The conditions under which any of the runs is trained, and the recipe."""
    names = (*CONDITIONS, "recipe")
    return [dict(zip(names, values, strict=True)) for values in sorted({attrgetter(*names)(run.spec) for run in runs})]


def _same_model(result: ReferenceResult, ours: Mapping[str, Any]) -> bool:
    """Models for another number of classes have a name of their own, but the dataset decides on their classes."""
    return ours["architecture"] in (result.model, f"{result.model}_c100", f"{result.model}_fl")


def _differences(result: ReferenceResult, ours: Mapping[str, Any]) -> list[str]:
    """What the conditions of a result and of a run differ in, in words."""
    said = []
    if not _same_model(result, ours):
        said.append(f"model is {result.model}, here {ours['architecture']}")
    if result.dataset != ours["dataset"]:
        said.append(f"dataset is {result.dataset}, here {ours['dataset']}")
    if result.not_told:
        return [*said, f"{result.not_told} is not told"]
    if result.epochs != ours["epochs"]:
        said.append(f"epochs is {result.epochs}, here {ours['epochs']}")
    if result.epochs == 0:
        given = _BESIDE_RECIPE | result.changed
        return said + [
            f"{name} is {_shown(given[name])}, here {_shown(ours[name])}"
            for name in _OF_EVALUATIONS
            if given[name] != ours[name]
        ]
    theirs = _BESIDE_RECIPE | filled({"recipe": result.recipe, "dataset": ours["dataset"], **result.changed})
    if theirs["augmentation"] == "auto" and ours["dataset"] in DATASETS:
        theirs["augmentation"] = DATASETS[ours["dataset"]].augmentation
    differing = [name for name in (*RECIPE_FIELDS, *_BESIDE_RECIPE) if name != "epochs" and theirs[name] != ours[name]]
    if len(differing) > NAMED and result.recipe != ours["recipe"]:
        said.append(f"recipe is {result.recipe}, here {ours['recipe']}")
        differing = [name for name in differing if name in _BESIDE_RECIPE]
    return said + [f"{name} is {_shown(theirs[name])}, here {_shown(ours[name])}" for name in differing]


def _shown(value: Any) -> str:
    return "none" if value == "" else str(value)
