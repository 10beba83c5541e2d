"""The live picture in a window of this machine's screen, by OpenCV; drawn and read by the main thread only."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

import cv2
import numpy as np

from streamderain import compare
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.live.controls import Controls
from streamderain.live.moments import Shown, Sound
from streamderain.live.pictures import to_bgr
from streamderain.live.spawn import python
from streamderain.live.status import Status
from streamderain.live.timing import MONOTONIC, Clock

VIEWS = ("after", "wipe", "side", "rain", "before")
START_SIZE = (1280, 720)  # no window begins larger, so that it fits on any screen
_HANDLE = "streamderain"
_STYLE = cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL  # the bars beside the picture are ours
_TITLE_SECONDS = 1.0
_MESSAGE_SECONDS = 1.5
_STRENGTH_STEP = 0.1
_PROBE_SECONDS = 20.0
_PROBE = "import cv2, os; cv2.namedWindow('streamderain'); os._exit(0)"


class Window:
    """An Output that keeps the newest picture, and the window that `pump` draws it into.

    Keys: q or Esc ends, space freezes the picture, c shows the next of VIEWS, f fills the screen, s asks for a
    snapshot, + and - change the strength. The line of the wipe follows the mouse while a button is held.

    Args:
        controls: what the keys change.
        status: where the title's figures come from.
        clock: of the run.

    Raises:
        DerainError: there is no screen to show it on.
    """

    name = "window"

    def __init__(self, *, controls: Controls, status: Status, clock: Clock = MONOTONIC) -> None:
        check_display()
        self._controls, self._status, self._clock = controls, status, clock
        self._account = status.add_output(self.name)
        self._lock = threading.Lock()
        self._newest: Shown | None = None
        self._drawn: Shown | None = None
        self._view, self._frozen, self._full_screen, self._wipe_at = VIEWS[0], False, False, 0.5
        self._message, self._message_until = "", 0.0
        self._dirty, self._open, self._sized = True, False, False
        self._space = (0, 0)
        self._left, self._picture_width = 0, 1
        self._titled_at = float("-inf")
        self._keys: dict[str, Callable[[], None]] = {
            " ": self._freeze, "c": self._next_view, "f": self._fill_screen, "s": self._snapshot,
            "+": lambda: self._strengthen(+1), "=": lambda: self._strengthen(+1), "-": lambda: self._strengthen(-1),
        }  # fmt: skip

    def show(self, shown: Shown) -> None:
        """Keep the newest."""
        with self._lock:
            if self._newest is not None and self._newest is not self._drawn and not self._frozen:
                self._account.dropped += 1
            self._newest = shown

    def hear(self, sound: Sound) -> None:
        """A window is silent."""

    def pump(self) -> bool:
        """Draw the newest picture and read the keys; for the main thread, every 10 to 20 ms.

        Returns:
            False when the person wants to end.
        """
        if not self._open:
            self._create()
        elif not _is_there():
            return False
        self._draw()
        self._tell_title()
        key = cv2.waitKey(1)
        return key < 0 or self._press(key & 0xFF)

    def close(self) -> None:
        """Take the window away; for the main thread."""
        if self._open:
            self._open = False
            with suppress(cv2.error):  # the person has closed it already
                cv2.destroyWindow(_HANDLE)
                cv2.waitKey(1)  # without a turn of its loop the toolkit leaves it standing

    # --- drawing ---
    def _create(self) -> None:
        cv2.namedWindow(_HANDLE, _STYLE)
        cv2.resizeWindow(_HANDLE, *(side // 2 for side in START_SIZE))
        cv2.setMouseCallback(_HANDLE, self._mouse)
        self._open = True
        self._say("waiting for the camera", float("inf"))

    def _draw(self) -> None:
        with self._lock:
            shown = self._drawn if self._frozen and self._drawn is not None else self._newest
            fresh = shown is not self._drawn
            self._drawn = shown
        if self._message and self._clock.now() >= self._message_until:
            self._message, self._dirty = "", True
        space = _space()
        if not (fresh or self._dirty or space != self._space):
            return
        self._dirty, self._space = False, space
        canvas = np.zeros((space[1], space[0], 3), np.uint8)
        if shown is not None:
            canvas = self._picture(shown, space)
        if fresh:
            self._account.taken += 1
            self._account.state = "working"
        _write(canvas, self._message)
        cv2.imshow(_HANDLE, canvas)

    def _picture(self, shown: Shown, space: tuple[int, int]) -> np.ndarray:
        """The chosen view as uint8 BGR in the window's shape; no pixels are made that the window would only shrink."""
        frame = self._frame(shown)
        size = _shown_size(frame)
        if not self._sized:
            self._sized, self._message = True, ""
            share = min(1.0, *_shares(size, START_SIZE))
            space = round(size[0] * share), round(size[1] * share)
            cv2.resizeWindow(_HANDLE, *space)
        share = min(_shares(size, space))
        if share > 1:  # the toolkit enlarges
            space, share = (round(space[0] / share), round(space[1] / share)), 1.0
        canvas, self._left, self._picture_width = _framed(to_bgr(frame, max(1, round(size[0] * share))), space)
        return canvas

    def _frame(self, shown: Shown) -> Frame:
        if self._view == "wipe":
            return compare.wipe(shown.before, shown.after, self._wipe_at)
        if self._view == "side":
            return compare.side(shown.before, shown.after)
        if self._view == "rain":
            return compare.rain(shown.before, shown.after)
        return shown.after if self._view == "after" else shown.before

    def _tell_title(self) -> None:
        now = self._clock.now()
        if now - self._titled_at < _TITLE_SECONDS:
            return
        self._titled_at = now
        recent = self._status.recent()
        words = [self._status.source]
        if not self._status.connected:
            words.append("no camera")
        elif recent["fps_out"] is not None and recent["latency_ms_p50"] is not None:
            words += [f"{recent['fps_out']:.1f} fps", f"{recent['latency_ms_p50']:.0f} ms"]
        words += ["frozen"] * self._frozen
        with suppress(cv2.error):  # closed in this moment: the next pump sees it
            cv2.setWindowTitle(_HANDLE, " ".join(" - ".join(words).split()))

    def _say(self, message: str, seconds: float = _MESSAGE_SECONDS) -> None:
        self._message, self._message_until, self._dirty = message, self._clock.now() + seconds, True

    # --- keys and mouse ---
    def _press(self, key: int) -> bool:
        word = chr(key).lower()
        if word in ("q", "\x1b"):
            return False
        if word in self._keys:
            self._keys[word]()
        return True

    def _freeze(self) -> None:
        self._frozen = not self._frozen
        self._titled_at = float("-inf")
        self._say("frozen" if self._frozen else "live")

    def _next_view(self) -> None:
        self._view = VIEWS[(VIEWS.index(self._view) + 1) % len(VIEWS)]
        self._say(self._view)

    def _fill_screen(self) -> None:
        self._full_screen = not self._full_screen
        state = cv2.WINDOW_FULLSCREEN if self._full_screen else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(_HANDLE, cv2.WND_PROP_FULLSCREEN, state)

    def _snapshot(self) -> None:
        if not any(output.name.startswith("snapshots") for output in self._status.outputs):
            return self._say("give --snapshots DIR to keep pictures")
        self._controls.ask_snapshot()
        return self._say("snapshot")

    def _strengthen(self, steps: int) -> None:
        strength = min(max(round(self._controls.settings.strength + steps * _STRENGTH_STEP, 1), 0.0), 2.0)
        self._controls.ask(strength=strength)
        self._say(f"strength {strength:.1f}")

    def _mouse(self, event: int, x: int, y: int, flags: int, parameter: object) -> None:
        if self._view == "wipe" and flags & (cv2.EVENT_FLAG_LBUTTON | cv2.EVENT_FLAG_RBUTTON):
            self._wipe_at = min(max((x - self._left) / self._picture_width, 0.0), 1.0)
            self._dirty = True


def check_display() -> None:
    """Make sure that a window can be opened.

    Raises:
        DerainError: this OpenCV has no windows, or there is no screen; in one line.
    """
    advice = "use --serve 8088 and look with a browser"
    if not cv2.currentUIFramework():
        raise DerainError(f"no display: the installed OpenCV is built without windows; {advice}")
    if sys.platform != "linux":
        return
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise DerainError(f"no display: neither DISPLAY nor WAYLAND_DISPLAY is set; {advice}")
    # The toolkit aborts the whole process where it finds no screen, so another one tries first; and it hangs where
    # PyAV was loaded before OpenCV (both bring X libraries of one name), so that one loads them in our order.
    loaded = list(sys.modules)
    order = "import av; " if "av" in loaded and loaded.index("av") < loaded.index("cv2") else ""
    command = python("-c", order + _PROBE)
    try:
        probe = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise DerainError(f"no display: the screen does not answer; {advice}") from None
    if probe.returncode != 0:
        reason = (probe.stderr.strip().splitlines() or ["it cannot be opened"])[0].strip()
        raise DerainError(f"no display: {reason}; {advice}")


def _is_there() -> bool:
    try:
        return cv2.getWindowProperty(_HANDLE, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # the last window is gone, and the toolkit with it
        return False


def _space() -> tuple[int, int]:
    """Width and height of the window's inside, pixels."""
    try:
        _, _, width, height = cv2.getWindowImageRect(_HANDLE)
    except cv2.error:
        return START_SIZE
    return (width, height) if width > 0 and height > 0 else START_SIZE


def _shown_size(frame: Frame) -> tuple[int, int]:
    size = frame.width, frame.height
    return size if round(frame.rotation / 90) % 2 == 0 else size[::-1]


def _shares(size: tuple[int, int], space: tuple[int, int]) -> tuple[float, float]:
    """How many times the size fits into the space, across and down."""
    return space[0] / size[0], space[1] / size[1]


def _framed(picture: np.ndarray, space: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """The picture in the middle of a black canvas (width, height); its left edge and its width there."""
    height, width = picture.shape[:2]
    spare_x, spare_y = max(0, space[0] - width), max(0, space[1] - height)
    if not (spare_x or spare_y):
        return picture, 0, width
    left, top = spare_x // 2, spare_y // 2
    bars = top, spare_y - top, left, spare_x - left
    return cv2.copyMakeBorder(picture, *bars, cv2.BORDER_CONSTANT, value=(0, 0, 0)), left, width


def _write(canvas: np.ndarray, message: str) -> None:
    """White letters on a black box in the lower left corner."""
    if not message:
        return
    height = canvas.shape[0]
    scale, margin = max(0.4, height / 700), max(2, height // 60)
    stroke = max(1, round(2 * scale))
    (width, above), below = cv2.getTextSize(message, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
    low = height - margin
    box = (margin, low - above - below - 2 * margin), (3 * margin + width, low)
    cv2.rectangle(canvas, *box, (0, 0, 0), cv2.FILLED)
    place = 2 * margin, low - margin - below
    cv2.putText(canvas, message, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), stroke, cv2.LINE_AA)
