"""A photo's frame written to a file that holds all of it, or a refusal in one line; nothing half-written is left."""
from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from streamderain import png, tiff
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.outputs import write_whole
from streamderain.photos import Description

Format = Literal["png", "jpeg", "webp", "tiff"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[str, Format] = {
    ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff",
}
LARGEST_SIDE_PX: dict[Format, int] = {"jpeg": 65500, "webp": 16383}
JPEG_QUALITY = 95


def format_of(path: Path) -> Format:
    """The format that a file name asks for.

    Raises:
        DerainError: its ending is not one of SUFFIXES.
    """
    found = SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise DerainError(f"{path} does not end in a picture format that is written; use {', '.join(SUFFIXES)}.")
    return found


def check_target(source: Path, target: Path, *, overwrite: bool) -> None:
    """Refuse an output that cannot or must not be written, before any work.

    Raises:
        DerainError: target is a folder, the source itself, there already, or cannot be made where it should be.
    """
    format_of(target)
    if target.is_dir():
        raise DerainError(f"{target} is a folder; name a file.")
    if target.exists() and source.exists() and target.samefile(source):
        raise DerainError(f"{target} is the input itself; give another name.")
    if os.path.lexists(target) and not overwrite:  # a link that leads nowhere would be replaced too
        raise DerainError(f"{target} exists; give another name or --overwrite.")
    if not target.parent.is_dir():
        raise DerainError(f"folder {target.parent} does not exist; make it first.")
    if not os.access(target.parent, os.W_OK):
        raise DerainError(f"folder {target.parent} may not be written to; choose another or change its permissions.")


def check_holds(frame: Frame, target: Path) -> None:
    """Refuse a format that would lose alpha, 16 bits or the profile of this photo.

    Raises:
        DerainError: with the formats that keep everything.
    """
    kind, icc = format_of(target), _description(frame).icc
    if kind in ("png", "tiff"):
        return
    if frame.format.bit_depth > 8:
        raise DerainError(f"{target} would lose the picture's 16 bits; write .png or .tif.")
    if kind == "jpeg" and frame.alpha is not None:
        raise DerainError(f"{target} would lose the picture's transparency; write .png, .webp or .tif.")
    if kind == "webp" and frame.format.family == "grey" and icc and icc[16:20] == b"GRAY":
        raise DerainError(f"{target} cannot be grey and the picture's profile is for grey; write .png, .jpg or .tif.")
    if max(frame.width, frame.height) > LARGEST_SIDE_PX[kind]:
        raise DerainError(f"{target} can have {LARGEST_SIDE_PX[kind]} pixels along a side at most; write .png or .tif.")


def lost(frame: Frame, target: Path) -> list[str]:
    """What a PNG says of the photo and another container has no place for, in one note."""
    chunks = _description(frame).png_chunks if format_of(target) != "png" else ()
    names = dict.fromkeys(name for name, body in chunks if not body.startswith(png.XMP))
    if names.keys() & {b"iCCP", b"sRGB"}:  # what these say is said by the profile, or by there being none
        names = {name: None for name in names if name not in (b"gAMA", b"cHRM", b"iCCP", b"sRGB")}
    found = [name.decode() for name in names if name != b"eXIf"]
    return [f"its {', '.join(found)} {'are' if len(found) > 1 else 'is'} kept by .png alone"] if found else []


def write(frame: Frame, target: Path, *, quality: int | None = None) -> None:
    """Write a photo; the file appears under its name when it is complete.

    Args:
        frame: as `photos.read` gave it, with other pixels.
        target: its ending chooses the format; an existing file is replaced.
        quality: 1 to 100 for JPEG (95 where None) and WebP (without loss where None).

    Raises:
        DerainError: the format cannot hold the photo (exit code 1), or the file could not be written (4).
    """
    check_holds(frame, target)
    data = _encoded(frame, target, quality)
    try:
        write_whole(target, data)
    except OSError as error:
        line = f"{target} could not be written ({error.strerror}); make room or choose another place."
        raise DerainError(line, exit_code=4) from error


def _encoded(frame: Frame, target: Path, quality: int | None) -> bytes:
    pixels, about, kind = _side_by_side(frame), _description(frame), format_of(target)
    try:
        if kind == "png":
            chunks = about.png_chunks or png.describe(exif=about.exif, icc=about.icc, xmp=about.xmp)
            return png.encode(pixels, chunks)
        if kind == "tiff":
            return tiff.encode(pixels, exif=about.exif, icc=about.icc, xmp=about.xmp)
        return _encoded_by_pillow(pixels, about, kind, quality)
    except ValueError as error:
        raise DerainError(f"{target} cannot take over the picture's description ({error}); write .png.") from error


def _encoded_by_pillow(pixels: np.ndarray, about: Description, kind: Format, quality: int | None) -> bytes:
    file = BytesIO()
    exif = b"Exif\0\0" + about.exif if about.exif else b""
    how: dict[str, Any] = {"exif": exif, "icc_profile": about.icc, "xmp": about.xmp or b""}
    if kind == "jpeg":
        how |= {"quality": quality or JPEG_QUALITY, "subsampling": 0}  # colour at full resolution
    elif quality is None:
        how |= {"lossless": True, "exact": True}  # colours under transparent places too
    else:
        how |= {"quality": quality}
    Image.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


def _side_by_side(frame: Frame) -> np.ndarray:
    """(H, W) grey or (H, W, C): C is 2 for grey with alpha, 3 for RGB, 4 for RGB with alpha."""
    planes = frame.planes if frame.alpha is None else (*frame.planes, frame.alpha)
    return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)


def _description(frame: Frame) -> Description:
    return frame.side.get("description", Description())
