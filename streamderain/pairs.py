"""Which rainy picture belongs to which clean one."""
from __future__ import annotations

import re
from pathlib import Path

from streamderain.errors import DerainError
from streamderain.photo_jobs import READABLE_SUFFIXES


def pair_pictures(rainy: Path, clean: Path) -> list[tuple[Path, Path]]:
    """Match two folders' pictures one to one: by stem, else by all numbers in the stem, else by the last number.

    So norain-001.png finds rain-001.png, and 7_gt.png finds 7.jpg.

    Returns:
        (rainy, clean) paths in the order of the rainy names.

    Raises:
        DerainError: a folder without pictures, other counts, or names that do not match.
    """
    left, right = list_pictures(rainy), list_pictures(clean)
    if len(left) != len(right):
        raise DerainError(
            f"{rainy} has {len(left)} pictures and {clean} has {len(right)}; each rainy picture needs its clean one."
        )
    for key in (_stem, _numbers, _last_number):
        partners = {key(path): path for path in right}
        if len(partners) == len(right) and {key(path) for path in left} == partners.keys():
            return [(path, partners[key(path)]) for path in left]
    stems = {path.stem for path in right}
    lonely = next((path for path in left if path.stem not in stems), left[0])
    raise DerainError(f"{lonely} has no partner in {clean}; name both alike, or number them alike.")


def list_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, in the order of their names.

    Raises:
        DerainError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DerainError(f"{folder} is no folder; give a folder of pictures, or two videos.")
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    found = sorted(path for path in shown if path.suffix.lower() in READABLE_SUFFIXES)
    if not found:
        raise DerainError(f"{folder} has no pictures; give a folder of {', '.join(sorted(READABLE_SUFFIXES))}.")
    return found


def _stem(path: Path) -> str:
    return path.stem


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", path.stem))


def _last_number(path: Path) -> int | None:
    return next(reversed(_numbers(path)), None)
