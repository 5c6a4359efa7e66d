"""What a run leaves behind: files and event files, as the API serves them."""

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from app.analysis.tensorboard import _masked_crc
from app.settings import Settings
from app.store.lease import Lease
from app.store.run_store import RunStore
from tests.app.store.test_store import RECORD, SPEC


def test_files_are_listed_and_downloaded_with_their_length(
    client: TestClient, settings: Settings, store: RunStore
) -> None:
    [run] = store.create_runs([SPEC])
    assert client.get(f"/runs/{run.id}/files").json() == []
    assert client.get(f"/runs/{run.id}/files/best.pt").status_code == 404
    settings.checkpoints(run.id).mkdir(parents=True)
    content = b"weights" * 10_000
    (settings.checkpoints(run.id) / "best.safetensors").write_bytes(content)
    [file] = client.get(f"/runs/{run.id}/files").json()
    assert (file["name"], file["bytes"]) == ("best.safetensors", len(content))
    reply = client.get(f"/runs/{run.id}/files/best.safetensors", headers={"Accept-Encoding": "gzip"})
    assert reply.content == content
    assert reply.headers["content-length"] == str(len(content))
    assert f"run-{run.id}-best.safetensors" in reply.headers["content-disposition"]


@pytest.mark.parametrize("name", ["secret.txt", "..%2Fsecret.txt", "%2e%2e/secret.txt", "..%5Csecret.txt"])
def test_no_other_file_can_be_named(client: TestClient, settings: Settings, store: RunStore, name: str) -> None:
    [run] = store.create_runs([SPEC])
    folder = settings.checkpoints(run.id)
    folder.mkdir(parents=True)
    for place in (folder, folder.parent):
        (place / "secret.txt").write_text("secret")
    assert client.get(f"/runs/{run.id}/files/{name}").status_code in (404, 422)


def test_an_unknown_run_has_no_files(client: TestClient) -> None:
    for path in ("files", "files/best.pt", "tensorboard"):
        assert client.get(f"/runs/0123456789ab/{path}").status_code == 404


def test_checksums_are_those_of_the_standard() -> None:
    crc = 0xE3069283  # of "123456789", the check value of CRC-32C
    assert _masked_crc(b"123456789") == struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def events_of(data: bytes) -> list[bytes]:
    """The messages of an event file, after a look at their lengths and checksums."""
    events = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = data[12 : 12 + length]
        assert data[8:12] == _masked_crc(data[:8])
        assert data[12 + length : 16 + length] == _masked_crc(event)
        events.append(event)
        data = data[16 + length :]
    return events


def test_curves_are_an_event_file_with_an_event_per_epoch(
    client: TestClient, store: RunStore, claim: Callable[[], Lease]
) -> None:
    [run] = store.create_runs([SPEC])
    lease = claim()
    for epoch in (1, 2):
        lease.record_epoch(replace(RECORD, epoch=epoch))
    with zipfile.ZipFile(io.BytesIO(client.get(f"/runs/{run.id}/tensorboard").content)) as archive:
        [name] = archive.namelist()
        data = archive.read(name)
    assert name.startswith(f"run-{run.id}/events.out.tfevents.")
    version, text, *epochs = events_of(data)
    assert b"brain.Event:2" in version
    assert b"| dataset | digits |" in text
    assert [event[10] for event in epochs] == [1, 2], "the step"
    value = b"\x0a\x08val_top1\x15" + struct.pack("<f", RECORD.val_top1)
    assert all(value in event for event in epochs)
