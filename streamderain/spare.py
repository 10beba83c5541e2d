"""A file that can still be ended when the disk is full: MP4 and MOV need room for their index after all else."""
from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import IO, Any

_INDEX_BYTES = 40  # of a packet in the index, at most
_LEAST_BYTES = 2 << 20  # what the muxer still holds when the disk is full, and the index of an hour
_FULL = {errno.ENOSPC, errno.EDQUOT}


class SpareFile:
    """What a muxer writes into, beside a nameless file that only takes up room.

    Where the disk is full that room is given back: the write that failed goes on, `full` says so, and what is left is
    for the end of the file.

    Args:
        path: written anew.

    Raises:
        OSError: it cannot be made, or the disk is full already.
    """

    def __init__(self, path: Path) -> None:
        self.full = False
        self._file = path.open("wb", buffering=0)
        self._spare: IO[bytes] | None = tempfile.TemporaryFile(dir=path.parent, buffering=0)  # noqa: SIM115 - closed in close()
        self._size = 0
        self._fill(_LEAST_BYTES)

    def expect(self, packets: int) -> None:
        """Keep enough room for the index of so many packets.

        Raises:
            OSError: the disk is full.
        """
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self._size < _LEAST_BYTES + packets * _INDEX_BYTES:
            self._fill(1 << 20)

    def write(self, data: Any) -> int:
        """All of the data; FFmpeg calls this."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                if error.errno not in _FULL or self._spare is None:
                    raise
                self._give_back()
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """FFmpeg goes back to say how long the data is."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the next byte goes."""
        return self._file.tell()

    def close(self) -> None:
        """Release both."""
        self._file.close()
        if self._spare is not None:
            self._spare.close()

    def _give_back(self) -> None:
        assert self._spare is not None
        self._spare.close()
        self._spare, self.full = None, True

    def _fill(self, size: int) -> None:
        assert self._spare is not None
        try:
            self._spare.write(bytes(size))
        except OSError as error:
            if error.errno in _FULL:
                self._give_back()
            raise
        self._size += size
