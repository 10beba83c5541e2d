"""The PNG container around the pixels: EXIF, ICC profile and the other descriptions travel as whole chunks."""
from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

import imagecodecs
import numpy as np

Chunk = tuple[bytes, bytes]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_END = len(SIGNATURE) + 25  # IHDR always comes first: length, name, 13 bytes, checksum
BIT_DEPTH_AT = len(SIGNATURE) + 16
CARRIED = frozenset({b"cHRM", b"gAMA", b"iCCP", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"eXIf",
                     b"tEXt", b"zTXt", b"iTXt", b"tIME"})  # say nothing about palette or bit depth, so stay true

XMP = b"XML:com.adobe.xmp\0"  # an iTXt chunk of this name
PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def descriptions(data: bytes) -> tuple[Chunk, ...]:
    """Take the chunks that describe a picture out of a whole PNG file, as they are and in their order.

    Args:
        data: a PNG file that a decoder has already accepted.
    """
    return tuple(chunk for chunk in _chunks(data) if chunk[0] in CARRIED)


def describe(*, exif: bytes | None, icc: bytes | None, xmp: bytes | None) -> tuple[Chunk, ...]:
    """Make the chunks that say the same in a PNG as another container's EXIF, ICC and XMP blocks."""
    chunks: list[Chunk] = []
    if icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if exif:
        chunks.append((b"eXIf", exif))
    if xmp:
        chunks.append((b"iTXt", XMP + bytes(4) + xmp))
    return tuple(chunks)


def decode(data: bytes) -> np.ndarray:
    """Read the pixels of a PNG file, (H, W) or (H, W, C) uint8 or uint16; a transparent colour becomes a channel.

    Raises:
        imagecodecs.PngError: data is damaged.
    """
    # libpng writes its complaints about descriptions straight to the terminal, so it never sees any
    pixels = (_packed(*chunk) for chunk in _chunks(data) if chunk[0] in PIXELS)
    return imagecodecs.png_decode(SIGNATURE + b"".join(pixels))


def encode(pixels: np.ndarray, chunks: Iterable[Chunk] = ()) -> bytes:
    """Write a PNG file of 8 or 16 bits, without loss.

    Args:
        pixels: (H, W) grey or (H, W, C), uint8 or uint16; C is 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        chunks: descriptions to put between the header and the pixels.
    """
    data = bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
    return data[:HEADER_END] + b"".join(_packed(*chunk) for chunk in chunks) + data[HEADER_END:]


def _chunks(data: bytes) -> Iterator[Chunk]:
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, data[position + 8 : position + 8 + length]
        position += 12 + length


def _packed(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
