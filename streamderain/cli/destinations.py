"""Which output belongs to which input, from the paths that were given."""
from __future__ import annotations

import re
from pathlib import Path

import click

from streamderain.errors import DerainError

_PATTERN = re.compile(r"%\d*d|[*?]|\[[^]]*\]")  # what stands for several pictures has no place in a file's name
_SUFFIXES = {"matroska": ".mkv", "mpegts": ".ts", "yuv4mpegpipe": ".y4m"}
_SUFFIXES |= {name: f".{name}" for name in ("mkv", "webm", "mp4", "mov", "ts", "avi", "y4m", "nut")}


def destinations(paths: tuple[str, ...], out_dir: Path | None, container_format: str | None) -> list[tuple[str, str]]:
    """Pair every input with its output.

    Args:
        paths: IN OUT without out_dir, only INs with it.
        out_dir: a folder that exists; see make_folder.
        container_format: names the outputs' suffix in out_dir where it is a common one.

    Raises:
        click.UsageError: the paths do not make pairs.
        DerainError: two inputs would go to one output.
    """
    if out_dir is None:
        if len(paths) != 2:
            raise click.UsageError(f"give IN and OUT, or several INs with --out-dir; got {len(paths)} path(s).")
        return [(paths[0], paths[1])]
    pairs: dict[str, str] = {}
    for path in paths:
        if path == "-":
            raise click.UsageError("stdin has no name for --out-dir; give - and OUT alone.")
        output = str(out_dir / _name(Path(path), container_format))
        if output in pairs:
            raise DerainError(f"{pairs[output]} and {path} would both become {output}; do them in two runs.")
        pairs[output] = path
    return [(path, output) for output, path in pairs.items()]


def make_folder(out_dir: Path) -> bool:
    """Make the folder for outputs where it does not exist yet; its parent must. Whether it was made.

    Raises:
        DerainError: it cannot be made.
    """
    made = not out_dir.exists()
    try:
        out_dir.mkdir(exist_ok=True)
    except OSError as error:
        reason = "a file has that name" if out_dir.exists() else (error.strerror or str(error)).lower()
        raise DerainError(f"folder {out_dir} cannot be made ({reason}); choose another --out-dir.") from error
    return made


def _name(path: Path, container_format: str | None) -> str:
    """The input's name, with the container's suffix where one was asked for; pictures become a Matroska file."""
    suffix = _SUFFIXES.get(container_format or "")
    if path.is_dir():
        return (path.resolve().name or "pictures") + (suffix or ".mkv")
    if not path.exists() and _PATTERN.search(path.name):
        return (_PATTERN.sub("", path.stem).strip("._- ") or "pictures") + (suffix or ".mkv")
    return path.stem + (suffix or path.suffix or ".mkv")
