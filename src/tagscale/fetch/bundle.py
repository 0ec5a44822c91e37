"""Tensors of a TensorFlow checkpoint ("tensor bundle"), read without TensorFlow.

NAME.index is a table in LevelDB's format: blocks of keys that share prefixes, and a footer that finds the block of
blocks. Each value is a message that says where the tensor lies in NAME.data-00000-of-00001. Checksums are CRC-32C.

Source: TensorFlow's lib/io/format.h and table_format.txt (blocks, footer, masked checksums), and
core/protobuf/tensor_bundle.proto (the messages).
"""

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import google_crc32c
import numpy as np

from tagscale.runtime.errors import TagscaleError

MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes: two handles, zeros, the magic number
TRAILER = 5  # bytes after a block: how it is compressed, and its checksum
FLOAT = 1  # DT_FLOAT of types.proto
MASK = 0xA282EAD8  # added to rotated checksums
LONGEST_VARINT = 10  # bytes


class Malformed(ValueError):
    """The bytes are not what the format says."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: BundleEntryProto."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int | None


@dataclass
class Message:
    """A protobuf message: values by the number of their field; groups do not occur."""

    numbers: dict[int, int] = field(default_factory=dict)
    messages: dict[int, list[bytes]] = field(default_factory=dict)


def read_tensors(index: bytes, data: bytes, names: Iterable[str], origin: str) -> dict[str, np.ndarray]:
    """The named tensors, float32; others, such as an optimiser's, are not read.

    Args:
        index, data: content of the two files
        origin: what messages call the checkpoint
    Raises:
        TagscaleError: a file is damaged or of another format, a tensor is missing or not of float32.
    """
    try:
        entries = dict(_entries(index))
        return {name: _tensor(entries, name, data) for name in names}
    except Malformed as error:
        raise TagscaleError(
            f"{origin}: {error}. It is not a whole TensorFlow checkpoint of one shard; get the file again."
        ) from None


def _entries(index: bytes) -> Iterator[tuple[str, Entry]]:
    if len(index) < FOOTER or struct.unpack_from("<Q", index, len(index) - 8)[0] != MAGIC:
        raise Malformed("the index does not end in the magic number of a table")
    footer = memoryview(index)[-FOOTER:]
    place = _handle(footer, 0)[1]  # of the block of metadata, which is empty
    handle, _ = _handle(footer, place)
    for _, value in _block(index, *handle):
        for key, content in _block(index, *_handle(memoryview(value), 0)[0]):
            if key:  # the empty one is the header's
                yield key.decode(errors="replace"), _entry(content)


def _tensor(entries: dict[str, Entry], name: str, data: bytes) -> np.ndarray:
    entry = entries.get(name)
    if entry is None:
        raise Malformed(f"tensor `{name}` is missing")
    if entry.dtype != FLOAT or entry.shard != 0:
        raise Malformed(f"tensor `{name}` has type {entry.dtype} in shard {entry.shard}, expected {FLOAT} in shard 0")
    if entry.size != 4 * math.prod(entry.shape):
        raise Malformed(f"tensor `{name}` has {entry.size} bytes, which do not make the shape {entry.shape}")
    if entry.offset + entry.size > len(data):
        raise Malformed(f"tensor `{name}` ends at byte {entry.offset + entry.size}, the data at {len(data)}")
    content = data[entry.offset : entry.offset + entry.size]
    if entry.checksum is not None:
        _check(content, entry.checksum, f"tensor `{name}`")
    return np.frombuffer(content, "<f4").reshape(entry.shape)


def _block(index: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block."""
    if offset + size + TRAILER > len(index):
        raise Malformed(f"a block ends at byte {offset + size + TRAILER}, the index at {len(index)}")
    compression, checksum = struct.unpack_from("<BI", index, offset + size)
    _check(index[offset : offset + size + 1], checksum, f"the block at byte {offset}")
    if compression:
        raise Malformed(f"the block at byte {offset} is compressed")
    restarts = struct.unpack_from("<I", index, offset + size - 4)[0] if size >= 4 else 0
    end = size - 4 * (restarts + 1)
    if end < 0:
        raise Malformed(f"the block at byte {offset} has {size} bytes for {restarts} restarts")
    content = memoryview(index)[offset : offset + end]
    place, key = 0, b""
    while place < end:
        shared, place = _varint(content, place)
        rest, place = _varint(content, place)
        length, place = _varint(content, place)
        if shared > len(key) or place + rest + length > end:
            raise Malformed(f"an entry of the block at byte {offset} reaches past its end")
        key = key[:shared] + bytes(content[place : place + rest])
        place += rest
        yield key, bytes(content[place : place + length])
        place += length


def _entry(content: bytes) -> Entry:
    """BundleEntryProto: dtype 1, shape 2, shard_id 3, offset 4, size 5, crc32c 6, slices 7."""
    message = _message(content)
    if 7 in message.messages:
        raise Malformed("a tensor is stored in slices")
    shape = _message(b"".join(message.messages.get(2, [])))  # TensorShapeProto: its dim, 2, has size 1
    sizes = tuple(_message(dim).numbers.get(1, 0) for dim in shape.messages.get(2, []))
    numbers = message.numbers
    dtype, shard, offset, size = (numbers.get(key, 0) for key in (1, 3, 4, 5))
    return Entry(dtype, sizes, shard, offset, size, numbers.get(6))


def _message(content: bytes) -> Message:
    """The fields of a protobuf message."""
    view, place, message = memoryview(content), 0, Message()
    while place < len(view):
        key, place = _varint(view, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            message.numbers[number], place = _varint(view, place)
            continue
        length, place = _varint(view, place) if kind == 2 else ({1: 8, 5: 4}.get(kind, len(view)), place)
        if place + length > len(view):
            raise Malformed("a message ends before its last field")
        value, place = bytes(view[place : place + length]), place + length
        if kind == 2:
            message.messages.setdefault(number, []).append(value)
        else:
            message.numbers[number] = int.from_bytes(value, "little")
    return message


def _handle(view: memoryview, place: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and the place after them."""
    offset, place = _varint(view, place)
    size, place = _varint(view, place)
    return (offset, size), place


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and the place after it."""
    number = 0
    for count, byte in enumerate(view[place : place + LONGEST_VARINT]):
        number |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return number, place + count + 1
    raise Malformed("a number does not end")


def _check(content: bytes, masked: int, what: str) -> None:
    """Hold bytes against their masked checksum: rotated by 15 bits, plus a constant."""
    checksum = google_crc32c.value(content)
    if (((checksum >> 15 | checksum << 17) & 0xFFFFFFFF) + MASK) & 0xFFFFFFFF != masked:
        raise Malformed(f"{what} does not have the checksum that is stored with it")
