"""Folders and patterns of pictures: which files they mean, and what the next one is called."""
from __future__ import annotations

import itertools
import re
from pathlib import Path

from streamderain.containers import PICTURE_ENCODERS, PICTURE_SUFFIXES
from streamderain.errors import DerainError
from streamderain.outputs import Unfinished, same_file

_NUMBER = re.compile(r"%0?(\d*)d")
_GLOB = re.compile(r"[*?\[]")


def is_pictures(path: Path) -> bool:
    """Whether an input path means several pictures: a folder, or a name with %d or * that is not itself a file."""
    return path.is_dir() or (not path.exists() and bool(_NUMBER.search(path.name) or _GLOB.search(path.name)))


def is_picture_output(path: Path) -> bool:
    """Whether an output path means pictures: a name with %d, or a folder (existing, or a name without a suffix)."""
    if _NUMBER.search(path.name):
        return True
    return path.is_dir() or not path.suffix


def find(path: Path) -> list[Path]:
    """The pictures that a folder or pattern means, in counting order (frame2 before frame10).

    Raises:
        DerainError: there are none.
    """
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()]
    elif not path.parent.is_dir():
        raise DerainError(f"{path.parent} is no folder; check the pattern's path")
    elif _NUMBER.search(path.name):
        pattern = _number_pattern(path.name)
        found = [file for file in path.parent.iterdir() if pattern.fullmatch(file.name)]
    else:
        found = [file for file in path.parent.glob(path.name) if file.is_file()]
    if not found:
        raise DerainError(f"{path} has no pictures; give a folder or pattern that holds at least one")
    return sorted(found, key=counting_key)


def counting_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that reads digits as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def gap_in(files: list[Path]) -> str | None:
    """Where the numbers of pictures skip some, in words; None where they rise evenly, or there are none.

    Args:
        files: in counting order.
    """
    found = [re.fullmatch(r"(.*?)(\d+)\D*", file.stem) for file in files]
    numbers = [int(each[2]) for each in found if each]
    if len(numbers) < max(3, len(files)) or len({each[1] for each in found if each}) > 1:
        return None
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    usual, wide = min(steps), [at for at, step in enumerate(steps) if step != min(steps)]
    if usual < 1 or not 0 < len(wide) < len(steps) / 2:  # photos with numbers are no sequence
        return None
    missing = sum(steps[at] // usual - 1 for at in wide)
    lost = "a picture is missing" if missing == 1 else f"{missing} pictures are missing, the first"
    return f"{lost} between {files[wide[0]].name} and {files[wide[0] + 1].name}"


def output_pattern(path: Path) -> tuple[Path, str]:
    """The folder that pictures go to, and the pattern of their names.

    Args:
        path: a pattern with %d, or a folder, which gets 000001.png and so on.

    Raises:
        DerainError: the suffix is of no picture format that we write.
    """
    folder, name = (path.parent, path.name) if _NUMBER.search(path.name) else (path, "%06d.png")
    suffix = Path(name).suffix.lower()
    if suffix not in PICTURE_ENCODERS:
        known = " ".join(sorted(PICTURE_ENCODERS))
        raise DerainError(f"{path} has no picture format that can be written; use one of {known}")
    return folder, name


def claim(path: Path, input: Path | None, *, overwrite: bool) -> Unfinished:
    """A temporary folder for the pictures of an output.

    Args:
        path: as for `output_pattern`.
        input: what is read meanwhile, None where that is no path.
        overwrite: pictures of such names may stand there.

    Raises:
        DerainError: the folder is the input, or pictures would be replaced, or nothing can be made there.
    """
    folder, pattern = output_pattern(path)
    if input is not None and same_file(folder, input):
        raise DerainError(f"{path} is the input; give another folder")
    standing = existing(folder, pattern) or (list(folder.glob("*.png")) if path == folder else [])
    read = {file.resolve() for file in find(input)} if input is not None and is_pictures(input) else set()
    if any(file.resolve() in read for file in standing):
        raise DerainError(f"{path} is the input; give another folder")
    if standing and not overwrite:
        raise DerainError(f"{standing[0]} exists; give another name or --overwrite")
    return Unfinished(folder, folder=True, replace=overwrite)


def refuse_same_stems(input: Path) -> None:
    """Raises DerainError where two pictures of an input would get one name in an output folder."""
    seen: dict[str, Path] = {}
    for file in find(input):
        twin = seen.setdefault(file.stem.casefold(), file)  # some file systems ignore case
        if twin is not file:
            line = f"{twin.name} and {file.name} in {file.parent} would get the same output name"
            raise DerainError(f"{line}; rename one, or number the output: %06d.png")


def numbered(pattern: str, index: int, stem: str | None = None) -> str:
    """The name of picture number `index` (from 1), or of the one that came in as `stem`."""
    if stem is not None:
        return stem + Path(pattern).suffix
    return _NUMBER.sub(lambda found: str(index).zfill(int(found[1] or 1)), pattern, count=1)


def existing(folder: Path, pattern: str) -> list[Path]:
    """Files in the folder that the pattern would name."""
    if not folder.is_dir():
        return []
    name = _number_pattern(pattern)
    return [file for file in folder.iterdir() if name.fullmatch(file.name)]


def _number_pattern(name: str) -> re.Pattern[str]:
    before, after = _NUMBER.split(name, maxsplit=1)[0], _NUMBER.split(name, maxsplit=1)[-1]
    return re.compile(re.escape(before) + r"\d+" + re.escape(after))
