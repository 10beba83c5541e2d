"""HEIC and AVIF, as phones write them: what Pillow alone does not read of them. The door to pillow-heif (libheif).

Both are boxes of ISO 14496-12; those asked for here are found by their names, which does for a header.
"""
from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener(thumbnails=False)  # Pillow's format "HEIF"

FORMATS = ("HEIF", "AVIF")
BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # numbers of H.273
_SRGB_PRIMARIES = (1, 2)  # BT.709, and those that do not say


def is_one(head: bytes) -> bool:
    """Whether a file that begins so wants to be HEIC or AVIF."""
    return head[4:8] == b"ftyp" and any(brand in head[8:64] for brand in BRANDS)


def trouble(image: Image.Image, data: bytes) -> str | None:
    """Why a picture's colours could not be what they were in a file of another kind, None where they can."""
    primaries, transfer = _colours(data)
    if transfer in HDR_TRANSFERS:
        return f"is HDR ({HDR_TRANSFERS[transfer]}); export it as SDR first"
    if primaries not in _SRGB_PRIMARIES and not image.info.get("icc_profile"):
        return "has colours of its own without an ICC profile; export it as sRGB first"
    return None


def left_behind(image: Image.Image) -> list[str]:
    """What stands beside the picture in its file and goes into no other, in one note."""
    info: Any = image.info
    found = [name for name, there in (
        ("HDR gain map or other auxiliary pictures", info.get("aux")), ("depth map", info.get("depth_images")),
    ) if there]  # fmt: skip
    if getattr(image, "n_frames", 1) > 1:
        found.append("other pictures")
    return [f"its {', '.join(found)} {'is' if found == ['depth map'] else 'are'} not kept"] if found else []


def deep_pixels(data: bytes, kind: str) -> np.ndarray | None:
    """The samples of a picture of 10 or 12 bits, which Pillow would cut down to 8; None for one of 8 bits.

    Args:
        data: the file.
        kind: "HEIF" or "AVIF".

    Returns:
        (H, W, 1 to 4) uint16, white at 65535; HEIF upright, AVIF as it is stored, both as Pillow has them.
    """
    if kind == "AVIF":
        depth = _av1_depth(data)
        return None if depth == 8 else _spread(imagecodecs.avif_decode(data), depth)
    file: Any = pillow_heif.open_heif(data, convert_hdr_to_8bit=False)
    picture = file[file.primary_index]
    depth = picture.info["bit_depth"]
    return None if depth == 8 else _spread(np.asarray(picture) >> (16 - depth), depth)


def _spread(pixels: np.ndarray, depth: int) -> np.ndarray:
    """Samples of so many bits, each at its place among 65536."""
    return ((pixels.astype(np.uint32) * 65535 + (1 << (depth - 1))) // ((1 << depth) - 1)).astype(np.uint16)


def _av1_depth(data: bytes) -> int:
    """Bits of a sample, by the flags of AV1's configuration box."""
    at = data.find(b"av1C")
    flags = data[at + 6] if at >= 0 and at + 6 < len(data) else 0
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def _colours(data: bytes) -> tuple[int, int]:
    """Primaries and transfer as H.273 numbers them, 2 where the file does not say."""
    at = data.find(b"colrnclx")
    if at < 0:
        return 2, 2
    return int.from_bytes(data[at + 8 : at + 10], "big"), int.from_bytes(data[at + 10 : at + 12], "big")
