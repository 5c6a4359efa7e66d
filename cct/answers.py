"""What a model answered to each validation image or text, after the best and after the last epoch of its run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cct.extension import ANSWERS, LAST
from cct.weights import UNREADABLE, UnusableWeights, reason
from cct.whole_file import whole_file


@dataclass(frozen=True, slots=True)
class Answers:
    """One answer per validation image, in the order of the split; in host memory."""

    epoch: int
    predicted: Tensor
    """The likeliest class, int32."""
    confidence: Tensor
    """Its probability, float32."""


def export_answers(folder: Path) -> None:
    """Writes the answers in a run's newest checkpoint as `ANSWERS` beside it, for NumPy: arrays with a value by image.

    `label`, and of the `last` and the `best` epoch `last_epoch`, `last_predicted`, `last_confidence` and
    `last_correct`, and so on. A checkpoint of an earlier version has none, and then none is written. Raises
    `UnusableWeights` if the checkpoint cannot be read, `OSError` if the file cannot be written.
    """
    try:
        content = torch.load(folder / LAST, map_location="cpu", weights_only=True, mmap=True)
    except UNREADABLE as error:
        raise UnusableWeights(f"{folder / LAST} cannot be read ({reason(error)})") from error
    best_epoch, found = content["confusions"][0][0], content.get("answers", ())
    answers = {epoch: (predicted.numpy(), confidence.numpy()) for epoch, predicted, confidence in found}
    if best_epoch not in answers:
        return  # the best epoch was trained by an earlier version
    label = content["labels"].numpy()
    arrays = {"label": label}
    for name, epoch in (("last", max(answers)), ("best", best_epoch)):
        predicted, confidence = answers[epoch]
        arrays |= {f"{name}_epoch": np.array(epoch), f"{name}_predicted": predicted}
        arrays |= {f"{name}_confidence": confidence, f"{name}_correct": predicted == label}
    with whole_file(folder / ANSWERS) as file:
        np.savez_compressed(file, **arrays)
