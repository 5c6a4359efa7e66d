"""Weights that have an address are fetched once, by https from whom the machine trusts, or not at all."""

import hashlib
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from torch import Tensor

from cct.models import create_model
from cct.pretrained import locate
from cct.published import PUBLISHED
from cct.spec import RunSpec
from cct.weights import UnusableWeights, read_weights
from tests.cct.test_pretrained import packed

NAME = "cct2-3x2_cifar10"


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return create_model("cct_2_3x2_32", seed=7).state_dict()


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/insecure/"):
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.plain_port}/weights.pth")  # type: ignore[attr-defined]
            self.end_headers()
        else:
            super().do_GET()

    def send_head(self):  # type: ignore[no-untyped-def]
        self.cut = "short" in self.path
        return super().send_head()

    def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
        outputfile.write(source.read()[:100] if self.cut else source.read())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of localhost that this machine trusts, with its key."""
    path = tmp_path / "certificate.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", str(path.with_name("part.pem"))]
    subprocess.run([*request.split(), *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_name("part.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


@pytest.fixture
def published(tmp_path: Path, weights: dict[str, Tensor], certificate: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of an https server with `weights.pth` and the paths it was asked for."""
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save(weights, folder / "weights.pth")
    torch.save(weights, folder / "short.pth")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[str] = []
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server,
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as plain,
    ):
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threads = [Thread(target=each.serve_forever) for each in (server, plain)]
        for each, thread in zip((server, plain), threads, strict=True):
            each.asked, each.plain_port = asked, plain.server_port  # type: ignore[attr-defined]
            thread.start()
        yield f"https://localhost:{server.server_port}", asked
        for each, thread in zip((server, plain), threads, strict=True):
            each.shutdown()
            thread.join()


def test_an_address_is_downloaded_once_by_processes_that_start_together(
    published: tuple[str, list[str]], tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    url, asked = published
    code = "import sys, pathlib, cct.pretrained as p; print(p.locate(sys.argv[1], pathlib.Path(sys.argv[2])))"
    command = [sys.executable, "-c", code, f"{url}/weights.pth?download=1", str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    [found] = {process.communicate()[0].strip() for process in processes}
    assert asked == ["/weights.pth?download=1"]
    assert Path(found).is_relative_to(tmp_path / "pretrained")
    assert all(torch.equal(value, weights[key]) for key, value in read_weights(Path(found)).tensors.items())


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none.pth", "404"), ("short.pth", "ended after 100 of"), ("insecure/weights.pth", "without https")],
)
def test_a_download_that_fails_leaves_nothing_and_says_why(
    path: str, reason: str, published: tuple[str, list[str]], tmp_path: Path
) -> None:
    address = f"{published[0]}/{path}"
    for _ in range(2):
        with pytest.raises(UnusableWeights, match=reason) as error:
            locate(address, tmp_path)
        assert address in str(error.value)
    assert not list((tmp_path / "pretrained" / "downloads").glob("*.pth"))


def test_an_answer_that_is_no_file_of_weights_is_not_kept(published: tuple[str, list[str]], tmp_path: Path) -> None:
    right = tmp_path / "published" / "weights.pth"
    weights = right.read_bytes()
    right.write_text("<html>Please log in</html>")
    with pytest.raises(UnusableWeights, match="there is something else in it"):
        locate(f"{published[0]}/weights.pth", tmp_path)
    right.write_bytes(weights)
    assert locate(f"{published[0]}/weights.pth", tmp_path).read_bytes() == weights


def test_an_address_may_tell_the_checksum_of_what_is_there(
    published: tuple[str, list[str]], tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    address, asked = f"{published[0]}/weights.pth", published[1]
    right = hashlib.sha256((tmp_path / "published" / "weights.pth").read_bytes()).hexdigest()
    with pytest.raises(
        UnusableWeights, match=rf"its checksum is sha256={right}, not sha256=0{{64}}\); put the file into"
    ):
        locate(f"{address}#sha256={64 * '0'}", tmp_path)
    assert not list((tmp_path / "pretrained" / "downloads").glob("*.pth"))
    path = locate(f"{address}#sha256={right}", tmp_path)
    assert locate(address, tmp_path) == locate(f"{address}#sha256={right}", tmp_path) == path
    assert asked == ["/weights.pth"] * 2, "kept, by whatever name"
    torch.save(weights | {"classifier.fc.bias": torch.ones(10)}, tmp_path / "published" / "weights.pth")
    newer = hashlib.sha256((tmp_path / "published" / "weights.pth").read_bytes()).hexdigest()
    assert locate(address, tmp_path).read_bytes() != (tmp_path / "published" / "weights.pth").read_bytes()
    assert hashlib.sha256(locate(f"{address}#sha256={newer}", tmp_path).read_bytes()).hexdigest() == newer


def test_published_weights_are_known_by_their_name(
    published: tuple[str, list[str]], tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = published
    monkeypatch.setitem(PUBLISHED, NAME, replace(PUBLISHED[NAME], address=f"{url}/files/{NAME}.pth.zip"))
    (folder := tmp_path / "published" / "files").mkdir()
    packed(weights, folder / f"{NAME}.pth.zip")
    spec = RunSpec(pretrained=NAME)
    for _ in range(2):
        found = read_weights(locate(spec.pretrained, tmp_path)).tensors
        assert all(torch.equal(value, weights[key]) for key, value in found.items())
    assert asked == [f"/files/{NAME}.pth.zip"]
    put_there = tmp_path / "pretrained" / f"{NAME}.pth.zip"
    shutil.copy(folder / f"{NAME}.pth.zip", put_there)
    assert locate(NAME, tmp_path) == put_there, "where there is no network"


@pytest.mark.parametrize("malformed", ["https://a..b/x.pth", "https://localhost/a b.pth", "https://localhost/ä.pth"])
def test_a_malformed_address_is_named(malformed: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableWeights, match=malformed):
        locate(malformed, tmp_path)


def test_a_server_without_a_trusted_certificate_is_not_believed(
    published: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UnusableWeights, match="CERTIFICATE_VERIFY_FAILED"):
        locate(f"{published[0]}/weights.pth", tmp_path)
    assert published[1] == []
