from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response

from app.analysis import figures
from app.analysis.blocks import blocks_of
from app.analysis.comparison import baseline_of, group_runs
from app.analysis.images import ByImage, Said, by_image
from app.errors import Conflict, Invalid
from app.settings import Settings
from app.store.rows import Run
from app.web.dependencies import SelectedRuns
from app.web.routes.confusion import Epoch, Variant
from app.web.routes.figures import Baseline, Figure, Group, sent
from cct.extension import ANSWERS

router = APIRouter(tags=["figures"])


@router.get("/figures/reliability", summary="Draw whether variants are as often right as they are sure", **Figure)
def draw_reliability(
    request: Request,
    runs: SelectedRuns,
    group: Group = "pooling",
    epoch: Epoch = "last",
    theme: figures.Theme = "light",
) -> Response:
    """A Plotly figure: by variant the share of right answers against their probability, over all validation images.

    Of completed runs that have `answers.npz` among their files.
    """
    found = {
        run_id: figures.Sureness(answers["confidence"], answers["correct"])
        for run_id, answers in _answers(request, runs, epoch).items()
    }
    return sent(figures.reliability(runs, found, group, theme))


@router.get("/images", summary="See which validation images make the difference")
def compare_by_image(
    request: Request,
    runs: SelectedRuns,
    group: Group = "pooling",
    variant: Variant = None,
    baseline: Baseline = None,
    epoch: Epoch = "last",
) -> ByImage:
    """Images that one variant gets right with all seeds and the other with none, over the seeds that both completed.

    And the difference in top-1 with its interval for other seeds and other images of the same kind: which images
    happen to be validated on is a chance that no number of seeds takes away. Needs `answers.npz` of the runs.
    """
    grouped = group_runs(runs, group)
    baseline = baseline_of(grouped, baseline)
    others = [name for name in grouped if name != baseline]
    if baseline is None or not others or (variant is not None and variant not in others):
        raise Invalid("variant", f"is compared with {baseline}; choose one of {', '.join(others) or 'two or more'}")
    variant = variant or others[0]
    blocks = blocks_of(grouped, group)
    if blocks.of([*grouped[variant], *grouped[baseline]]):
        both = ",".join([group, *blocks.fields])
        raise Invalid("group", f"leaves runs together that differ in {blocks.named}, too; use group={both}")
    answers = _answers(request, [*grouped[variant], *grouped[baseline]], epoch)
    sides = [{run.spec.seed: run.id for run in grouped[name] if run.id in answers} for name in (variant, baseline)]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    if not seeds:
        raise Conflict(
            f"{variant} and {baseline} have no seed yet that both have completed, with {ANSWERS} among files"
        )
    said, said_by_baseline = (
        [Said(answers[side[seed]]["label"], answers[side[seed]]["predicted"]) for seed in seeds] for side in sides
    )
    first = grouped[variant][0]
    names = figures.class_names(first, 1 + max(int(one.label.max()) for one in said))
    return by_image(variant, baseline, said, said_by_baseline, seeds, names)


def _answers(request: Request, runs: Sequence[Run], epoch: str) -> dict[str, dict[str, Any]]:
    """Arrays by run id. A run that is not completed has none, nor has one of an earlier version."""
    import numpy as np

    settings: Settings = request.app.state.settings
    found = {}
    for run in runs:
        with suppress(FileNotFoundError), np.load(settings.checkpoints(run.id) / ANSWERS) as arrays:
            found[run.id] = {"label": arrays["label"]} | {
                name: arrays[f"{epoch}_{name}"] for name in ("predicted", "confidence", "correct")
            }
    return found
