"""An output file or folder that appears under its name only when it is complete."""
from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path

from streamderain.errors import DerainError


class ReaderGone(DerainError):
    """The program that read our stdout closed it: nothing to tell, exit code 4."""

    def __init__(self) -> None:
        super().__init__("the reader of the output closed it", exit_code=4)


class Unfinished:
    """A temporary name beside the final one, in the same folder, so that the move is atomic.

    Args:
        final: where the complete output shall stand; a file, or a folder with `folder`.
        folder: the output is a folder of files.
        replace: what stands under the final name, also since the work began, is replaced.

    Raises:
        DerainError: nothing can be created there.

    Attributes:
        path: the temporary name.
    """

    def __init__(self, final: Path, *, folder: bool = False, replace: bool = True) -> None:
        self.final, self._folder, self._replace = final, folder, replace
        if folder and final.is_dir():  # within it: it may be another file system, or the folder we stand in
            self.path = final / f".streamderain-{secrets.token_hex(4)}"
        else:
            self.path = final.with_name(f".{final.stem[:100]}.{secrets.token_hex(4)}{final.suffix}")
        self._try()

    def commit(self) -> None:
        """Flush to the disk and move into place.

        Raises:
            OSError: the disk refused, or something stands there by now that is not to be replaced.
        """
        move = os.replace if self._replace else _move_beside
        if self._folder and self.final.is_dir():
            for file in sorted(self.path.iterdir()):
                move(file, self.final / file.name)
            self.path.rmdir()
        elif self._folder:
            os.replace(self.path, self.final)
        else:
            _flush(self.path)
            move(self.path, self.final)
        _flush(self.final.parent)

    def keep_partial(self) -> Path | None:
        """Give what is finished a name that says so, and return it; None where there is nothing."""
        if not self.path.exists():
            return None
        partial, count = self._partial("partial"), 1
        while os.path.lexists(partial):  # an earlier run's, or the user's own, even the input
            count += 1
            partial = self._partial(f"partial-{count}")
        os.replace(self.path, partial)
        return partial

    def _partial(self, word: str) -> Path:
        if self.path.parent == self.final:
            return self.final / word
        return self.final.with_name(f"{self.final.stem}.{word}{self.final.suffix}")

    def discard(self) -> None:
        """Remove the temporary file or folder."""
        if self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)

    def _try(self) -> None:
        if self._folder and os.path.lexists(self.final) and not self.final.is_dir():
            raise DerainError(f"{self.final} is no folder; give another output")
        try:
            if self._folder:
                self.path.mkdir()
                self.path.rmdir()
            else:
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
                self.path.unlink()
        except OSError as error:
            raise DerainError(_unwritable(self.path.parent, error)) from None


def claim(final: Path, input: Path | None, *, overwrite: bool) -> Unfinished:
    """A temporary name for a file.

    Args:
        final: where it shall stand.
        input: what is read meanwhile, None where that is no file.
        overwrite: something may stand there.

    Raises:
        DerainError: the path is the input, holds something, or is no place for a file.
    """
    if input is not None and same_file(final, input):
        raise DerainError(f"{final} is the input itself; give another output")
    if final.is_dir():
        raise DerainError(f"{final} is a folder; give the name of a file in it")
    if os.path.lexists(final) and not overwrite:
        raise DerainError(f"{final} exists; give another name or --overwrite")
    return Unfinished(final, replace=overwrite)


def check_name(name: str) -> None:
    """Raise DerainError where an input or output has no name; pathlib takes an empty one for the current folder."""
    if not name:
        raise DerainError("a file name is empty; give the path again")
    if "\0" in name:
        raise DerainError("a file name cannot hold a NUL byte; give the path again")


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file that appears under its name when it is complete; an existing one is replaced.

    Raises:
        OSError: the disk refuses.
    """
    part = path.with_name(f".streamderain-{secrets.token_hex(6)}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, also through symbolic or hard links."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def full(error: OSError) -> str:
    """Why nothing more could be written, in words."""
    if error.errno == errno.EEXIST:
        return "another file of that name has appeared"
    return "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error)).lower()


def _move_beside(path: Path, final: Path) -> None:
    """Rename a file to a name that nobody has.

    Raises:
        OSError: somebody has it, or the disk refuses.
    """
    try:
        os.link(path, final)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, "File exists") from None
        os.replace(path, final)
    else:
        path.unlink()


def _unwritable(folder: Path, error: OSError) -> str:
    if not folder.exists():
        return f"{folder} does not exist; make the folder first"
    if not folder.is_dir():
        return f"{folder} is no folder; give another output"
    return f"{folder} cannot be written ({full(error)}); give another folder"


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
