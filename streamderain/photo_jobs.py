"""Which picture becomes which file, for one picture or a folder of them."""
from __future__ import annotations

from collections import Counter
from pathlib import Path

from streamderain.errors import DerainError
from streamderain.photo_output import Format, format_of

Job = tuple[Path, Path]

READABLE_SUFFIXES = frozenset({".jpg", ".jpeg", ".mpo", ".png", ".webp", ".heic", ".heif", ".avif", ".tif", ".tiff",
                               ".bmp", ".gif"})
UNREAD_SUFFIXES = frozenset({".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf",
                             ".orf", ".rw2"})  # pictures too, as a phone or camera writes them beside those
ENDINGS: dict[Format, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}


def jobs_for(source: Path, target: Path, kind: Format | None) -> list[Job]:
    """Pair inputs with outputs; a folder's outputs keep each stem, and the folder for them is made.

    Args:
        source: a picture, or a folder whose pictures are taken in the order of their names.
        target: a file for a picture (or a folder that exists), a folder for a folder.
        kind: format of what goes into a folder, PNG where None; a target file says it by its name.

    Raises:
        DerainError: source is a folder without pictures or not readable, target does not suit it, or kind
            contradicts the target's name.
    """
    if source.is_dir():
        return _folder_jobs(source, target, ENDINGS[kind or "png"])
    if target.is_dir():
        return [(source, target / f"{source.stem}{ENDINGS[kind or 'png']}")]
    if kind is not None and format_of(target) != kind:
        raise DerainError(f"{target} is not named as {kind}; leave --format out or change the name.")
    return [(source, target)]


def passed_over(source: Path) -> list[str]:
    """Names of the pictures in a folder that no job is made of, because nothing here reads their kind."""
    if not source.is_dir():
        return []
    return sorted(p.name for p in source.iterdir() if p.suffix.lower() in UNREAD_SUFFIXES and p.name[0] != ".")


def _folder_jobs(source: Path, target: Path, ending: str) -> list[Job]:
    pictures = _pictures_in(source)
    if target.exists() and not target.is_dir():
        raise DerainError(f"{target} is a file; name a folder for the pictures of {source}.")
    if target.exists() and target.samefile(source):
        raise DerainError(f"{target} is the input folder itself; name another one.")
    _refuse_same_names(source, pictures)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DerainError(f"folder {target} cannot be made ({error.strerror}); choose another.") from error
    return [(picture, target / f"{picture.stem}{ending}") for picture in pictures]


def _pictures_in(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DerainError(f"folder {folder} cannot be read ({error.strerror}); check its permissions.") from error
    named = [p for p in entries if p.suffix.lower() in READABLE_SUFFIXES and not p.name.startswith(".")]
    pictures = [p for p in named if p.is_file()]
    if not pictures:
        kinds = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF"
        raise DerainError(f"folder {folder} holds no pictures; give one with {kinds} files.")
    return pictures


def _refuse_same_names(folder: Path, pictures: list[Path]) -> None:
    counts = Counter(picture.stem.casefold() for picture in pictures)  # some file systems ignore case
    twins = [picture.name for picture in pictures if counts[picture.stem.casefold()] > 1]
    if twins:
        raise DerainError(f"{twins[0]} and {twins[1]} in {folder} would get the same output name; rename one.")
