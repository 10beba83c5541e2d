"""One frame in, one frame out: view, search, companions, network, subtract. The past is held here and nowhere else."""
from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
from torch import Tensor

from streamderain import weights
from streamderain.core import colour, matching
from streamderain.core.checkpoint import CheckpointError, load_generator
from streamderain.core.colour import PixelFormat
from streamderain.core.companions import Companion, Slots, network_blocks
from streamderain.core.matching import Guide, MatchField, SearchSettings
from streamderain.core.single_frame import frame_input
from streamderain.engine import Engine
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.scaling import enlarged, lightened, shrunk

Picture = Frame | np.ndarray
ARRAY_FORMAT = PixelFormat(family="rgb", full_range=True)
SEARCH = SearchSettings()
_REACH_PX = 4  # half of a broad streak, in the smaller picture


@dataclass(frozen=True, slots=True)
class View:
    """What a frame is reduced to for the search and the network.

    Attributes:
        rgb: (3, H, W) uint8, turned upright.
        guide: padded, rain-suppressed luma.
    """

    rgb: np.ndarray
    guide: Guide


@dataclass(frozen=True, slots=True)
class Ahead:
    """A frame looked at before its turn: as it was given, as a Frame, and its view."""

    picture: Picture
    frame: Frame
    view: View


@dataclass(slots=True)
class Past:
    """What a Derainer remembers between frames; reset() starts a new one.

    Attributes:
        views: of the frames before, newest first, at most two.
        fields: the last match field of each role: "before" (t-1), "older" (t-2) and "after" (t+1).
        ahead: the frame that was looked at before its turn.
        number: undamaged frames seen since the reset; drives the search's random probes.
    """

    views: list[View] = field(default_factory=list)
    fields: dict[str, MatchField] = field(default_factory=dict)
    ahead: Ahead | None = None
    number: int = 0


class Derainer:
    """Takes the rain out of a stream of frames, one at a time and in order.

    Args:
        profile: "tiny", "realtime", "quality", or "auto": realtime on a GPU, tiny on a CPU.
        device: "auto", "cpu", "cuda" or "cuda:N".
        model: a .safetensors file made by `streamderain train`, of any method; overrides profile. A published
            network looks at each frame alone: then there is no search, and no past.
        strength: scales the rain layer before it is subtracted, 0 to 2; 0 changes nothing, 1 takes all of it away.
        scale: look for the rain in a picture that is smaller by this factor; the cost falls with its square, and fine
            streaks stay.

    Attributes:
        strength, scale: as above; may be changed between frames.
        profile, device, backend, precision: what was chosen.
        past: the temporal state.
        stage_ms: milliseconds spent in each stage so far.
        frames: frames derained so far.

    Raises:
        DerainError: no such device or profile, or the model file cannot be used.
    """

    def __init__(
        self,
        *,
        profile: str = "auto",
        device: str = "auto",
        model: str | Path | None = None,
        strength: float = 1.0,
        scale: int = 1,
    ) -> None:
        if not 0 <= strength <= 2:
            raise DerainError(f"strength is {strength:g}; give a number from 0 (no change) to 2")
        path = Path(model) if model else weights.find(profile, device)
        try:
            generator, metadata = load_generator(path)
        except CheckpointError as error:
            raise DerainError(str(error)) from None
        engine = Engine(generator, device)
        self.profile, self.model = str(metadata["profile"]), path
        self.device, self.backend, self.precision = engine.device, engine.backend, engine.precision
        self.strength, self.scale = strength, scale
        self._engine = engine
        self.stage_ms = dict.fromkeys(("view", "search", "companions", "network", "subtract"), 0.0)
        self.frames = 0
        self.past = Past()

    def reset(self) -> None:
        """Forget the past: the next frame belongs to another stream."""
        self.past = Past()

    @overload
    def __call__(self, frame: Frame, following: Frame | None = None) -> Frame: ...

    @overload
    def __call__(self, frame: np.ndarray, following: np.ndarray | None = None) -> np.ndarray: ...

    def __call__(self, frame: Picture, following: Picture | None = None) -> Picture:
        """Take the rain out of the next frame.

        Args:
            frame: a Frame, or (H, W, 3) uint8 RGB.
            following: the frame after it where one may look ahead (files); pass it again as the next `frame`.

        Returns:
            The same kind of thing; a Frame keeps its planes' format, time and side data.

        Raises:
            ValueError: an array that is not (H, W, 3) uint8.
        """
        current = self._frame(frame)
        rain = self._rain(current, following)
        with self._timed("subtract"):
            derained = current.with_planes(colour.subtract_rain(current.planes, rain, current.format, self.strength))
            if self.scale > 1:
                derained = lightened(current, derained, _REACH_PX * self.scale)
        self.frames += 1
        if isinstance(frame, np.ndarray):
            return np.stack(derained.planes, axis=-1)
        return derained

    def _rain(self, frame: Frame, following: Picture | None) -> np.ndarray:
        """Estimate a frame's rain layer, (3, H, W) float32 in units of the 0..1 RGB, and move the past on by it."""
        seen, size = self._beside_companions(frame, following) if self._engine.companions else self._alone(frame)
        with self._timed("network"):
            rain = np.rot90(self._engine.run(seen, *size), -_quarter_turns(frame), axes=(1, 2))
            return enlarged(rain, frame.height, frame.width)

    def _alone(self, frame: Frame) -> tuple[Tensor, tuple[int, ...]]:
        """What a network sees that looks at a frame alone, and its height and width."""
        with self._timed("view"):
            seen = shrunk(frame, self.scale)
            rgb = _upright(colour.to_rgb(seen.planes, seen.format), frame)
            return frame_input(rgb), rgb.shape[1:]

    def _beside_companions(self, frame: Frame, following: Picture | None) -> tuple[Tensor, tuple[int, ...]]:
        """What the stream generator sees, and its height and width; the past moves on."""
        with self._timed("view"):
            view = self._view(frame)
            if self.past.views and self.past.views[0].rgb.shape != view.rgb.shape:
                self.reset()
            ahead = None if following is None else self._look_at(following, frame)
        views, fields = self.past.views, dict(self.past.fields)
        with self._timed("search"):
            slots = self._slots(view, ahead.view if ahead else None)
        with self._timed("companions"):
            seen = network_blocks(view.rgb, slots, self._engine.input_dtype)
        if frame.corrupt:  # its damage decides nothing for the frames after it, not even that there was a cut
            self.past.views, self.past.fields = views, fields
        else:
            self.past.views = [view, *self.past.views[:1]]
            self.past.number += 1
        self.past.ahead = ahead
        return seen, view.rgb.shape[1:]

    def _frame(self, picture: Picture) -> Frame:
        """The picture as a Frame; the one looked at before is known already."""
        if self.past.ahead and self.past.ahead.picture is picture:
            return self.past.ahead.frame
        return picture if isinstance(picture, Frame) else _frame_of(picture)

    def _look_at(self, following: Picture, frame: Frame) -> Ahead | None:
        """View the following frame, unless it is damaged, of another size or turned otherwise."""
        after = following if isinstance(following, Frame) else _frame_of(following)
        same = (after.height, after.width, after.rotation) == (frame.height, frame.width, frame.rotation)
        if after.corrupt or not same:
            return None
        return Ahead(following, after, self._view(after))

    def _view(self, frame: Frame) -> View:
        if self.past.ahead and self.past.ahead.frame is frame:
            return self.past.ahead.view
        seen = shrunk(frame, self.scale)
        rgb, luma = colour.to_rgb(seen.planes, seen.format), colour.luma(seen.planes, seen.format)
        return View(_upright(rgb, frame), matching.make_guide(_upright(luma, frame)))

    def _slots(self, view: View, after: View | None) -> Slots:
        """Companions in the order of their worth: t-1, then t+1 or t-2; a photo and a first frame have none."""
        before = self._match(view, self.past.views[0], "before") if self.past.views else None
        if self.past.views and before is None:  # a cut: nothing from before it may be used
            self.past.views, self.past.fields = [], {}
        second = self._match(view, after, "after") if after else None
        if second is None and len(self.past.views) > 1:
            second = self._match(view, self.past.views[1], "older")
        return (before, second) if before else (second, None)

    def _match(self, view: View, reference: View, role: str) -> Companion | None:
        """The reference and its field, or None where it shows another scene."""
        # a role's first search starts from another role's answer: only a scene's very first search is exact
        fields = self.past.fields
        previous = fields.get(role) or fields.get("before") or fields.get("after")
        found = matching.search(view.guide, reference.guide, SEARCH, previous=previous, seed=self.past.number)
        if matching.is_cut(found, SEARCH):
            fields.pop(role, None)
            return None
        fields[role] = found
        return Companion(reference.rgb, found)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.stage_ms[stage] += (time.perf_counter() - began) * 1e3


def _upright(picture: np.ndarray, frame: Frame) -> np.ndarray:
    """An array (..., H, W) of the frame, standing as the frame is shown."""
    return np.ascontiguousarray(np.rot90(picture, _quarter_turns(frame), axes=(-2, -1)))


def _quarter_turns(frame: Frame) -> int:
    """Counterclockwise quarter turns that stand the picture upright: rain falls down the way it was seen."""
    return round(frame.rotation / 90) % 4


def _frame_of(array: np.ndarray) -> Frame:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(f"array is {array.dtype} {array.shape}; it must be uint8 (H, W, 3) RGB")
    return Frame(tuple(np.ascontiguousarray(array[..., channel]) for channel in range(3)), ARRAY_FORMAT)

