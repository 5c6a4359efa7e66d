"""Shows an image of the user's own to runs, in a process of its own: `python -m worker.looker IMAGE`.

On the CPU and nicely, beside a run that may be training.
"""

import os
import signal
import sys
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from app.errors import NotFound
from app.settings import Settings
from app.store.own_images import OwnImages
from app.store.rows import Run
from app.store.run_store import RunStore
from cct.augment import centre_crop
from cct.lens import pixels_of, url_of
from cct.named_datasets import DATASETS
from cct.named_models import ModelConfig
from cct.own_image import UnreadableImage, as_dataset, look_with_checkpoints, read_image
from cct.pixels import ALL_BITS, OtherScale
from cct.provenance import bits_recorded
from cct.spec import SpecError
from cct.weights import UnusableWeights

LIMIT_SECONDS = 60


def main(image_id: str) -> None:
    """What fails is printed last, for the supervisor to tell."""
    signal.alarm(LIMIT_SECONDS)  # also ends what hangs or has lost its supervisor
    os.nice(10)
    torch.set_num_threads(1)
    settings = Settings()
    store = RunStore(settings)
    own_images = OwnImages(store)
    if (asked := own_images.image(image_id)) is None:
        return
    content, run_ids = asked
    picture_of = cache(partial(read_image, content))
    try:
        picture_of(ALL_BITS)
    except UnreadableImage as error:
        sys.exit(str(error))
    shown: set[str] = set()
    for run_id in run_ids:
        try:
            run = store.run(run_id)
        except NotFound:
            continue  # deleted meanwhile
        source = run.spec.source
        if DATASETS[run.spec.dataset].has_texts:
            own_images.answer(image_id, run_id, {"error": "reads texts"})
            continue
        try:
            pixels = as_dataset(picture_of(bits_recorded(run.provenance or {})), run.spec)
        except OtherScale as error:
            own_images.answer(image_id, run_id, {"error": f"cannot take the image: {error}"})
            continue
        if source not in shown:
            own_images.show(image_id, source, url_of(_seen(pixels, run)))
            shown.add(source)
        own_images.answer(image_id, run_id, _said(settings, store, run, pixels))


def _seen(pixels: Tensor, run: Run) -> Tensor:
    """What the run's model sees of them."""
    assert isinstance(run.spec.config, ModelConfig)
    return centre_crop(pixels, run.spec.config.image_size)


def _said(settings: Settings, store: RunStore, run: Run, pixels: Tensor) -> dict[str, Any]:
    """The fields of `app.web.routes.lens.OwnImageRun` that are not known of the run."""
    companions = store.images(run.spec.source) if run.mixes_batch else []
    try:
        beside = tuple(pixels_of(image["url"]) for image in companions)
        looks = look_with_checkpoints(run.spec, settings.checkpoints(run.id), pixels, beside)
    except (UnusableWeights, SpecError) as error:
        return {"error": str(error)}
    if not looks:
        return {"error": "has no checkpoint yet"}
    return {"looks": {name: asdict(look) for name, look in looks.items()}}


if __name__ == "__main__":
    main(*sys.argv[1:])
