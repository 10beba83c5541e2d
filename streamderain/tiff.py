"""TIFF files of 8 and 16 bits, without loss, built around the EXIF block as it came.

An EXIF block is itself a small TIFF file. Putting it first and writing only a new directory behind it keeps every
offset inside it true, maker notes included, which no library at hand does.
"""
from __future__ import annotations

import struct
import zlib

import numpy as np

SHORT, LONG, UNDEFINED = 3, 4, 7
ROWS_PER_STRIP = 256
EMPTY = b"II*\0\x08\0\0\0"

# What says how pixels are stored; the EXIF block of a TIFF or its thumbnail may still speak of other pixels.
STRUCTURE = frozenset({254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288,
                       289, 290, 291, 292, 293, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 338, 339,
                       340, 341, 342, 347, 512, 513, 514, 529, 530, 531, 532})
ICC_PROFILE, XMP_PACKET = 34675, 700


def encode(pixels: np.ndarray, *, exif: bytes | None = None, icc: bytes | None = None,
           xmp: bytes | None = None) -> bytes:
    """Write one picture as a TIFF file (deflate with horizontal differences).

    Args:
        pixels: (H, W) grey or (H, W, C), uint8 or uint16; C is 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        exif: a block that starts with its byte order mark; kept byte for byte but for the pointer to the directory.
        icc: colour profile.
        xmp: packet.

    Raises:
        ValueError: exif is not a readable block.
    """
    order, kept = _directory(exif or EMPTY)
    body = bytearray(exif or EMPTY)
    entries = {tag: entry for tag, entry in kept.items() if tag not in STRUCTURE | {ICC_PROFILE, XMP_PACKET}}
    fields = _structure(pixels, *_append_strips(body, pixels, order))
    if icc:
        fields[ICC_PROFILE] = (UNDEFINED, icc)
    if xmp:
        fields[XMP_PACKET] = (1, xmp)
    for tag, (kind, value) in fields.items():
        entries[tag] = _entry(body, order, tag, kind, value)
    _align(body)
    struct.pack_into(order + "I", body, 4, len(body))
    body += struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return bytes(body)


def check_sums(data: bytes, offsets: tuple[int, ...], lengths: tuple[int, ...]) -> None:
    """Compare the deflated strips or tiles of a file with their checksums, which libtiff does not look at.

    Raises:
        zlib.error: one is not what was written.
    """
    for offset, length in zip(offsets, lengths, strict=False):
        unpacking, packed = zlib.decompressobj(), data[offset : offset + length]
        while packed and not unpacking.eof:
            unpacking.decompress(packed, 1 << 20)  # little by little: a small strip may unpack to gigabytes
            packed = unpacking.unconsumed_tail


def _directory(exif: bytes) -> tuple[str, dict[int, bytes]]:
    """The byte order of an EXIF block and the raw 12-byte entries of its first directory, by tag."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        raise ValueError("an EXIF block starts with its byte order mark")
    if exif == EMPTY:
        return order, {}
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        entries = [exif[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
        return order, {struct.unpack(order + "H10x", entry)[0]: entry for entry in entries}
    except struct.error as error:
        raise ValueError(f"the EXIF block ends early: {error}") from error


def _append_strips(body: bytearray, pixels: np.ndarray, order: str) -> tuple[list[int], list[int]]:
    """Compress the pixels onto body; the place and length of every strip."""
    offsets, lengths = [], []
    for top in range(0, len(pixels), ROWS_PER_STRIP):
        strip = pixels[top : top + ROWS_PER_STRIP]
        steps = strip.copy()
        steps[:, 1:] -= strip[:, :-1]  # wraps around, as the predictor asks
        packed = zlib.compress(steps.astype(f"{order}u{steps.itemsize}").tobytes())
        _align(body)
        offsets.append(len(body))
        lengths.append(len(packed))
        body += packed
    return offsets, lengths


def _structure(pixels: np.ndarray, offsets: list[int], lengths: list[int]) -> dict[int, tuple[int, list[int] | bytes]]:
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    fields: dict[int, tuple[int, list[int] | bytes]] = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8 * pixels.itemsize] * channels),
        259: (SHORT, [8]),  # deflate
        262: (SHORT, [2 if channels > 2 else 1]),  # RGB, or grey with 0 for black
        273: (LONG, offsets),
        277: (SHORT, [channels]),
        278: (LONG, [ROWS_PER_STRIP]),
        279: (LONG, lengths),
        284: (SHORT, [1]),  # samples side by side
        317: (SHORT, [2]),  # horizontal differences
    }
    if channels in (2, 4):
        fields[338] = (SHORT, [2])  # the last sample is opacity, colours not multiplied by it
    return fields


def _entry(body: bytearray, order: str, tag: int, kind: int, value: list[int] | bytes) -> bytes:
    """One directory entry; what does not fit into its four bytes is appended to body."""
    count = len(value)
    if not isinstance(value, bytes):
        value = struct.pack(f"{order}{count}{'H' if kind == SHORT else 'I'}", *value)
    if len(value) > 4:
        _align(body)
        body += value
        value = struct.pack(order + "I", len(body) - len(value))
    return struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")


def _align(body: bytearray) -> None:
    body += bytes(len(body) % 2)
