"""What the comparison says of stored runs, in numbers and in words."""

from dataclasses import asdict, fields
from typing import Any

import pytest

from app.analysis.compared import Comparison, VariantComparison
from app.analysis.comparison import compare
from app.analysis.fairness import Setting
from app.errors import Invalid
from app.store.rows import Run, State
from cct.architecture import ARCHITECTURE
from cct.spec import RunSpec

PROVENANCE = {
    "torch": "2.11.0",
    "device": "CPU, 2 threads",
    "precision": "fp32",
    "compile": "off",
    "dataset_sha256": "ab",
}


def run(pooling: str, seed: int, top1: float | None = None, spec: dict[str, Any] | None = None, **facts: Any) -> Run:
    """Completed with the result or, without one, waiting."""
    given: dict[str, Any] = {"pooling": pooling, "seed": seed} | (spec or {})
    values = asdict(RunSpec(**given))
    row: dict[str, Any] = {
        "id": "-".join(map(str, (pooling, seed, *(spec or {}).values()))),
        "created_at": "0",
        "spec": values,
        "state": State.queued,
    }
    if top1 is not None:
        done = {"state": State.completed, "epoch": values["epochs"], "seconds": 60, "mixes_batch": False}
        row |= done | {"best_top1": top1 + 0.1, "final_top1": top1, "device": "CPU", "provenance": PROVENANCE}
    return Run.model_validate(row | facts)


def runs(**top1: list[float]) -> list[Run]:
    """Completed runs by pooling, with seeds from 0."""
    return [run(pooling, seed, value) for pooling, values in top1.items() for seed, value in enumerate(values)]


def row(comparison: Comparison, variant: str) -> VariantComparison:
    [found] = [found for found in comparison.variants if found.variant == variant]
    return found


BASELINE = [88.1, 88.4, 87.9, 88.6, 88.0]
WORSE = [86.9, 86.8, 86.5, 87.0, 86.8]


def test_a_clear_difference_is_claimed() -> None:
    comparison = compare(runs(seqpool=BASELINE, seqpool_softmax_tokens=WORSE))
    found = row(comparison, "seqpool_softmax_tokens")
    assert found.verdict == "seqpool_softmax_tokens is worse than seqpool by 1.4 points (95 % CI 1.2 to 1.6, 5 seeds)"
    assert (found.outcome, found.provisional) == ("worse", False)
    assert found.difference
    assert found.difference.p_sign_flip == 0.0625
    assert comparison.answer == "Worse than seqpool: seqpool_softmax_tokens by 1.4 points."
    assert (row(comparison, "seqpool").verdict, row(comparison, "seqpool").outcome) == ("the baseline", None)
    assert comparison.fairness == []
    other = compare(runs(seqpool=BASELINE, seqpool_softmax_tokens=WORSE), baseline="seqpool_softmax_tokens")
    assert (
        row(other, "seqpool").verdict
        == "seqpool is better than seqpool_softmax_tokens by 1.4 points (95 % CI 1.2 to 1.6, 5 seeds)"
    )


@pytest.mark.parametrize(
    ("top1", "verdict"),
    [
        ([], "cannot tell: no completed run of mean"),
        ([88.35], "cannot tell: one seed (0.25 points)"),
        (
            [88.3, 88.1, 88.2],
            "cannot tell yet: 3 seeds (0.1 points, 95 % CI -0.7 to 0.9), roughly 9 more to resolve 0.3 points",
        ),
        ([89.1, 89.4], "cannot tell yet: 2 seeds (1.00 points on each), roughly 4 more to resolve 1.0 points"),
        (BASELINE, "mean gives the very results of seqpool (5 seeds)"),
        (
            [88.1, 88.5, 87.9, 88.5, 88.0],
            "mean is like seqpool: a difference of 0.3 points or more is unlikely "
            "(0.00 points, 95 % CI -0.09 to 0.09, 5 seeds)",
        ),
    ],
)
def test_what_cannot_be_claimed_is_said(top1: list[float], verdict: str) -> None:
    waiting = [] if top1 else [run("mean", 0, state=State.failed)]
    found = row(compare(runs(seqpool=BASELINE, mean=top1) + waiting), "mean")
    assert found.verdict == verdict
    assert found.outcome == ("alike" if verdict.startswith("mean") else "unclear")


def test_without_common_seeds_nothing_is_compared() -> None:
    found = row(compare([run("seqpool", 0, 88.0), run("mean", 1, 80.0)]), "mean")
    assert found.difference is None
    assert found.verdict == "cannot tell: no seed was completed by both mean and seqpool"


@pytest.mark.parametrize(("pooling", "concerned"), [("mean", ["mean"]), ("seqpool", ["seqpool", "mean", "max"])])
def test_a_look_before_the_end_is_provisional(pooling: str, concerned: list[str]) -> None:
    waiting = run(pooling, 5)
    comparison = compare([*runs(seqpool=BASELINE, mean=WORSE, max=WORSE), waiting])
    assert [found.variant for found in comparison.variants if found.provisional] == concerned
    assert row(comparison, "mean").verdict.startswith("so far, mean is worse than seqpool by 1.4 points")
    assert comparison.answer.endswith("Some runs are unfinished, so this may change.")
    failed = waiting.model_copy(update={"state": State.failed})
    assert not any(found.provisional for found in compare([*runs(seqpool=BASELINE, mean=WORSE), failed]).variants)


def test_a_variant_that_mixes_the_batch_is_marked() -> None:
    mixing = [run("mean", seed, top1, mixes_batch=True) for seed, top1 in enumerate(WORSE)]
    found = row(compare([*runs(seqpool=BASELINE), *mixing]), "mean")
    assert found.mixes_batch
    assert found.verdict.endswith("; its output for an image depends on the other images of the batch")


def test_runs_of_one_seed_count_once() -> None:
    twice = [run("seqpool", 0, 88.0), run("seqpool", 0, 90.0, id="again"), run("mean", 0, 80.0)]
    comparison = compare(twice)
    assert (row(comparison, "seqpool").runs, row(comparison, "seqpool").seeds) == (2, 1)
    difference = row(comparison, "mean").difference
    assert difference
    assert (difference.mean, difference.n) == (-9.0, 1)


NOT_ALONE = ("seed", "pooling", "word_vectors", "image_folder", "recipe")
OTHERS = [field.name for field in fields(RunSpec) if field.name not in NOT_ALONE]
"""Fields that may differ between two runs on images, without seed and variant."""


@pytest.mark.parametrize("name", OTHERS)
def test_each_field_of_the_spec_must_agree(name: str) -> None:
    another: dict[str, Any] = {
        "model": "cct_4_3x2_32",
        "dataset": "cifar100",
        "precision": "bf16",
        "augmentation": "none",
    }
    another |= {"pretrained": "weights.pth", "compile": "on", "class_weights": "balanced"}
    another |= {"decayed": "matrices", "schedule": "timm", "min_lr": 1e-4, "scale": 0.5}
    another |= {"depth": 4, "heads": 4, "embed_dim": 64, "mlp_ratio": 2, "kernel_size": 5, "conv_layers": 1}
    another |= {"positional_embedding": "sine", "image_size": 64}
    shared = {"schedule": "timm"} if name in ("warmup_lr", "min_lr", "cooldown_epochs") else {}
    default = getattr(RunSpec(), name)
    value = another[name] if name in another else default + (1 if isinstance(default, int) else 0.001)
    used = PROVENANCE | ({name: value} if name in PROVENANCE else {})
    usual = run("seqpool", 0, 88.0, spec=shared)
    unequal = run("mean", 0, 80.0, spec=shared | {name: value}, provenance=used)
    comparison = compare([usual, unequal])
    [inequality] = comparison.fairness
    assert inequality.field == name
    own = "the model's own" if name in ARCHITECTURE else "none"
    assert inequality.settings == [
        Setting(PROVENANCE.get(name, str(default) if name not in ARCHITECTURE else "") or own, ["seqpool"], [usual.id]),
        Setting(str(value), ["mean"], [unequal.id]),
    ]
    assert comparison.answer.endswith(f"The runs differ in {name} too, which may be the cause.")


def test_the_circumstances_of_training_must_agree() -> None:
    compared = [
        run("seqpool", 0, 88.0),
        run("mean", 0, 80.0, provenance=PROVENANCE | {"torch": "2.12.0", "cctboard": "0.2.0"}),
        run("mean", 1, 80.0, provenance=None),
        run("max", 0),  # nothing is known of it yet
        run("max", 1, 50.0, state=State.failed, provenance={"torch": "1.0"}),  # it counts for nothing
    ]
    found = {inequality.field: inequality.settings for inequality in compare(compared).fairness}
    assert {name: [setting.value for setting in settings] for name, settings in found.items()} == {
        "torch": ["2.11.0", "2.12.0", "not recorded"],
        "device": ["CPU, 2 threads", "CPU"],
        "precision": ["fp32", "not recorded"],
        "compile": ["off", "not recorded"],
        "dataset_sha256": ["ab", "not recorded"],
        "cctboard": ["not recorded", "0.2.0"],
    }
    assert found["torch"][2] == Setting("not recorded", ["mean"], ["mean-1"])


def test_a_pooling_whose_code_was_changed_between_its_runs_is_told() -> None:
    def having(pooling: str, seed: int, code: str) -> Run:
        return run(pooling, seed, 80.0, provenance=PROVENANCE | {f"code of {pooling}": code})

    with_code = [having("seqpool", 0, "aa"), having("seqpool", 1, "aa"), having("mean", 0, "bb")]
    assert compare(with_code).fairness == [], "of course variants have other code"
    assert compare([*with_code, run("mean", 1, 80.0)]).fairness == [], "of an older version of the board"
    [inequality] = compare([*with_code, having("mean", 1, "cc")]).fairness
    assert inequality.field == "code of mean"
    assert [(setting.value, setting.runs) for setting in inequality.settings] == [
        ("bb", ["mean-0"]),
        ("cc", ["mean-1"]),
    ]


def test_the_precision_is_the_one_that_was_used() -> None:
    auto = {"precision": "auto"}
    bf16 = PROVENANCE | {"precision": "bf16"}
    waiting, in_fp32 = run("mean", 1, spec=auto), run("mean", 0, 80.0, spec=auto)
    in_bf16 = run("mean", 2, 80.0, spec=auto, provenance=bf16)
    assert compare([run("seqpool", 0, 88.0), in_fp32, waiting]).fairness == []
    [inequality] = compare([run("seqpool", 0, 88.0), in_fp32, waiting, in_bf16]).fairness
    assert (inequality.field, [setting.value for setting in inequality.settings]) == ("precision", ["fp32", "bf16"])


def test_whether_steps_were_recorded_changes_no_result() -> None:
    recorded = run("mean", 0, 80.0, provenance=PROVENANCE | {"compile": "graph"})
    assert compare([run("seqpool", 0, 88.0), recorded]).fairness == []


def test_what_is_compared_is_no_inequality() -> None:
    by_lr = [run("seqpool", seed, 88.0 + seed, spec={"lr": lr}) for lr in (0.001, 0.002) for seed in (0, 1)]
    comparison = compare(by_lr, group="lr")
    assert comparison.fairness == []
    assert [found.variant for found in comparison.variants] == ["0.001", "0.002"]


def test_results_of_others_say_why_they_are_not_comparable() -> None:
    comparison = compare([run("seqpool", 0, 88.0, spec={"epochs": 100}), run("mean", 0)])
    assert {(reference.final, reference.best) for reference in comparison.references} == {
        (88.34, 88.34),
        (84.56, 84.61),
        (86.99, 87.1),
        (None, 89.17),
    }, "which was published as the best"
    reasons = {
        (reference.model, reference.dataset, reference.epochs): reference.why_not
        for reference in comparison.other_references
    }
    assert reasons["cct_2_3x2_32", "cifar100", 200] == "Not comparable: dataset is cifar100, here cifar10."
    assert reasons["vit_7_4_32", "cifar10", 200] == "Not comparable: model is vit_7_4_32, here cct_2_3x2_32."
    assert ("vit_7_4_32", "cifar100", 200) not in reasons
    on_digits = compare([run("seqpool", 0, 88.0, spec={"dataset": "digits", "epochs": 3})])
    assert on_digits.references == []
    assert {reference.why_not for reference in on_digits.other_references} == {
        "Not comparable: dataset is cifar10, here digits; epochs is 200, here 3.",
        "Not comparable: dataset is cifar100, here digits; epochs is 200, here 3.",
    }


def test_nothing_to_compare() -> None:
    empty = compare([])
    assert (empty.baseline, empty.answer, empty.variants, empty.fairness) == (None, "", [], [])
    alone = compare(runs(mean=WORSE))
    assert (alone.baseline, alone.answer) == ("mean", "")
    with pytest.raises(Invalid, match="median"):
        compare(runs(mean=WORSE), baseline="median")
    with pytest.raises(Invalid, match="seed"):
        compare(runs(mean=WORSE), group="seed")
    with pytest.raises(Invalid, match="twice"):
        compare(runs(mean=WORSE), group="lr,lr")
