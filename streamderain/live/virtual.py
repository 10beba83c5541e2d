"""The live picture as a camera that other programs can open, by pyvirtualcam."""
from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from streamderain.errors import DerainError
from streamderain.live.lane import Item, Lane
from streamderain.live.moments import Shown, Sound
from streamderain.live.pictures import to_bgr
from streamderain.live.status import Status
from streamderain.live.timing import MONOTONIC, Clock

_CLOSE_SECONDS = 3.0
_AGAIN_SECONDS = 5.0  # between two attempts to open a device that failed
_USUAL_RATE = 25.0
_PROBE_SIZE = (640, 480)
_LOOPBACKS = Path("/sys/devices/virtual/video4linux")
_LOAD = "load one with `sudo modprobe v4l2loopback exclusive_caps=1` (package v4l2loopback-dkms)"
_INSTALL = "install OBS Studio and start its virtual camera once"


class VirtualCamera:
    """An Output that is a camera; its size is that of the first picture, others are fitted into it with black bars.

    Args:
        device: such as "/dev/video10" or "OBS Virtual Camera"; "auto" takes the first there is.
        status: told of trouble; its session says the rate.
        clock: of the run.

    Raises:
        DerainError: the library or the device is missing, in one line with what to do.
    """

    def __init__(self, device: str = "auto", *, status: Status, clock: Clock = MONOTONIC) -> None:
        self._library = _library()
        self._device = None if device == "auto" else device
        self.name = "virtual camera" if device == "auto" else f"virtual camera {device}"
        self._status, self._clock = status, clock
        self._size: tuple[int, int] | None = None
        self._camera: Any = None
        self._again_at = float("-inf")
        self._probe()
        self._account = status.add_output(self.name)
        self._lane = Lane(self._take, name="virtual camera", dropped=self._count_dropped, failed=self._failed)

    def show(self, shown: Shown) -> None:
        """Hand it to the device's thread; the newest wins."""
        self._lane.put(shown)

    def hear(self, sound: Sound) -> None:
        """A virtual camera is silent."""

    def close(self) -> None:
        """Give the device back."""
        if self._lane.close(_CLOSE_SECONDS):
            self._release()

    def _probe(self) -> None:
        """Tell before the run that there is no device."""
        if sys.platform == "linux":  # opening it would settle its size
            here = any(_LOOPBACKS.glob("video*")) if self._device is None else Path(self._device).is_char_device()
            if not here:
                raise DerainError(f"there is no {self._device or 'video loopback device'}; {_LOAD}")
            return
        try:
            self._open(_PROBE_SIZE).close()
        except Exception as error:  # each backend raises what it likes
            raise DerainError(f"{self.name} cannot be opened ({_reason(error)}); {_INSTALL}") from None

    def _open(self, size: tuple[int, int]) -> Any:
        session = self._status.session
        rate = float(session.rate) if session is not None and session.rate else _USUAL_RATE
        return self._library.Camera(*size, rate, fmt=self._library.PixelFormat.BGR, device=self._device)

    def _take(self, item: Item) -> None:
        if isinstance(item, Sound):
            return
        try:
            picture = to_bgr(item.after)
            if self._camera is None and not self._begin(picture):
                self._account.dropped += 1
                return
            assert self._size is not None
            self._camera.send(fitted(picture, self._size))
        except Exception as error:  # a device can go and come back, and years of running must not end here
            self._lost(error)
            return
        self._account.taken += 1

    def _begin(self, picture: np.ndarray) -> bool:
        """Open the device; whether it is time to."""
        if self._clock.now() < self._again_at:
            return False
        height, width = picture.shape[:2]
        self._size = self._size or (max(2, width // 2 * 2), max(2, height // 2 * 2))  # devices want even sides
        self._camera = self._open(self._size)
        self._account.state = "working"
        self._account.detail = f"{self._camera.device}, {self._size[0]}x{self._size[1]}"
        self._status.tell("virtual", f"other programs find the picture as {self._account.detail}")
        return True

    def _lost(self, error: Exception) -> None:
        self._release()
        self._again_at = self._clock.now() + _AGAIN_SECONDS
        if self._account.state != "waiting" or not self._account.restarts:  # each trouble is told once
            self._status.tell("virtual", f"{self.name} failed ({_reason(error)}); it is tried again")
        self._account.state, self._account.detail = "waiting", _reason(error)
        self._account.restarts += 1
        self._account.dropped += 1

    def _release(self) -> None:
        camera, self._camera = self._camera, None
        if camera is not None:
            try:
                camera.close()
            except Exception as error:  # it is gone either way
                self._account.detail = _reason(error)

    def _count_dropped(self, count: int) -> None:
        self._account.dropped += count

    def _failed(self, error: Exception) -> None:
        self._account.state, self._account.detail = "failed", _reason(error)
        self._status.tell("error", f"{self.name} ended: {_reason(error)}")


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) uint8 in the middle of (width, height), as large as it fits, with black bars."""
    width, height = size
    if picture.shape[:2] == (height, width):
        return picture
    share = min(width / picture.shape[1], height / picture.shape[0])
    inner = min(width, max(1, round(picture.shape[1] * share))), min(height, max(1, round(picture.shape[0] * share)))
    resized = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    bars = top, height - inner[1] - top, left, width - inner[0] - left
    return cv2.copyMakeBorder(resized, *bars, cv2.BORDER_CONSTANT, value=(0, 0, 0))


def _library() -> ModuleType:
    try:
        import pyvirtualcam  # an extra: not every machine wants to be a camera
    except (ImportError, OSError) as error:
        reason = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not load ({_reason(error)})"
        raise DerainError(
            f"a virtual camera needs pyvirtualcam, which {reason}: pip install 'streamderain[virtual]'"
        ) from None
    return pyvirtualcam


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
