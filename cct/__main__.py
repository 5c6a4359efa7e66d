"""Trains one run from the command line, without web or queue: `python -m cct --dataset digits --epochs 10`.

There is an option for each field of `RunSpec`. One line per epoch on the standard output; a run that was interrupted
goes on where it stopped if it has a folder (`--out`). With `--seeds` it trains several runs.

`python -m cct export CHECKPOINT OUT.safetensors` writes the weights of a checkpoint for use elsewhere,
`python -m cct predict WEIGHTS FILES...` tells what they say of images or of lines of text, and
`python -m cct check POOLING` whether a pooling does what it should.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, fields
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev
from typing import NoReturn

from cct import own_poolings
from cct.events import EpochRecord, Event, Facts, FinalTest, RunWarning
from cct.listing import listing
from cct.machine import OPENMP
from cct.spec import RunSpec, SpecError

HEADER = "epoch  train loss  train top-1  val loss  val top-1  val top-5  balanced        lr  seconds  images/s"

LIKELIEST = 3
"""How many classes are told of each image or text."""

DESCRIPTION = (
    "Train one run; the defaults are the reference's. `export` as first word writes weights, `predict` asks them, "
    "`check` tries a pooling: see export --help, predict --help and check --help."
)


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 if trained, 1 if training failed, 2 if the command line is wrong, 130 if interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if command := _COMMANDS.get(next(iter(arguments), "")):
        return command(arguments[1:])
    parser = _parser()
    options = parser.parse_args(arguments)
    own_poolings.use(options.poolings)
    if options.list:
        print(listing())
        return 0
    if options.version:
        print(f"cctboard {version('cctboard')}")
        return 0
    if options.extend:
        return _extend(parser, options)
    try:
        given = {field.name: getattr(options, field.name) for field in fields(RunSpec)}
        spec = RunSpec.given({name: value for name, value in given.items() if value is not None})
    except SpecError as error:
        parser.error(f"argument --{error.field.replace('_', '-')}: {error.message}")
    if options.seeds is None:
        return _train([spec], options.data, [options.out])
    return _train_seeds(parser, options, spec)


def _train_seeds(parser: argparse.ArgumentParser, options: argparse.Namespace, spec: RunSpec) -> int:
    """Trains the spec with each of several seeds."""
    if options.seed is not None:
        parser.error("argument --seed: leave it out, as --seeds names them all")
    if len(set(options.seeds)) < len(options.seeds):
        parser.error("argument --seeds: name each seed once")
    try:
        specs = [RunSpec(**asdict(spec) | {"seed": seed}) for seed in options.seeds]
    except SpecError as error:
        parser.error(f"argument --seeds: {error.message}")
    outs = [options.out / f"seed-{seed}" if options.out else None for seed in options.seeds]
    return _train(specs, options.data, outs)


def _extend(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Goes on with a finished run of another folder, by its spec."""
    for field in fields(RunSpec):
        if field.name != "epochs" and getattr(options, field.name) is not None:
            parser.error(
                f"argument --{field.name.replace('_', '-')}: is that of the run that is extended; leave it out"
            )
    if options.seeds is not None:
        parser.error("argument --seeds: the seed is that of the run that is extended; leave it out")
    if options.epochs is None:
        parser.error("argument --epochs: is missing; give more than the run has that is extended")
    if not options.out or options.out.resolve() == options.extend.resolve():
        parser.error("argument --out: name another folder than that of the run that is extended")
    from cct.checkpoint import Checkpoint
    from cct.extension import LAST, hold
    from cct.weights import UnusableWeights

    try:
        finished = Checkpoint.read(options.extend / LAST)
        if finished.spec.is_evaluation:
            return _fail(f"the run in {options.extend} is an evaluation; train with the same --pretrained instead", 2)
        if len(finished.records) < finished.spec.epochs:
            done = f"{len(finished.records)} of {finished.spec.epochs} epochs"
            return _fail(f"the run in {options.extend} has finished {done}; finish it before it is extended", 2)
        if options.epochs <= finished.spec.epochs:
            parser.error(
                f"argument --epochs: the run in {options.extend} has {finished.spec.epochs} already; give more"
            )
        spec = RunSpec(**asdict(finished.spec) | {"epochs": options.epochs})
        if not (options.out / LAST).exists():
            hold(options.extend, options.out)
    except (SpecError, UnusableWeights) as error:
        return _fail(str(error), 2)
    except FileNotFoundError as error:
        return _fail(f"there is no {error.filename}; name the folder of a finished run", 2)
    except OSError as error:
        return _fail(f"{options.out} cannot be written ({error.strerror}); name another folder with --out", 2)
    return _train([spec], options.data, [options.out], finished.spec.epochs)


def _train(specs: list[RunSpec], data: Path, outs: list[Path | None], extends: int = 0) -> int:
    # Imported only now: torch takes seconds, which a mistyped option or --list should not cost.
    from cct.checkpoint import CheckpointMismatch, CheckpointNotWritten
    from cct.compiler import CannotCompile
    from cct.cpu import keep_large_blocks
    from cct.device import default_device
    from cct.download import DatasetUnavailable
    from cct.recording import RecordingFailed
    from cct.together import in_turn, together
    from cct.training import NonFiniteLoss, train
    from cct.weights import UnusableWeights

    keep_large_blocks()
    reports = [_Report(spec, f"seed {spec.seed}: " if len(specs) > 1 else "") for spec in specs]
    trainings = [
        partial(train, spec, data_dir=data, checkpoint_dir=out, extends=extends)
        for spec, out in zip(specs, outs, strict=True)
    ]
    are_together = len(specs) > 1 and default_device().type == "cuda"
    code = 0
    try:
        for number, event in (together if are_together else in_turn)(trainings):
            if isinstance(
                event,
                CannotCompile
                | CheckpointMismatch
                | CheckpointNotWritten
                | DatasetUnavailable
                | NonFiniteLoss
                | RecordingFailed
                | SpecError
                | UnusableWeights,
            ):
                code = _fail(f"{reports[number].whose}{event}", 1)
            elif isinstance(event, Exception):
                raise event
            elif event:
                reports[number].tell(event)
    except KeyboardInterrupt:
        begun = [report for report in reports if report.records] if outs[0] else []
        where = "where each seed stopped" if len(specs) > 1 else f"after epoch {len(reports[0].records)}"
        return _fail(f"interrupted{f'; the same command continues {where}' if begun else ''}", 130)
    finished = [report.records[-1].val_top1 for report in reports if report.is_finished]
    for report in reports:
        report.summarise()
    if len(finished) > 1:
        spread = f"{fmean(finished):.2f} ± {stdev(finished):.2f} %"
        print(f"final top-1 of {len(finished)} seeds: {spread} (mean ± sample standard deviation)")
    return code


class _Report:
    """What the command line tells of a run."""

    def __init__(self, spec: RunSpec, whose: str) -> None:
        self.whose = whose
        """Begins each line, where there are several runs."""
        self.records: list[EpochRecord] = []
        self._spec = spec
        self._tested = ""

    @property
    def is_finished(self) -> bool:
        return bool(self.records) and (self._spec.is_evaluation or len(self.records) == self._spec.epochs)

    def tell(self, event: Event) -> None:
        if isinstance(event, Facts):
            mixing = "; the pooling mixes the images of a batch" if event.mixes_batch else ""
            self._say(
                f"{self._spec.model}, {self._spec.pooling}: {event.parameters:,} parameters on {event.device}{mixing}"
            )
            self._say(f"always answering the most frequent class gives {event.majority_share:.1f} % top-1")
            for warning in event.warnings:
                self._warn(warning)
            self._say(HEADER)
        elif isinstance(event, RunWarning):
            self._warn(event)
        elif isinstance(event, EpochRecord):
            self.records.append(event)
            self._say(_line(event))
        elif isinstance(event, FinalTest):
            self._tested = (
                f"test set of {event.images:,}, read once: final top-1 {event.top1:.2f} %, balanced "
                f"{event.balanced:.2f} %; {event.best_top1:.2f} % at the best held-out epoch ({event.best_epoch})"
            )

    def summarise(self) -> None:
        if not self.is_finished:
            return
        best = max(self.records, key=lambda record: record.val_top1)
        minutes = sum(record.seconds for record in self.records) / 60
        last = self.records[-1]
        balanced = "" if last.val_balanced is None else f", balanced {last.val_balanced:.2f} %"
        top1 = f"final top-1 {last.val_top1:.2f} %{balanced}, best {best.val_top1:.2f} % (epoch {best.epoch})"
        if self._spec.is_evaluation:
            top1 = f"evaluated without training: top-1 {last.val_top1:.2f} %{balanced}"
        self._say(f"{top1}, validated on {self._spec.validated_on}, {minutes:.1f} min")
        if self._tested:
            self._say(self._tested)

    def _say(self, line: str) -> None:
        print(f"{self.whose}{line}", flush=True)

    def _warn(self, warning: RunWarning) -> None:
        print(f"{self.whose}warning: {warning.text}", file=sys.stderr, flush=True)


def _export(arguments: list[str]) -> int:
    parser = _Parser(prog="python -m cct export", description="Write a checkpoint's weights as safetensors.")
    parser.add_argument("checkpoint", type=Path, help="last.pt or best.pt of a run, or another file of weights")
    parser.add_argument("out", type=Path, help="the file to write, for example weights.safetensors")
    options = parser.parse_args(arguments)
    from cct.weights import UnusableWeights, export_safetensors

    try:
        export_safetensors(options.checkpoint, options.out)
    except UnusableWeights as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"{options.out} cannot be written ({error.strerror}); name a file in a folder that takes it", 2)
    return 0


def _predict(arguments: list[str]) -> int:
    parser = _Parser(prog="python -m cct predict", description="Tell what weights say of images, or of lines of text.")
    parser.add_argument("weights", type=Path, help="best.pt or last.pt of a run, or an export of one of them")
    parser.add_argument(
        "files", type=Path, nargs="+", help="images; for a text model, files with a text on each line, - for the input"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, with the probability of each class")
    options = parser.parse_args(arguments)
    from cct.own_image import UnreadableImage
    from cct.predict import trained_model
    from cct.weights import UnusableWeights

    try:
        trained = trained_model(options.weights)
        if trained.reads_texts:
            asked = [line for file in options.files for line in _lines(file)]
            if not asked:
                return _fail("the files have no texts; write one on each line", 2)
            found = trained.of_texts(asked)
        else:
            asked, found = [*map(str, options.files)], trained.of_images(options.files)
    except (UnreadableImage, UnusableWeights) as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"{error.filename} cannot be read ({error.strerror}); name files of texts", 2)
    except UnicodeDecodeError:
        return _fail("the files are not all texts in UTF-8; convert them", 2)
    if trained.mixes_batch and len(asked) > 1:
        print("warning: the pooling mixes a batch: each answer depends on the other files", file=sys.stderr)
    names, what = trained.card.class_names, "text" if trained.reads_texts else "file"
    answers = [dict(sorted(zip(names, map(float, row), strict=True), key=lambda pair: -pair[1])) for row in found]
    if options.json:
        told = [
            {what: one, "class": next(iter(answer)), "probabilities": answer}
            for one, answer in zip(asked, answers, strict=True)
        ]
        print(json.dumps(told, indent=1, ensure_ascii=False))
        return 0
    for one, answer in zip(asked, answers, strict=True):
        print(one, *(f"{name} {100 * share:.1f} %" for name, share in islice(answer.items(), LIKELIEST)), sep="  ")
    return 0


def _check(arguments: list[str]) -> int:
    parser = _Parser(prog="python -m cct check", description="Try a pooling: is it what a model and a run need?")
    parser.add_argument("pooling", help="its name")
    _add_poolings(parser)
    options = parser.parse_args(arguments)
    own_poolings.use(options.poolings)
    from cct.pooling_check import check

    try:
        name = own_poolings.full_name(options.pooling)
    except own_poolings.UnusablePooling as error:
        return _fail(str(error), 2)
    print(name)
    has_failed = False
    for finding in check(name):
        print(f"  {finding.outcome:7} {finding.name}: {finding.text}", flush=True)
        has_failed |= finding.outcome == "failed"
    return int(has_failed)


_COMMANDS = {"export": _export, "predict": _predict, "check": _check}


def _lines(file: Path) -> list[str]:
    """The lines of a file of texts, or of the standard input, that are not empty."""
    text = sys.stdin.read() if file == Path("-") else file.read_text(encoding="utf-8-sig")
    return [line for line in text.splitlines() if line.strip()]


class _Parser(argparse.ArgumentParser):
    """Answers a mistake in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m cct", description=DESCRIPTION)
    for field in fields(RunSpec):
        help_text = f"{field.metadata['description']} (default: {field.default})"
        kind = str if "choices" in field.metadata else type(field.default)
        metavar = field.name.upper() if kind is str else kind.__name__.upper()
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=kind, metavar=metavar, help=help_text)
    parser.add_argument(
        "--data", type=Path, default=Path("datasets"), metavar="FOLDER", help="datasets (default: %(default)s)"
    )
    _add_poolings(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="checkpoints; a run is resumed from there")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="INT",
        help="train with each of these seeds, in folders of their own below --out; on a GPU all at once",
    )
    parser.add_argument(
        "--extend",
        type=Path,
        metavar="FOLDER",
        help="go on with the finished run in this folder, to --epochs in all, in another folder (--out)",
    )
    parser.add_argument(
        "--list", action="store_true", help="list models, poolings, datasets and published weights, and exit"
    )
    parser.add_argument("--version", action="store_true", help="show the version, and exit")
    return parser


def _add_poolings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--poolings",
        type=Path,
        default=own_poolings.DEFAULT,
        metavar="FOLDER",
        help="poolings of your own (default: %(default)s)",
    )


def _line(record: EpochRecord) -> str:
    def shown(value: float | None, width: int, digits: str) -> str:
        return f"{'-':>{width}}" if value is None else f"{value:{width}{digits}}"

    columns = (
        *((record.epoch, 5, ""), (record.train_loss, 10, ".4f"), (record.train_top1, 11, ".2f")),
        *((record.val_loss, 8, ".4f"), (record.val_top1, 9, ".2f"), (record.val_top5, 9, ".2f")),
        *((record.val_balanced, 8, ".2f"), (record.lr, 8, ".2e"), (record.seconds, 7, ".1f")),
        (record.images_per_second, 8, ".0f"),
    )
    return "  ".join(shown(*column) for column in columns)


def _fail(message: str, code: int) -> int:
    print(f"python -m cct: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    os.environ |= OPENMP | os.environ
    sys.exit(main())
