"""One container as a connection: its pictures and its sound, decoded as they come. A door to PyAV."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from streamderain import surfaces
from streamderain.conform import alike, planar
from streamderain.frame import Frame
from streamderain.live.address import Address
from streamderain.live.connection import CameraError, Heard, Picture, Trouble, Wish
from streamderain.live.moments import SessionInfo
from streamderain.live.timing import Clock
from streamderain.source import format_of
from streamderain.switch import Switch

_TIMELESS = {"mpjpeg", "mjpeg", "h264", "hevc", "m4v"}  # their timestamps are made up from a rate nobody told


class Stream:
    """One container as a connection: pictures and sound decoded as they come.

    Attributes:
        ahead: it comes as fast as it is read, not as it happens.
    """

    def __init__(self, container: Any, address: Address, wish: Wish, clock: Clock, read_seconds: float) -> None:
        self._container, self._address = container, address
        self._clock, self._read_seconds = clock, read_seconds
        self.damaged = self.skipped = 0
        self._clean = self._begun = False
        videos = container.streams.video
        if not videos:
            container.close()
            raise CameraError(f"{address} brings no picture; give the address of its video stream", "unreachable")
        self._video = videos[0]
        context = self._video.codec_context
        if context is None or context.width * context.height > wish.max_pixels:
            container.close()
            raise CameraError(f"{address} brings video that cannot be decoded here; choose another stream", "absent")
        self._decoders = _prepared(context)
        self._switch = self._on_device(wish)
        self._timeless = container.format.name in _TIMELESS
        playlist = container.format.name == "hls"
        self.ahead = address.scheme in ("http", "https") and bool(playlist or container.duration)
        sounds = container.streams.audio if wish.sound else ()
        self._sound = next((each for each in sounds if each.codec_context is not None), None)
        self._resampler = av.AudioResampler(format="fltp") if self._sound else None
        self.info = self._describe(growing=playlist and not container.duration)

    def _on_device(self, wish: Wish) -> Switch | None:
        """What watches a decoder on the GPU, with one of the CPU beside it; None where the GPU does not decode this."""
        hardware, *software = self._decoders
        if not software:
            if wish.cuda is not None:
                wish.tell(f"FFmpeg's decoder {hardware.name} does not use NVDEC")
            return None
        decode = software[0].decode
        return Switch(hardware, software[0], decode=lambda packet: self._frames(decode, packet), tell=wish.tell)

    def __iter__(self) -> Iterator[Picture | Heard | None]:
        packets = self._container.demux()  # all there is: what is not wanted shows that time goes by without a picture
        while True:
            decoded = self._decoded(self._next(packets))
            yield next(decoded, None)
            yield from decoded

    def _next(self, packets: Iterator[Any]) -> Any:
        begun = self._clock.now()
        trouble = CameraError(f"{self._address} ended the stream; waiting for it to come back", "ended")
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError, ValueError) as error:
            packet, trouble = None, told(self._address, error, "broke off")
        # RTSP hands out its last, half packet when the time is over: nobody would notice until the next time-out
        if self._clock.now() - begun >= self._read_seconds:
            raise silent(self._address)
        if packet is None:
            raise trouble
        return packet

    def hurry(self, hurried: bool) -> None:
        """See Connection."""
        for decoder in self._decoders:
            decoder.skip_frame = "NONKEY" if hurried else "DEFAULT"

    def close(self) -> None:
        """See Connection; may be called again."""
        if self._container is None:
            return
        self._container.close()
        # the generator that reads holds this object, and this object would hold the decoder and its threads
        self._container = self._video = self._sound = self._switch = None
        self._decoders = []

    def _decoded(self, packet: Any) -> Iterator[Picture | Heard | None]:
        if packet.stream is self._sound:
            with suppress(EOFError, FFmpegError, ValueError):
                for frame in packet.decode():
                    yield from self._heard(frame)
        if packet.stream is not self._video:
            return
        damaged, frames = self.damaged, self._pictures(packet)
        hurried = self._decoders[0].skip_frame == "NONKEY"
        self.skipped += hurried and not frames and packet.size > 0 and self.damaged == damaged
        for frame in frames:
            self._clean = self._clean or not frame.is_corrupt
            if self._clean:  # decoders mark few of the losses that they conceal; packets know of more
                yield self._picture(frame, bool(frame.is_corrupt or packet.is_corrupt))
            else:
                self.damaged += 1  # it began between two key frames

    def _pictures(self, packet: Any) -> list[Any]:
        if self._switch is None:
            return self._frames(self._video.codec_context.decode, packet)
        self._begun = self._begun or packet.is_keyframe
        if not self._begun:  # begun between two key frames, the GPU's decoder would be given up at once
            self.damaged += packet.size > 0
            return []
        return self._switch.decode(packet)

    def _frames(self, decode: Callable[[Any], list[Any]], packet: Any) -> list[Any]:
        """What a decoder makes of a packet; damage is counted."""
        try:
            return decode(packet)
        except EOFError:
            return []
        except (FFmpegError, ValueError):
            self.damaged += 1
            return []

    def _picture(self, frame: Any, corrupt: bool) -> Picture:
        unit = frame.time_base or self._video.time_base
        own = None if frame.pts is None or self._timeless else frame.pts * unit
        name = planar(frame)
        if name != surfaces.name_of(frame):
            frame = alike(frame, (frame.width, frame.height, name))
        format, alpha = format_of(frame)
        arrays = surfaces.planes_of(frame, format.bit_depth)
        made = Frame(
            tuple(arrays[:-1] if alpha else arrays), format, frame.pts, unit, rotation=frame.rotation, corrupt=corrupt
        )
        return Picture(made, own)

    def _heard(self, frame: Any) -> Iterator[Heard]:
        if frame.pts is None:
            return
        own = frame.pts * frame.time_base
        with suppress(FFmpegError, ValueError):  # a piece of sound that does not resample is a click, no more
            assert self._resampler is not None
            for piece in self._resampler.resample(frame):
                yield Heard(piece.to_ndarray(), piece.sample_rate, own)
                own += Fraction(piece.samples, piece.sample_rate)

    def _describe(self, growing: bool) -> SessionInfo:
        context = self._video.codec_context
        rates = self._video.average_rate, context.framerate, self._video.guessed_rate  # the last may be that of fields
        rate = None if self._timeless else next((each for each in rates if each), None)
        sound = None
        if self._sound is not None:
            sound = self._sound.codec_context.sample_rate, self._sound.codec_context.channels
        name, format = context.name, context.pix_fmt or ""
        return SessionInfo(0, context.width, context.height, rate, name, format, sound, growing)


def silent(address: Address) -> CameraError:
    """The trouble of a source that says nothing for too long."""
    line = f"{address} does not answer in time; check the address, and that the camera is on"
    return CameraError(line, "unreachable")


def told(address: Address, error: Exception, what: str) -> CameraError:
    """A library's error as one line without secrets, and what kind of trouble it is."""
    trouble: Trouble = "unreachable"
    advice = "check the address, and that the camera is on"
    if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        trouble, advice = "refused", "check user and password"
    elif isinstance(error, av.error.HTTPNotFoundError):
        advice = "check the path at the end of the address"
    elif isinstance(error, av.error.ExitError):
        return silent(address)
    elif not address.scheme and Path(address.secret).is_file():
        advice = "give a file that plays as video"
    reason = address.hide(getattr(error, "strerror", None) or error).lower().strip() or type(error).__name__
    return CameraError(f"{address} {what} ({reason}); {advice}", trouble)


def _prepared(context: Any) -> list[Any]:
    """The decoder of a live stream, and beside one on the GPU another on the CPU that could take over."""
    decoders = [context]
    if context.is_hwaccel:
        software: Any = av.CodecContext.create(context.name, "r")
        software.extradata = context.extradata
        decoders.append(software)
    for decoder in decoders:
        decoder.thread_type = "SLICE"  # frame threads would hold pictures back
        decoder.flags |= av.codec.context.Flags.low_delay
    return decoders
