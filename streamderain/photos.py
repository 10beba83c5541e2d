"""Single pictures in and out: a photo is a frame whose EXIF, ICC profile, alpha and 16 bits stay as they came.

Pillow knows the containers and all 8-bit pixels but cuts 16-bit colour down to 8; imagecodecs (libpng and libtiff,
wheels for every platform) reads those. The pixels are never turned: a picture stays as stored, with its orientation;
HEIC alone comes upright, as its container wants it.
"""
from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from streamderain import heif, png, tiff
from streamderain.core.colour import PixelFormat
from streamderain.errors import DerainError
from streamderain.frame import Frame

READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", *heif.FORMATS)
Image.init()  # Pillow would look for the rarer ones of these only if the usual ones had failed
MAX_PIXELS = 120_000_000  # a 100-megapixel camera passes
PILLOW_MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # Pillow itself refuses more

ORIENTATION = 274
BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, PLANAR, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 259, 262, 284, 338, 339
GREY_OR_RGB, YCBCR, JPEG, UNASSOCIATED_ALPHA = (1, 2), 6, 7, 2
DEFLATE = (8, 32946)
DEGREES = {3: 180, 4: 180, 5: -90, 6: -90, 7: 90, 8: 90}  # counterclockwise, by EXIF orientation; 4, 5 and 7 mirror too
DIRECTORIES = (0x8769, 0x8825)  # EXIF and GPS stand in directories of their own
PLAIN_MODES = {"L", "LA", "RGB", "RGBA"}
JPEG_KEPT = {"APP0": b"", "APP1": (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0"), "APP2": (b"ICC_PROFILE\0", b"MPF\0"),
             "APP14": b"Adobe"}  # segments that are carried along or say how the pixels are stored
JPEG_NAMES = {"COM": "comment", "APP13": "Photoshop block (IPTC)", "APP1": "extended XMP"}
CONVERTED_MODES = {"1": "L", "P": "RGB", "PA": "RGBA"}

# What broken files make Pillow raise, beside its own errors, which are OSError.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, LookupError, TypeError, OverflowError,
           RuntimeError)  # the last: imagecodecs' own


@dataclass(frozen=True, slots=True)
class Description:
    """What a picture file says beside its pixels; `read` leaves it in Frame.side["description"].

    Attributes:
        exif: EXIF block as it came, from its byte order mark on; None where there is none.
        icc: ICC profile as it came.
        xmp: XMP packet as it came.
        png_chunks: the describing chunks of a PNG, which another PNG takes over whole.
        notes: what could not be kept, one sentence each, for the user.
    """

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    png_chunks: tuple[png.Chunk, ...] = ()
    notes: tuple[str, ...] = ()


def read(path: Path, *, max_pixels: int = MAX_PIXELS) -> Frame:
    """Read one picture.

    Args:
        path: JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or still GIF.
        max_pixels: larger pictures are refused before their pixels are unpacked.

    Returns:
        A frame of family "rgb" or "grey", 8 or 16 bits, full range, with opacity in alpha, degrees for display
        in rotation and a Description in side["description"]. The pixels are as stored, not turned.

    Raises:
        DerainError: not a picture, too large, of a kind that would lose something (exit code 1); damaged (3).
    """
    with _opened(path) as image:
        _check_size(path, image, max_pixels)
        _check_single(path, image)
        notes = ["only the first of its pictures is kept"] if image.format == "MPO" else _left_behind(path, image)
        orientation = _orientation(image)
        if image.format == "TIFF":
            pixels, description = _tiff_pixels(path, image), _tiff_description(path, image)
        elif image.format in heif.FORMATS and (deep := _deep_pixels(path, image)) is not None:
            pixels, description = deep, _description(path, image)
        else:
            pixels, description = _pixels(path, image, notes), _description(path, image)
    return _frame(pixels, DEGREES.get(orientation, 0), replace(description, notes=tuple(notes)))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture with its header read; whatever stops that is told in one line."""
    if not path.exists():
        raise DerainError(f"{path} does not exist; give a picture or a folder of pictures.")
    if not path.is_file():
        raise DerainError(f"{path} is not a file; give a picture or a folder of pictures.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files; what matters is checked here
        try:
            image = Image.open(path, formats=READABLE)
        except UnidentifiedImageError as error:
            with path.open("rb") as file:
                if heif.is_one(file.read(64)):  # its reader says so of a broken one, too
                    raise _damaged(path, error) from error
            line = f"{path} is not a picture that can be read; give JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF."
            raise DerainError(line) from error
        except Image.DecompressionBombError as error:
            raise DerainError(f"{path} has over {PILLOW_MAX_PIXELS} pixels; make it smaller first.") from error
        except PermissionError as error:
            raise DerainError(f"{path} may not be read; check its permissions.") from error
        except _BROKEN as error:
            raise _damaged(path, error) from error
        with image:
            yield image


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: BaseException) -> DerainError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DerainError(f"{path} is damaged or cut short ({reason}); fetch it again.", exit_code=3)


def _check_size(path: Path, image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise DerainError(
            f"{path} has {image.width}x{image.height} pixels, more than {max_pixels}; allow it with --max-pixels."
        )


def _check_single(path: Path, image: Image.Image) -> None:
    with _damage_told(path):
        count = getattr(image, "n_frames", 1)
    if count > 1 and image.format not in ("MPO", "HEIF"):  # phones add previews, and keep bursts together
        raise DerainError(f"{path} holds {count} pictures; give single ones, or an animation as a video.")


def _left_behind(path: Path, image: Any) -> list[str]:
    """What of a JPEG or HEIC no output takes over, in one note."""
    if image.format == "HEIF":
        return heif.left_behind(image)
    if image.format != "JPEG":
        return []
    others = [name for name, body in image.applist if not body.startswith(JPEG_KEPT.get(name, ()))]
    found = list(dict.fromkeys(JPEG_NAMES.get(name, name) for name in others))
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 4096), 2)
        if not file.read().rstrip(b"\0").endswith(b"\xff\xd9"):
            found.append("data after the picture (a motion photo's video?)")
    return [f"its {', '.join(found)} {'are' if len(found) > 1 else 'is'} not kept"] if found else []


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except _BROKEN:  # the picture may be whole all the same; its block is carried along as it is
        return 1


def _pixels(path: Path, image: Image.Image, notes: list[str]) -> np.ndarray:
    """The samples of anything but TIFF; a palette is looked up, a transparent colour becomes opacity."""
    with _damage_told(path):
        image.load()  # all of it, so that a file cut short is noticed and trailing descriptions are seen
        if image.format == "PNG" and _png_depth(path) == 16:
            return png.decode(path.read_bytes())
    mode = CONVERTED_MODES.get(image.mode, image.mode)
    if mode not in PLAIN_MODES:
        raise DerainError(f"{path} has {image.mode} pixels, not grey or RGB; convert it to RGB first.")
    if "transparency" in image.info and mode in ("L", "RGB"):
        if image.format == "PNG" and image.mode == "L":  # Pillow spreads samples of 2 and 4 bits to 0..255, not this
            image.info["transparency"] *= 255 // (2 ** _png_depth(path) - 1)
        mode += "A"
    if image.mode in CONVERTED_MODES:
        notes.append(f"its {'two tones' if image.mode == '1' else 'palette'} became {mode}")
    return np.asarray(image if mode == image.mode else image.convert(mode))


def _deep_pixels(path: Path, image: Image.Image) -> np.ndarray | None:
    """The samples of a phone's picture of more than 8 bits, None for one of 8."""
    data = path.read_bytes()
    if reason := heif.trouble(image, data):
        raise DerainError(f"{path} {reason}.")
    with _damage_told(path):
        return heif.deep_pixels(data, image.format or "")


def _png_depth(path: Path) -> int:
    """Bits of a sample."""
    with path.open("rb") as file:
        return file.read(png.HEADER_END)[png.BIT_DEPTH_AT]


def _tiff_pixels(path: Path, image: Any) -> np.ndarray:
    """The samples of a TIFF; Pillow would turn them, and its libtiff would complain straight to the terminal."""
    tags = image.tag_v2
    rgb_inside = tags.get(PHOTOMETRIC) == YCBCR and tags.get(COMPRESSION) == JPEG
    plain = set(tags.get(BITS_PER_SAMPLE, (1,))) in ({8}, {16}) and set(tags.get(SAMPLE_FORMAT, (1,))) == {1}
    opacity = tags.get(EXTRA_SAMPLES, ()) in ((), (UNASSOCIATED_ALPHA,))
    if not (plain and opacity and (rgb_inside or tags.get(PHOTOMETRIC) in GREY_OR_RGB)):
        raise DerainError(f"{path} is TIFF, but not 8 or 16 bits of grey, RGB or RGB with alpha; convert it first.")
    with _damage_told(path):
        data = path.read_bytes()
        if tags.get(COMPRESSION) in DEFLATE:
            places, lengths = (tags.get(strips, tags.get(tiles, ())) for strips, tiles in ((273, 324), (279, 325)))
            tiff.check_sums(data, places, lengths)
        pixels = imagecodecs.tiff_decode(data)
    return np.moveaxis(pixels, 0, -1) if tags.get(PLANAR) == 2 and pixels.ndim == 3 else pixels


def _description(path: Path, image: Image.Image) -> Description:
    exif, icc, xmp = (_bytes(image.info.get(name)) for name in ("exif", "icc_profile", "xmp"))
    chunks = png.descriptions(path.read_bytes()) if image.format == "PNG" else ()
    return Description(exif and exif.removeprefix(b"Exif\0\0"), icc, xmp, chunks)


def _tiff_description(path: Path, image: Any) -> Description:
    """What a TIFF's directory says of the photo, as a block of its own; how its pixels are stored is left out."""
    kept = Image.Exif()
    with _damage_told(path):
        tags = image.getexif()
        kept.endian = tags.endian
        for tag, value in tags.items():
            if tag not in tiff.STRUCTURE | {tiff.ICC_PROFILE, tiff.XMP_PACKET}:
                kept[tag] = tags.get_ifd(tag) if tag in DIRECTORIES else value
        exif = kept.tobytes().removeprefix(b"Exif\0\0") if len(kept) else None
    return Description(exif, _bytes(image.tag_v2.get(tiff.ICC_PROFILE)), _bytes(image.tag_v2.get(tiff.XMP_PACKET)))


def _bytes(value: object) -> bytes | None:
    """A block as it is, None where there is none or a broken file made it something else."""
    return value if isinstance(value, bytes) and value else None


def _frame(pixels: np.ndarray, rotation: int, description: Description) -> Frame:
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.shape[2:] not in ((), (1,), (2,), (3,), (4,)):
        raise ValueError(f"samples are (H, W) or (H, W, 1 to 4) of 8 or 16 bits, got {pixels.shape} {pixels.dtype}")
    channels = [pixels] if pixels.ndim == 2 else [pixels[..., c] for c in range(pixels.shape[2])]
    planes = [np.ascontiguousarray(channel) for channel in channels]
    alpha = planes.pop() if len(planes) in (2, 4) else None
    form = PixelFormat("rgb" if len(planes) == 3 else "grey", bit_depth=8 * pixels.itemsize, full_range=True)
    return Frame(tuple(planes), form, alpha=alpha, rotation=rotation, side={"description": description})
