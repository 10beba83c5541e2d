"""Single pictures of a live run, kept in a folder when somebody asks for one."""
from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import cv2

from streamderain.errors import DerainError
from streamderain.live.controls import Controls
from streamderain.live.lane import Item, Lane
from streamderain.live.moments import Shown, Sound
from streamderain.live.pictures import to_bgr
from streamderain.live.status import Status
from streamderain.live.timing import MONOTONIC, Clock
from streamderain.outputs import full, write_whole

LEAST_SECONDS = 0.5  # between two pictures, however often they are asked for: a disk is soon full
_CLOSE_SECONDS = 5.0
_JPEG_QUALITY = 95


class Snapshots:
    """An Output that keeps the newest picture, without rain, when Controls has a wish for one.

    Files are named NAME_2031-05-01T12-00-00.250Z.png by the time of day in UTC, are upright and have 8 bits, and stand
    under their name only when they are complete. While the camera is lost, the marked stand-in is what is kept.

    Args:
        folder: where; made where it is missing.
        controls: where the wishes come from.
        status: told of every picture, and of trouble with the disk.
        camera: its name among several, for the files' names.
        kind: of file.
        clock: of the run.
        now: the time of day.

    Raises:
        DerainError: nothing can be written there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        controls: Controls,
        status: Status,
        camera: str = "",
        kind: Literal["png", "jpg"] = "png",
        clock: Clock = MONOTONIC,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        _prepare(folder)
        self.name = f"snapshots {folder}"
        self._folder, self._controls, self._status, self._clock, self._now = folder, controls, status, clock, now
        self._camera = re.sub(r"[^A-Za-z0-9_-]", "_", camera)[:64] or "camera"
        self._kind = kind
        self._account = status.add_output(self.name)
        self._next_at = float("-inf")
        self._lane = Lane(self._keep, name="snapshots", dropped=self._count_dropped, failed=self._failed)

    def show(self, shown: Shown) -> None:
        """Keep this picture if one was wished for."""
        now = self._clock.now()
        if now >= self._next_at and self._controls.take_snapshots():
            self._next_at = now + LEAST_SECONDS
            self._lane.put(shown)

    def hear(self, sound: Sound) -> None:
        """A picture is silent."""

    def close(self) -> None:
        """Finish the one that is being written."""
        self._lane.close(_CLOSE_SECONDS)

    def _keep(self, item: Item) -> None:
        if isinstance(item, Sound):
            return
        path = self._path()
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if self._kind == "jpg" else []
        _, data = cv2.imencode(f".{self._kind}", to_bgr(item.after), options)
        try:
            write_whole(path, data.tobytes())
        except OSError as error:  # the next one may find room again
            reason = full(error)
            self._account.state, self._account.detail = "failed", reason
            self._account.dropped += 1
            self._status.tell("error", f"{path} could not be written: {reason}; make room or give another folder")
            return
        self._account.state, self._account.detail = "working", path.name
        self._account.taken += 1
        self._status.tell("snapshot", f"kept {path}" if item.live else f"kept {path}, marked: the camera is lost")

    def _path(self) -> Path:
        stem = f"{self._camera}_{self._now().strftime('%Y-%m-%dT%H-%M-%S.%f')[:-3]}Z"
        path, number = self._folder / f"{stem}.{self._kind}", 1
        while path.exists():  # the time of day can be set back
            number += 1
            path = self._folder / f"{stem}-{number}.{self._kind}"
        return path

    def _count_dropped(self, count: int) -> None:
        self._account.dropped += count

    def _failed(self, error: Exception) -> None:
        self._account.state, self._account.detail = "failed", str(error)
        self._status.tell("error", f"no more snapshots are kept: {error}")


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / ".streamderain-probe", b"")
        (folder / ".streamderain-probe").unlink(missing_ok=True)
    except FileExistsError:
        raise DerainError(f"{folder} is no folder; give a folder for snapshots") from None
    except OSError as error:
        raise DerainError(f"{folder} cannot be written ({full(error)}); give another folder for snapshots") from None
