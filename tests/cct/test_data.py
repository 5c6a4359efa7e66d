import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from cct.config import DATASETS
from cct.data import DatasetUnavailable, load


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_digits_are_bundled_and_split_by_class(tmp_path: Path) -> None:
    train, test = load("digits", tmp_path)
    info = DATASETS["digits"]
    assert train.images.shape == (info.train_size, 3, 32, 32)
    assert test.images.shape == (info.test_size, 3, 32, 32)
    assert train.images.dtype == torch.uint8
    shares = [torch.bincount(split.labels) / len(split.labels) for split in (train, test)]
    torch.testing.assert_close(*shares, atol=0.005, rtol=0)
    pixels = train.images.float() / 255
    assert pixels.mean().item() == pytest.approx(info.mean[0], abs=1e-3)
    assert pixels.std().item() == pytest.approx(info.std[0], abs=1e-3)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inside", ["fashion_mnist", "."])
def test_idx_files_are_read_where_the_user_put_them(tmp_path: Path, suffix: str, inside: str) -> None:
    random = np.random.default_rng(0)
    (tmp_path / inside).mkdir(exist_ok=True)
    pixels = {"train": random.integers(0, 256, (5, 28, 28)), "t10k": random.integers(0, 256, (3, 28, 28))}
    for split, values in pixels.items():
        write_idx(tmp_path / inside / f"{split}-images-idx3-ubyte{suffix}", values)
        write_idx(tmp_path / inside / f"{split}-labels-idx1-ubyte{suffix}", np.arange(len(values)))
    train, test = load("fashion_mnist", tmp_path)
    assert train.images.shape == (5, 3, 32, 32)
    assert test.labels.tolist() == [0, 1, 2]
    for channel in range(3):
        assert np.array_equal(train.images[:, channel, 2:30, 2:30].numpy(), pixels["train"])
    assert train.images[:, :, :2].sum() == 0


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_in_its_published_format(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    folder = tmp_path / reader.base_folder
    folder.mkdir()
    random = np.random.default_rng(0)
    key = "labels" if name == "cifar10" else "fine_labels"
    written = {}
    for kind in ("train_list", "test_list"):
        checksums = []
        for file, _ in getattr(reader, kind):
            content = {"data": random.integers(0, 256, (2, 3072), dtype=np.uint8), key: [1, 7]}
            written[file] = content
            (folder / file).write_bytes(pickle.dumps(content))
            checksums.append([file, hashlib.md5((folder / file).read_bytes()).hexdigest()])
        monkeypatch.setattr(reader, kind, checksums)
    meta = pickle.dumps({reader.meta["key"]: [str(number) for number in range(100)]})
    (folder / reader.meta["filename"]).write_bytes(meta)
    monkeypatch.setattr(reader, "meta", reader.meta | {"md5": hashlib.md5(meta).hexdigest()})
    train, test = load(name, tmp_path)
    first = written[reader.train_list[0][0]]["data"][0]
    assert np.array_equal(train.images[0].numpy(), first.reshape(3, 32, 32))
    assert len(train.labels) == 2 * len(reader.train_list)
    assert test.labels.tolist() == [1, 7]


def test_a_damaged_file_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"not what was published")
    with pytest.raises(DatasetUnavailable, match="cifar10"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_without_a_network_the_error_names_dataset_folder_and_way_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar.tar.gz")
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DatasetUnavailable) as error:
        load(name, tmp_path)
    message = str(error.value)
    assert name in message
    assert str(tmp_path / name) in message
    assert "CCTBOARD_DATASETS" in message
    assert "\n" not in message
