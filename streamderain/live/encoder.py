"""One encoder for all recordings and pushes: pictures become H.264, sound becomes AAC. A door to PyAV."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError

from streamderain import containers
from streamderain.core.colour import PixelFormat
from streamderain.encoding import AUTO, DEFAULT
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.live.audio import HOLE_S, SoundTrack
from streamderain.live.canvas import PIXELS, Canvas
from streamderain.live.coded import Coded, Tracks
from streamderain.live.moments import Sound
from streamderain.live.timing import LIVE_UNIT

KEY_SECONDS = 2.0
_USUAL_RATE, _HIGHEST_RATE = Fraction(25), 240  # some cameras claim 90000
_THREADS = 2  # the network wants the cores
_LONGEST_GOP = 1000  # pictures; key frames are asked for by time, because the rate of a camera is not sure
_LIVE_CRF = {"libx264": 21, "libx265": 23}  # a camera records day and night: half the bytes of a file's default
# Nothing may be held back: no B-frames, no look-ahead. x264 told its nominal rate writes it into the stream; told our
# ticks, it would write 90000 frames per second, and receivers that make a constant rate of it would choke.
_LIVE: dict[str, dict[str, str]] = {
    "libx264": {"tune": "zerolatency", "forced-idr": "1", "sc_threshold": "0", "x264-params": "force-cfr=1"},
    "libx265": {"tune": "zerolatency", "forced-idr": "1"},
    "h264_nvenc": {"tune": "ull", "zerolatency": "1", "delay": "0", "forced-idr": "1"},
    "hevc_nvenc": {"tune": "ull", "zerolatency": "1", "delay": "0", "forced-idr": "1"},
    "libvpx": {"deadline": "realtime", "lag-in-frames": "0"},
    "libvpx-vp9": {"deadline": "realtime", "lag-in-frames": "0"},
}
_SOUND_BITS_PER_CHANNEL = 64_000
TROUBLE = (FFmpegError, OSError, ValueError)  # what FFmpeg raises


@dataclass(frozen=True, slots=True)
class Choice:
    """How pictures are encoded.

    Attributes:
        encoder: FFmpeg's name, or "auto" until it is settled.
        crf: the encoder's own quality number, None for our default.
        preset: the encoder's own word for its speed, None for our default.
    """

    encoder: str = DEFAULT
    crf: int | None = None
    preset: str | None = None


def settle(choice: Choice, cuda: int | None, tell: Callable[[str], None]) -> Choice:
    """The choice with an encoder's name for "auto": NVENC's H.264 where it encodes a frame, else libx264.

    Args:
        choice: what was asked for.
        cuda: number of the CUDA device that the network runs on, None without one.
        tell: called with a line where there is a device, on which of them it is.
    """
    if choice.encoder != AUTO:
        return choice
    if cuda is not None:
        nvenc = replace(choice, encoder="h264_nvenc")
        reason = _trouble(nvenc)
        if reason is None:
            tell(f"{nvenc.encoder} encodes recordings and pushes, on the GPU")
            return nvenc
        tell(f"NVENC does not encode here ({reason}): {DEFAULT} does, on the CPU")
    return replace(choice, encoder=DEFAULT)


def check(choice: Choice) -> None:
    """Encode one black frame.

    Raises:
        DerainError: that fails; the line says why.
    """
    try:
        if av.Codec(choice.encoder, "w").type != "video":
            raise DerainError(f"{choice.encoder} does not encode video; choose another --encoder")
    except UnknownCodecError:
        line = f"there is no encoder {choice.encoder}; `streamderain doctor` lists those that work"
        raise DerainError(line) from None
    reason = _trouble(choice)
    if reason is not None:
        raise DerainError(
            f"encoder {choice.encoder} does not start ({reason}); choose another --encoder, --preset or --crf"
        )


def _trouble(choice: Choice) -> str | None:
    """Why one black frame cannot be encoded; None where it can."""
    planes = tuple(np.full(size, level, np.uint8) for size, level in (((256, 320), 16), *[((128, 160), 128)] * 2))
    try:
        frame = Frame(planes, PixelFormat("yuv", 8, (1, 1)), pts=0, time_base=LIVE_UNIT)
        encoder = Encoder(frame, choice)
        packets = [*encoder.picture(frame), *encoder.finish()]
    except TROUBLE as error:
        return str(getattr(error, "strerror", None) or error).lower()
    return None if packets else "it gives nothing"


class Encoder:
    """Encodes frames of any size and format onto the canvas of the first, and sound beside them.

    Args:
        first: the frame that settles size, colour and the beginning of the sound.
        choice: how.
        rate: frames per second as the camera says; only a hint.
        sound: (rate, channels) of the sound that will come; None makes no track for it.

    Raises:
        FFmpegError, OSError, ValueError: it does not start; the methods raise them too, and then it is at its end.

    Attributes:
        canvas: what frames are drawn on.
        tracks: of what it gives.
    """

    def __init__(
        self,
        first: Frame,
        choice: Choice,
        *,
        rate: Fraction | None = None,
        sound: tuple[int, int] | None = None,
    ) -> None:
        self.canvas = Canvas(first)
        self._origin = first.pts or 0
        # A container that writes to nowhere: its streams are encoder and model for the outputs' streams in one.
        container = av.open(_Nowhere(), "w", format="matroska")
        self._video = self._add_video(container, choice, rate if rate and 1 <= rate <= _HIGHEST_RATE else _USUAL_RATE)
        self._sound: SoundTrack | None = None
        self._speaker: Any = None
        if sound is not None:
            self._sound = SoundTrack(*sound, self._origin)
            self._speaker = _add_sound(container, self._sound)
        container.start_encoding()
        unknown = set(self._video.codec_context.options) & {"crf", "cq", "preset"}
        if unknown:
            raise ValueError(f"it has no option {' or '.join(sorted(unknown))}")
        self.tracks = Tracks(self._video, self._speaker, self._facts(), container)
        self._last_key: int | None = None
        self._last = self._origin
        self._begins = self._origin * LIVE_UNIT

    def picture(self, frame: Frame, *, key: bool = False) -> list[Coded]:
        """Encode a frame; its pts must be above that of the frame before.

        Args:
            frame: of any size and format.
            key: decoding shall be able to begin here.

        Returns:
            Packets, in the order they are made: sound may be ahead of the picture.
        """
        pts = frame.pts or 0
        picture = self.canvas.draw(frame)
        picture.pts, picture.time_base = pts, LIVE_UNIT
        if key or self._last_key is None or (pts - self._last_key) * LIVE_UNIT >= KEY_SECONDS:
            picture.pict_type = 1
            self._last_key = pts
        packets = [self._coded(packet) for packet in self._video.codec_context.encode(picture)]
        if self._sound is not None:
            if (pts - self._last) * LIVE_UNIT > HOLE_S:
                packets += self._blocks(last=True)
                self._sound, self._origin = self._sound.again(pts), pts
            self._sound.fill(pts)
            packets += self._blocks()
        self._last = pts
        return packets

    def sound(self, sound: Sound) -> list[Coded]:
        """Encode a piece of sound; nothing comes of it where there is no track."""
        if self._sound is None:
            return []
        self._sound.take(sound)
        return self._blocks()

    def finish(self) -> list[Coded]:
        """What the encoders still hold."""
        packets = [self._coded(packet) for packet in self._video.codec_context.encode(None)]
        if self._sound is not None:
            packets += self._blocks(last=True)
            packets += self._spoken(self._speaker.codec_context.encode(None))
        return packets

    def _add_video(self, container: Any, choice: Choice, rate: Fraction) -> Any:
        crf = choice.crf if choice.crf is not None else _LIVE_CRF.get(choice.encoder)
        options = containers.encoder_options(choice.encoder, crf, choice.preset) | _LIVE.get(choice.encoder, {})
        stream = container.add_stream(choice.encoder, rate=rate, time_base=LIVE_UNIT)
        context = stream.codec_context
        offered = [format.name for format in context.codec.video_formats or ()]
        if offered and PIXELS not in offered:
            raise ValueError(f"it does not take {PIXELS}")
        context.width, context.height, context.pix_fmt = self.canvas.width, self.canvas.height, PIXELS
        context.time_base, context.framerate = LIVE_UNIT, rate
        context.max_b_frames, context.gop_size, context.thread_count = 0, _LONGEST_GOP, _THREADS
        for name, value in self.canvas.tags.items():
            setattr(context, name, value)
        context.options = options
        return stream

    def _facts(self) -> tuple[Any, ...]:
        video, speaker = self._video.codec_context, self._speaker and self._speaker.codec_context
        sound = speaker and (speaker.name, speaker.sample_rate, speaker.layout.name, speaker.extradata)
        return (video.name, self.canvas.width, self.canvas.height, video.extradata, sound)

    def _blocks(self, *, last: bool = False) -> list[Coded]:
        assert self._sound is not None
        found = []
        base = ceil(self._origin * LIVE_UNIT * self._sound.rate)
        for number, block in self._sound.blocks(self._speaker.codec_context.frame_size or 1024, last=last):
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=self._sound.layout)
            piece.sample_rate, piece.time_base = self._sound.rate, Fraction(1, self._sound.rate)
            piece.pts = base + number
            found += self._spoken(self._speaker.codec_context.encode(piece))
        return found

    def _coded(self, packet: Any) -> Coded:
        unit = packet.time_base or LIVE_UNIT
        pts, dts = (round(time * unit / LIVE_UNIT) for time in (packet.pts, packet.dts))
        return Coded(bytes(packet), self.tracks, True, packet.is_keyframe, pts, dts, 0)

    def _spoken(self, packets: list[Any]) -> list[Coded]:
        assert self._sound is not None
        unit = Fraction(1, self._sound.rate)
        return [
            Coded(bytes(each), self.tracks, False, True, each.pts, each.dts, each.duration or 0, unit)
            for each in packets
            if each.pts * unit >= self._begins  # the first holds nothing but the encoder's own delay
        ]


class _Nowhere:
    """A file that forgets."""

    def write(self, data: bytes) -> int:
        return len(data)


def _add_sound(container: Any, sound: SoundTrack) -> Any:
    stream = container.add_stream("aac", rate=sound.rate)
    stream.codec_context.layout = sound.layout
    stream.codec_context.bit_rate = _SOUND_BITS_PER_CHANNEL * stream.codec_context.channels
    stream.codec_context.time_base = Fraction(1, sound.rate)
    return stream
