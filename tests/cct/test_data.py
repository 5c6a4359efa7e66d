import gzip
import hashlib
import pickle
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from cct.data import CIFAR, MNIST, load
from cct.download import DatasetUnavailable
from cct.named_datasets import DATASETS

NOWHERE = "http://127.0.0.1:9/"
"""Refuses connections."""


@pytest.fixture
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the web server that stands for the datasets' publishers."""
    return tmp_path_factory.mktemp("published")


@pytest.fixture
def server(published: Path) -> Iterator[str]:
    """The address of the web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(published))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_published_idx(folder: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 5), ("t10k", 3)):
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", random.integers(0, 256, (count, 28, 28)))
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", np.arange(count))


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
@pytest.mark.parametrize("inside", ["fashion_mnist", "fashion-mnist", "FashionMNIST/raw"])
def test_idx_files_are_read_where_the_user_put_them(tmp_path: Path, suffix: str, inside: str) -> None:
    random = np.random.default_rng(0)
    (tmp_path / inside).mkdir(parents=True)
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
    if inside == "fashion-mnist":
        [itself, _] = load("fashion_mnist", tmp_path / inside)
        assert torch.equal(itself.images, train.images)


def test_mnist_is_never_read_from_the_files_of_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of both have the same names."""
    monkeypatch.setattr(MNIST["mnist"], "mirrors", [NOWHERE])
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    write_published_idx(folder)
    load("fashion_mnist", folder)
    with pytest.raises(DatasetUnavailable, match="mnist"):
        load("mnist", folder)


def test_a_truncated_idx_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    write_published_idx(folder)
    damaged = folder / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(DatasetUnavailable, match=r"t10k-images-idx3-ubyte\.gz is not a whole idx file"):
        load("mnist", tmp_path)


def write_published_cifar(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Two images per file in the published format, with checksums to match; the pixels by file name."""
    reader = CIFAR[name]
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    key = "labels" if name == "cifar10" else "fine_labels"
    written = {}
    for kind in ("train_list", "test_list"):
        checksums = []
        for file, _ in getattr(reader, kind):
            written[file] = random.integers(0, 256, (2, 3072), dtype=np.uint8)
            (folder / file).write_bytes(pickle.dumps({"data": written[file], key: [1, 7]}))
            checksums.append([file, hashlib.md5((folder / file).read_bytes()).hexdigest()])
        monkeypatch.setattr(reader, kind, checksums)
    meta = pickle.dumps({reader.meta["key"]: [str(number) for number in range(100)]})
    (folder / reader.meta["filename"]).write_bytes(meta)
    monkeypatch.setattr(reader, "meta", reader.meta | {"md5": hashlib.md5(meta).hexdigest()})
    return written


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_is_read_in_its_published_format(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_published_cifar(name, tmp_path, monkeypatch)
    train, test = load(name, tmp_path)
    first = written[CIFAR[name].train_list[0][0]][0]
    assert np.array_equal(train.images[0].numpy(), first.reshape(3, 32, 32))
    assert len(train.labels) == 2 * len(CIFAR[name].train_list)
    assert test.labels.tolist() == [1, 7]
    assert not (tmp_path / name).exists(), "nothing is written beside what the user provides"


def test_cifar_is_downloaded_once_by_processes_that_start_together(
    tmp_path: Path, published: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published_cifar("cifar10", published, monkeypatch)
    archive = published / CIFAR["cifar10"].filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(published / CIFAR["cifar10"].base_folder, CIFAR["cifar10"].base_folder)
    monkeypatch.setattr(CIFAR["cifar10"], "url", server + archive.name)
    monkeypatch.setattr(CIFAR["cifar10"], "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    with ThreadPoolExecutor(3) as pool:
        results = [future.result() for future in [pool.submit(load, "cifar10", tmp_path) for _ in range(3)]]
    assert all(len(train.labels) == 10 and len(test.labels) == 2 for train, test in results)
    archive.unlink()
    load("cifar10", tmp_path)


def test_mnist_is_downloaded_from_the_first_mirror_that_works(
    tmp_path: Path, published: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published_idx(published)
    checksums = [
        (name, hashlib.md5((published / name).read_bytes()).hexdigest()) for name, _ in MNIST["mnist"].resources
    ]
    monkeypatch.setattr(MNIST["mnist"], "resources", checksums)
    monkeypatch.setattr(MNIST["mnist"], "mirrors", [NOWHERE, server])
    train, test = load("mnist", tmp_path)
    assert (len(train.labels), len(test.labels)) == (5, 3)


def test_a_download_that_is_not_what_was_published_is_not_kept(
    tmp_path: Path, published: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published_idx(published)
    monkeypatch.setattr(MNIST["mnist"], "mirrors", [server])
    for _ in range(2):
        with pytest.raises(DatasetUnavailable, match=r"train-images-idx3-ubyte\.gz arrived damaged"):
            load("mnist", tmp_path)


def test_a_damaged_file_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR["cifar10"], "url", NOWHERE)
    folder = tmp_path / CIFAR["cifar10"].base_folder
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"not what was published")
    with pytest.raises(DatasetUnavailable, match="data_batch_1 is damaged or another file"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_without_a_network_the_error_names_dataset_folder_and_way_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR["cifar10"], "url", NOWHERE)
    monkeypatch.setattr(MNIST["mnist"], "mirrors", [NOWHERE])
    with pytest.raises(DatasetUnavailable) as error:
        load(name, tmp_path)
    message = str(error.value)
    assert name in message
    assert str(tmp_path / name) in message
    assert "CCTBOARD_DATASETS" in message
    assert "\n" not in message
