"""Runs as event files that `tensorboard --logdir` reads: TFRecord framing around a few protobuf messages."""

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from app.store.rows import Run
from cct.events import EpochRecord

_NOT_CURVES = {"epoch", "seconds"}


def event_file(run: Run, records: Sequence[EpochRecord]) -> bytes:
    """The run's spec as text and a scalar per metric and epoch; the epoch is the step.

    Records carry no time of day: an epoch's wall time is the run's start plus the seconds of its epochs so far, so
    pauses between attempts do not show.
    """
    wall_time = (run.started_at or run.created_at).timestamp()
    rows = [f"| {name} | {_in_markdown(str(value))} |" for name, value in asdict(run.spec).items()]
    table = "\n".join(["| field | value |", "| --- | --- |", *rows])
    events = [_event(wall_time, 0, _bytes(3, b"brain.Event:2")), _event(wall_time, 0, _summary([_text("spec", table)]))]
    for record in records:
        wall_time += record.seconds
        curves = {name: value for name, value in asdict(record).items() if name not in _NOT_CURVES}
        scalars = [_scalar(name, value) for name, value in curves.items() if isinstance(value, int | float)]
        events.append(_event(wall_time, record.epoch, _summary(scalars)))
    return b"".join(map(_framed, events))


def _in_markdown(text: str) -> str:
    """A user's text, in which no character is markup of a table, a link or HTML."""
    return re.sub(r"[^\w ./-]", lambda found: f"&#{ord(found[0])};", text)


def _event(wall_time: float, step: int, content: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", wall_time) + b"\x10" + _varint(step) + content


def _summary(values: Iterable[bytes]) -> bytes:
    return _bytes(5, b"".join(_bytes(1, value) for value in values))


def _scalar(tag: str, value: float) -> bytes:
    return _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value)


def _text(tag: str, text: str) -> bytes:
    """A tensor of one string, marked for TensorBoard's page of texts."""
    metadata = _bytes(1, _bytes(1, b"text"))
    tensor = b"\x08\x07" + _bytes(2, _bytes(2, b"\x08\x01")) + _bytes(8, text.encode())
    return _bytes(1, tag.encode()) + _bytes(8, tensor) + _bytes(9, metadata)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _framed(event: bytes) -> bytes:
    length = struct.pack("<Q", len(event))
    return length + _masked_crc(length) + event + _masked_crc(event)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC32C = _crc_table()


def _masked_crc(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
