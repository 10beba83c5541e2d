"""One frame in, one frame out: view, search, companions, network, subtract. The past is held here and nowhere else."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, overload

import numpy as np

from streamderain import weights
from streamderain.core.checkpoint import CheckpointError, load_generator
from streamderain.engines import open_engine
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.given import Checked, check_process, frame_of, scale_of, strength_of
from streamderain.mirrored import Mirrored
from streamderain.stages import Field, Rain, Slot, View, stages_for

Picture = Frame | np.ndarray
Answer = tuple[View, Rain]  # a view and what the network said of it


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
        view: of the frame before.
        answer: that view and its rain, as soon as it is known; see Seen.
        fields: the last match field of each role: "before" (t-1) and "after" (t+1).
        ahead: the frame that was looked at before its turn.
        number: undamaged frames seen since the reset; drives the search's random probes.
    """

    view: View | None = None
    answer: Future[Answer | None] | None = None
    fields: dict[str, Field] = field(default_factory=dict)
    ahead: Ahead | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that was looked at, and what it takes to finish it.

    Attributes:
        frame: as it came.
        view: of it; None for a network that looks at each frame alone.
        slots: its companions.
        before: the first companion and its rain where that is the frame before, and the network is to see what it left
            of it; None gives no answer, or says that it is to see it as it came.
        answer: takes the view and its rain for the frame after; None where that was not found, or the network is not
            recurrent.
        strength, scale: the Derainer's, then.
    """

    frame: Frame
    view: View | None
    slots: tuple[Slot, Slot]
    before: Future[Answer | None] | None
    answer: Future[Answer | None]
    strength: float
    scale: int


class Derainer:
    """Takes the rain out of a stream of frames, one at a time and in order.

    Args:
        profile: "tiny", "realtime", "quality", or "auto": realtime on a GPU, tiny on a CPU.
        device: "auto", "cpu", "cuda" or "cuda:N".
        model: a .safetensors file made by `streamderain train`, of any method; overrides profile. A published
            network looks at each frame alone: then there is no search, and no past.
        strength: scales the rain layer before it is subtracted, 0 to 2; 0 changes nothing, 1 takes all of it away.
        twice: look at each frame a second time, mirrored, and take off the mean of both layers; a published network
            looks once.
        scale: look for the rain in a picture that is smaller by this factor; the cost falls with its square, and fine
            streaks stay.
        backend, precision, cache_dir, tell: see open_engine.

    Attributes:
        strength, scale: as above; may be changed between frames, and are checked then too.
        profile, device, backend, precision: what was chosen.
        companions: whether the network looks at a frame's neighbours.
        recurrent: whether it sees the frame before as it left it.
        past: the temporal state.
        stage_ms: milliseconds spent in each stage so far; with a GPU the host's, which waits in search and subtract.
        frames: frames derained so far.

    Raises:
        DerainError: no such device or profile, strength or scale out of range, or the model file cannot be used; also
            at a frame: this process was forked from one that had derained.
    """

    strength = Checked(strength_of)
    scale = Checked(scale_of)

    def __init__(
        self,
        *,
        profile: str = "auto",
        device: str = "auto",
        model: str | Path | None = None,
        strength: float = 1.0,
        scale: int = 1,
        twice: bool = False,
        backend: str = "auto",
        precision: str = "auto",
        cache_dir: str | Path | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        check_process()
        self.strength, self.scale = strength, scale
        path = weights.find(profile, device) if model is None else Path(model)
        try:
            generator, metadata = load_generator(path)
        except CheckpointError as error:
            raise DerainError(str(error)) from None
        engine = open_engine(
            generator, device, backend=backend, precision=precision, cache_dir=cache_dir, tell=tell
        )
        self.profile, self.model = str(metadata["profile"]), path
        self.device, self.backend, self.precision = engine.device, engine.backend, engine.precision
        self.companions, self.recurrent = engine.companions, engine.recurrent
        self._engine = Mirrored(engine) if twice and engine.companions else engine
        self._stages = stages_for(self._engine, tell)
        self.stage_ms = dict.fromkeys(("view", "search", "companions", "network", "subtract"), 0.0)
        self.frames = 0
        self._lock = threading.Lock()  # of the counts: frames may be finished in several threads
        self.past = Past()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Derainer holds threads and memory of its process; make one in each process instead")

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
            ValueError: something else, such as an array of another shape or dtype, or an empty one.
        """
        derained = self.finish(self.look(frame, following))
        return np.stack(derained.planes, axis=-1) if isinstance(frame, np.ndarray) else derained

    def look(self, frame: Picture, following: Picture | None = None) -> Seen:
        """The part of the work that asks for no answer of the network: where the companions stand; the past moves on.

        Args and Raises: as above.
        """
        check_process()
        current = self._frame(frame)
        if self._engine.companions:
            return self._beside_companions(current, following)
        return Seen(current, None, (None, None), None, Future(), self.strength, self.scale)

    def finish(self, seen: Seen) -> Frame:
        """The rest, of any frame that was looked at; on the CPU several threads may do it at once.

        A recurrent network waits for the frame before, which must be finished or under way in another thread.
        """
        answer = None
        try:
            rain = self._rain(seen)
            answer = (seen.view, rain) if self._engine.recurrent and seen.view is not None else None
        finally:
            seen.answer.set_result(answer)
        with self._timed("subtract"):
            derained = self._stages.subtract(seen.frame, rain, seen.strength, seen.scale)
        with self._lock:
            self.frames += 1
        return derained

    def _rain(self, seen: Seen) -> Rain:
        """The rain layer of a frame that was looked at."""
        if seen.view is None:
            with self._timed("view"):
                input, size = self._stages.alone(seen.frame, seen.scale)
        else:
            answer, size = seen.before.result() if seen.before else None, seen.view.size
            with self._timed("companions"):
                input = self._stages.beside(seen.view, self._recurred(seen.slots, answer))
        with self._timed("network"):
            return self._stages.rain(input, size)

    def _beside_companions(self, frame: Frame, following: Picture | None) -> Seen:
        """What the stream generator is to see; the past moves on."""
        with self._timed("view"):
            view = self._view(frame)
            if self.past.view and self.past.view.size != view.size:
                self.reset()
            ahead = None if following is None else self._look_at(following, frame)
        past, fields = self.past.view, dict(self.past.fields)
        with self._timed("search"):
            slots = self._slots(view, ahead.view if ahead else None)
        behind = slots[0] is not None and slots[0][0] is self.past.view
        before, answer = self.past.answer if behind else None, Future[Answer | None]()
        if frame.corrupt:  # its damage decides nothing for the frames after it, not even that there was a cut
            self.past.view, self.past.fields = past, fields
        else:
            self.past.view, self.past.answer = view, answer
            self.past.number += 1
        self.past.ahead = ahead
        return Seen(frame, view, slots, before, answer, self.strength, self.scale)

    def _frame(self, picture: Picture) -> Frame:
        """The picture as a Frame; the one looked at before is known already."""
        if self.past.ahead and self.past.ahead.picture is picture:
            return self.past.ahead.frame
        return frame_of(picture)

    def _look_at(self, following: Picture, frame: Frame) -> Ahead | None:
        """View the following frame, unless it is damaged, of another size or turned otherwise."""
        after = frame_of(following)
        same = (after.height, after.width, after.rotation) == (frame.height, frame.width, frame.rotation)
        if after.corrupt or not same:
            return None
        return Ahead(following, after, self._view(after))

    def _view(self, frame: Frame) -> View:
        if self.past.ahead and self.past.ahead.frame is frame:
            return self.past.ahead.view
        return self._stages.view(frame, self.scale)

    def _slots(self, view: View, after: View | None) -> tuple[Slot, Slot]:
        """Companions in the order of their worth: t-1, then t+1; a photo and a first frame have none.

        Without t+1 a recurrent network sees t-1 twice, once as it came: what it took off it is the difference.
        """
        before = self._search(view, self.past.view, "before") if self.past.view else None
        # begun before the first answer is judged: then a GPU has work while the host waits for that answer
        second = self._search(view, after, "after") if after else None
        if before and not self._kept("before"):  # a cut: nothing from before it may be used
            self.past.view, self.past.fields = None, {}
            before, second = None, self._search(view, after, "after") if after else None
        if second and not self._kept("after"):
            second = None
        if before is None:
            return second, None
        return before, second or (before if self._engine.recurrent else None)

    def _search(self, view: View, reference: View, role: str) -> Slot:
        """The reference and its field, which becomes the role's last one."""
        # a role's first search starts from another role's answer: only a scene's very first search is exact
        fields = self.past.fields
        previous = fields.get(role) or fields.get("before") or fields.get("after")
        fields[role] = self._stages.search(view, reference, previous, self.past.number)
        return reference, fields[role]

    def _kept(self, role: str) -> bool:
        """Whether a role's last field may be used; it is forgotten where its reference shows another scene."""
        if self._stages.is_cut(self.past.fields[role]):
            del self.past.fields[role]
            return False
        return True

    def _recurred(self, slots: tuple[Slot, Slot], answer: Answer | None) -> tuple[Slot, Slot]:
        """A frame's companions, with what was left of the frame before where that is known."""
        first, second = slots
        return ((self._stages.derained(*answer), first[1]) if first and answer else first), second

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        spent = (time.perf_counter() - began) * 1e3
        with self._lock:
            self.stage_ms[stage] += spent
