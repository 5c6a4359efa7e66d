"""Checkpoints of a run: written atomically, so that a kill at any instant leaves the previous one valid."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from cct.answers import Answers
from cct.card import CARD, Card
from cct.events import Confusion, EpochRecord, RunWarning
from cct.extension import BEST as BEST
from cct.extension import LAST as LAST
from cct.spec import RunSpec
from cct.weights import UNREADABLE, VOCABULARY, UnusableWeights, check_checksums, reason
from cct.whole_file import whole_file

_PUT_BACK = "put the right one there and try again, or train the same spec as a new run"


class CheckpointMismatch(Exception):
    """The folder holds a checkpoint of another spec, version of the model or training, or of the wrong epoch."""


class CheckpointNotWritten(Exception):
    """The disk does not take the checkpoint; the one before, if any, is still valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All that a run needs to go on after an epoch as if it had not been interrupted."""

    spec: RunSpec
    model: dict[str, Tensor]
    """The state dict of the model that was validated."""
    optimizer: dict[str, Any]
    """The optimizer's state dict."""
    records: list[EpochRecord]
    """All epochs so far."""
    confusions: list[Confusion]
    """The best epoch's and, if that is another, the last one's."""
    precision: str
    compile: str
    """What these fields of the spec were settled to when the run began."""
    threads: int
    """Number of the CPU's threads, on which the bits depend; 0 on a GPU."""
    provenance: dict[str, str]
    started_from: dict[str, str]
    """The part of the provenance that tells of initial weights, whose files may be gone."""
    answers: list[Answers] = field(default_factory=list)
    """Those to the validation images in the epochs of `confusions`; files of earlier versions do not have them."""
    labels: Tensor | None = None
    """The classes of the validation images, int32, to compare answers with; nor do they have these."""
    trained: dict[str, Tensor] | None = None
    """The weights that go on being trained, if their moving average is what was validated."""
    vocabulary: tuple[str, ...] = ()
    """The words whose vectors a text model's embedding holds; files of version 0.1 do not have them."""
    card: Card | None = None
    """What the weights say of themselves; nor do they have this."""
    warnings: tuple[RunWarning, ...] = ()
    """Those of the initial weights, whose files may be gone; nor do they have these."""

    @classmethod
    def load(
        cls, folder: Path, spec: RunSpec, recorded: Sequence[EpochRecord] = (), extends: int = 0
    ) -> "Checkpoint | None":
        """The newest checkpoint of this spec, its tensors in host memory; None if there is none.

        `recorded` are the run's epochs that are known elsewhere, which the checkpoint must know too, and may know more
        of. A run that `extends` a finished one of so many epochs begins with its checkpoint. Removes what killed
        processes left half written. Raises `CheckpointMismatch`, `UnusableWeights`.
        """
        for unfinished in folder.glob("*.tmp"):
            unfinished.unlink(missing_ok=True)
        path = folder / LAST
        if not path.exists():
            if extends:
                raise CheckpointMismatch(
                    f"this run goes on after epoch {extends} of another, but there is no checkpoint in {folder}; "
                    f"{_PUT_BACK}"
                )
            if recorded:
                known = _epochs(recorded)
                raise CheckpointMismatch(f"{known} recorded, but there is no checkpoint in {folder}; {_PUT_BACK}")
            return None
        saved = cls.read(path)
        before, wanted = asdict(saved.spec), asdict(spec)
        if before["epochs"] == extends == len(saved.records):
            before["epochs"] = wanted["epochs"]
        if differing := sorted(name for name in wanted if before[name] != wanted[name] and name != "recipe"):
            raise CheckpointMismatch(
                f"{path} belongs to another spec ({', '.join(differing)} differ); use another folder"
            )
        if len(saved.records) < len(recorded):
            known = _epochs(recorded)
            raise CheckpointMismatch(f"{known} recorded, but {path} is of epoch {len(saved.records)}; {_PUT_BACK}")
        for ours, theirs in zip(saved.records, recorded, strict=False):
            if ours != theirs:
                raise CheckpointMismatch(
                    f"{path} is of another training of this spec: what it measured in epoch {ours.epoch} is not what "
                    f"is recorded; {_PUT_BACK}"
                )
        return saved

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Raises `UnusableWeights`."""
        # On the CPU, where AdamW keeps its step counts; the model and the optimizer take the rest to their device.
        try:
            check_checksums(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
            return cls(
                spec=RunSpec.stored(content["spec"]),
                model=content["model"],
                optimizer=content["optimizer"],
                trained=content.get("trained"),
                records=[EpochRecord(**record) for record in content["records"]],
                confusions=[Confusion(epoch, counts.tolist()) for epoch, counts in content["confusions"]],
                answers=[Answers(*answers) for answers in content.get("answers", ())],
                labels=content.get("labels"),
                precision=content["settled"]["precision"],
                compile=content["settled"]["compile"],
                threads=content["threads"],
                provenance=content["provenance"],
                started_from=content["started_from"],
                vocabulary=tuple(content.get(VOCABULARY, ())),
                card=Card.read(content.get(CARD)),
                warnings=tuple(RunWarning(*warning) for warning in content.get("warnings", ())),
            )
        except OSError as error:
            raise UnusableWeights(f"{path} cannot be read ({error.strerror}); let this user read it") from error
        except UNREADABLE as error:
            raise UnusableWeights(
                f"{path} is damaged or no checkpoint ({reason(error)}); put the right one there, or name another folder"
            ) from error

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer, averaged: nn.Module | None = None) -> None:
        """Gives them their states, `averaged` the moving average of the weights.

        Raises `CheckpointMismatch` if the model has other weights by now.
        """
        try:
            model.load_state_dict(self.trained or self.model)
            if averaged:
                averaged.load_state_dict(self.model)
        except RuntimeError as error:
            raise CheckpointMismatch(
                f"the checkpoint has weights of another version of {self.spec.model} with {self.spec.pooling} "
                f"({' '.join(str(error).split())}); go on with that version, or use another folder"
            ) from error
        optimizer.load_state_dict(self.optimizer)

    def save(self, folder: Path) -> None:
        """Writes `LAST`, and `BEST` before it if no epoch was better than this one; each completely or not at all.

        The folder must exist: a run that was deleted meanwhile does not come back. Raises `CheckpointNotWritten`, and
        `CheckpointMismatch` if the folder holds a later epoch, which another process has trained meanwhile.
        """
        path = folder / LAST
        newest = self.records[-1].epoch
        # Not checked whole, as this is done after each epoch.
        if path.exists() and (epoch := _mapped(path, is_checked=False)["records"][-1]["epoch"]) > newest:
            raise CheckpointMismatch(
                f"{path} is of epoch {epoch} already, as another process trains this run; epoch {newest} is dropped"
            )
        says = {VOCABULARY: list(self.vocabulary), **({CARD: self.card.told} if self.card else {})}
        if self.confusions[0].epoch == newest:
            _write(folder / BEST, {"model": self.model, "epoch": newest, **says})
        # The layout of version 0.1, in which weights say nothing of themselves.
        _write(
            path,
            {
                "spec": asdict(self.spec),
                "model": self.model,
                "optimizer": self.optimizer,
                "records": [asdict(record) for record in self.records],
                "confusions": [(confusion.epoch, torch.tensor(confusion.counts)) for confusion in self.confusions],
                "answers": [(answers.epoch, answers.predicted, answers.confidence) for answers in self.answers],
                "labels": self.labels,
                "settled": {"precision": self.precision, "compile": self.compile},
                "threads": self.threads,
                "provenance": self.provenance,
                "started_from": self.started_from,
                **says,
                **({"trained": self.trained} if self.trained else {}),
                "warnings": [(warning.code, warning.text) for warning in self.warnings],
            },
        )


def _by_itself(values: Tensor) -> Tensor:
    """Without what else is in its memory, such as other models' weights, which would be saved too."""
    return values.clone() if values.untyped_storage().nbytes() > values.nbytes else values


def _epochs(recorded: Sequence[EpochRecord]) -> str:
    newest = recorded[-1].epoch
    return f"epochs 1 to {newest} of this run are" if newest > 1 else f"epoch {newest} of this run is"


def _write(path: Path, content: dict[str, Any]) -> None:
    # In memory first: torch hides the reason when a disk fails it.
    buffer = io.BytesIO()
    torch.save(tree_map_only(Tensor, _by_itself, content), buffer)
    try:
        with whole_file(path) as file:
            file.write(buffer.getbuffer())
    except OSError as error:
        raise CheckpointNotWritten(
            f"cannot write {path} ({error.strerror}); make room there; what was saved before is still valid"
        ) from error


def read_snapshot(path: Path) -> tuple[dict[str, Tensor], int]:
    """The weights in a run's `LAST` or `BEST` and the epoch after which they were saved.

    Training may replace the file meanwhile. Raises `UnusableWeights`.
    """
    content = _mapped(path, is_checked=True)
    return content["model"], content["epoch"] if path.name == BEST else content["records"][-1]["epoch"]


def _mapped(path: Path, is_checked: bool) -> dict[str, Any]:
    """What a run's file holds, with tensors that are read when they are used."""
    try:
        if is_checked:
            check_checksums(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return content
    except UNREADABLE as error:
        raise UnusableWeights(f"{path.name} cannot be read ({reason(error)})") from error
