"""The test set of a run that holds training images or texts out: it is read once, when nothing is left to choose."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from cct.data import Split, duplicates, load_test
from cct.download import DatasetUnavailable
from cct.events import EpochRecord, FinalTest, RunWarning
from cct.models import Model
from cct.named_models import ModelConfig
from cct.run_warnings import in_test_set_too, untested
from cct.spec import RunSpec
from cct.validation import validate


def final_test(
    model: Model,
    best: Mapping[str, Tensor],
    records: Sequence[EpochRecord],
    train: Split,
    settled: RunSpec,
    data_dir: Path,
    batch_size: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[FinalTest | RunWarning]:
    """Tests a trained model, and with the `best` epoch's weights, which it has afterwards; warns if it cannot.

    An image folder without test images has no test. Validates so many images at a time. Raises `Stopped`.
    """
    image_size = settled.config.image_size if isinstance(settled.config, ModelConfig) else 0
    try:
        test = load_test(settled.dataset, data_dir, train, image_size, settled.image_folder)
    except DatasetUnavailable as error:
        yield untested(str(error))
        return
    if test is None:
        return
    checksum = hashlib.sha256(test.images.numpy().data)
    checksum.update(test.labels.numpy().data)
    found_twice = duplicates(train, test)
    split = test.to(train.labels.device)
    last = validate(model, split, settled, batch_size, should_stop)
    best_epoch = max(records, key=lambda record: record.val_top1).epoch
    at_best = last
    if best_epoch != records[-1].epoch:
        model.load_state_dict(best)
        at_best = validate(model, split, settled, batch_size, should_stop)
    yield FinalTest(
        images=len(test.labels),
        top1=last.top1,
        best_epoch=best_epoch,
        best_top1=at_best.top1,
        balanced=last.balanced,
        nll=last.nll,
        ece=last.ece,
        sha256=checksum.hexdigest(),
    )
    yield from in_test_set_too(found_twice, len(test.labels))
