"""The encoded output: one encoder, whose packets go to all recordings and pushes of a run."""
from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from streamderain.frame import Frame
from streamderain.live.canvas import upright
from streamderain.live.coded import Coded
from streamderain.live.encoder import TROUBLE, Choice, Encoder, check, settle
from streamderain.live.lane import Item, Lane
from streamderain.live.moments import Shown, Sound
from streamderain.live.push import Push, Pusher
from streamderain.live.record import Recorder, Recording
from streamderain.live.status import Status
from streamderain.live.timing import MONOTONIC, Clock

_PICTURES, _SOUNDS = 12, 256  # that may wait for the encoder
_ENCODE_SECONDS, _CLOSE_SECONDS = 2.0, 5.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0


class Broadcast:
    """An output (see Output): encodes what is shown once, for any number of recordings and pushes.

    With a push, the stream keeps its first size, and frames of another size are fitted into it; receivers would lose
    the stream otherwise. With recordings only, another size begins another segment. The sound of the first frame's
    session decides whether there is a sound track; sound that comes later begins recordings and pushes anew, once.

    Args:
        records, pushes: where the stream goes.
        status: told everything; each recording and push has its account there.
        clock: of the run.
        encoder, crf, preset: see Choice; "auto" is NVENC's H.264 where it works, else libx264.
        cuda: number of the CUDA device that the network runs on, None without one.
        sound: whether sound goes along.
        wall: UTC, for the names of recordings.

    Raises:
        DerainError: the encoder does not start.
    """

    def __init__(
        self,
        records: Sequence[Recording] = (),
        pushes: Sequence[Push] = (),
        *,
        status: Status,
        clock: Clock = MONOTONIC,
        encoder: str = "libx264",
        crf: int | None = None,
        preset: str | None = None,
        cuda: int | None = None,
        sound: bool = True,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._choice = settle(Choice(encoder, crf, preset), cuda, lambda line: status.tell("encoder", line))
        check(self._choice)
        self._status, self._clock, self._with_sound = status, clock, sound
        self._key_asked = threading.Event()
        ask_key = self._key_asked.set
        recorders = [Recorder(each, status=status, clock=clock, ask_key=ask_key, wall=wall) for each in records]
        self._pushers = [Pusher(each, status=status, clock=clock, ask_key=ask_key) for each in pushes]
        self._writers: list[Recorder | Pusher] = [*recorders, *self._pushers]
        self.name = ", ".join(writer.name for writer in self._writers)
        self._encoder: Encoder | None = None
        self._early: deque[Sound] = deque(maxlen=_SOUNDS)
        self._fitted: set[tuple[int, int]] = set()
        self._wait, self._again_at, self._told = _FIRST_WAIT_S, clock.now(), ""
        self._closed = False
        self._lane = Lane(
            self._take, name="encode", pictures=_PICTURES, sounds=_SOUNDS, dropped=self._missed, failed=self._failed
        )

    def show(self, shown: Shown) -> None:
        """See Output."""
        self._lane.put(shown)

    def hear(self, sound: Sound) -> None:
        """See Output."""
        if self._with_sound:
            self._lane.put(sound)

    def close(self) -> None:
        """Complete recordings and take leave of peers, in a few seconds at most."""
        if self._closed:
            return
        self._closed = True
        if self._lane.close(_ENCODE_SECONDS):
            self._end_encoder()
        for writer in self._writers:
            writer.end()
        until = self._clock.now() + _CLOSE_SECONDS
        for writer in self._writers:
            if not writer.join(until - self._clock.now()):
                self._status.tell("error", f"{writer.name} did not end in time; its last seconds may be missing")

    def _take(self, item: Item) -> None:
        try:
            if isinstance(item, Shown):
                self._picture(item.after)
            else:
                self._hear(item)
        except TROUBLE as error:
            self._broken(error)
            self._missed(isinstance(item, Shown))

    def _picture(self, frame: Frame) -> None:
        if self._encoder is not None and not self._encoder.canvas.holds(frame):
            self._other_size(frame, self._encoder)
        if self._encoder is None:
            if self._clock.now() < self._again_at:
                return self._missed(1)
            self._begin(frame)
        assert self._encoder is not None
        asked = self._key_asked.is_set()
        self._key_asked.clear()
        self._give(self._encoder.picture(frame, key=asked))
        while self._early:
            self._give(self._encoder.sound(self._early.popleft()))
        self._wait = _FIRST_WAIT_S
        return None

    def _hear(self, sound: Sound) -> None:
        if self._encoder is not None and self._encoder.tracks.sound is None:
            self._status.tell("sound", "the camera now sends sound: recordings and pushes begin anew, with it")
            self._end_encoder()  # a file or stream that has begun gets no further track
        if self._encoder is None:
            self._early.append(sound)
        else:
            self._give(self._encoder.sound(sound))

    def _begin(self, frame: Frame) -> None:
        session = self._status.session
        sound = (session and session.sound) or next(((s.rate, s.samples.shape[0]) for s in self._early), None)
        rate = session.rate if session is not None else None
        self._encoder = Encoder(frame, self._choice, rate=rate, sound=sound if self._with_sound else None)

    def _other_size(self, frame: Frame, encoder: Encoder) -> None:
        size, canvas = upright(frame), encoder.canvas
        if not self._pushers:
            return self._end_encoder()
        if size not in self._fitted:
            self._fitted.add(size)
            self._status.tell("size", (
                f"the camera now sends {size[0]}x{size[1]}: fitted into the {canvas.width}x{canvas.height} of "
                "recordings and pushes, so that receivers keep the stream; start again for the new size"
            ))  # fmt: skip
        return None

    def _end_encoder(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return
        try:
            self._give(encoder.finish())
        except TROUBLE as error:
            self._broken(error)

    def _give(self, packets: list[Coded]) -> None:
        for packet in packets:
            for writer in self._writers:
                writer.put(packet)

    def _broken(self, error: Exception) -> None:
        self._encoder = None
        reason = str(getattr(error, "strerror", None) or error).lower()
        if reason != self._told:
            self._told = reason
            line = f"encoder {self._choice.encoder} failed ({reason}); it is started again, and recordings begin anew"
            self._status.tell("encoder", line)
        self._again_at = self._clock.now() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT_S)

    def _missed(self, pictures: int) -> None:
        for writer in self._writers:
            writer.feed.missed(pictures)

    def _failed(self, error: Exception) -> None:
        """A bug: say so and complete what there is; the camera and its other outputs go on."""
        self._status.tell("error", f"recordings and pushes have ended: {type(error).__name__}: {error}")
        for writer in self._writers:
            writer.account.state, writer.account.detail = "failed", str(error)
            writer.end()
