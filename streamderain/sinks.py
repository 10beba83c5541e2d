"""Video files and pictures out: frames and all else that the source holds. A door to PyAV."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from streamderain import containers, nvenc, pictures
from streamderain.encoders import new_context, plan_encoding
from streamderain.encoding import DEFAULT, Choice
from streamderain.errors import DerainError
from streamderain.fit import fit, picture_of
from streamderain.frame import Frame, on_host
from streamderain.muxer import Muxer, trouble_told
from streamderain.outputs import check_name, claim
from streamderain.source import VideoSource, Warnings


class VideoSink:
    """Writes frames into a file, a stream on stdout or a row of pictures, and everything else the source holds.

    All that can be known to fail fails here, before a frame is made. What the output cannot keep is said in
    `warnings`. The output stands under its name only after finish().

    Args:
        path: a file (container from its suffix), a pattern or folder of pictures, or "-" for stdout.
        source: where sound, chapters, colour and so on come from.
        encoder: FFmpeg's name; pictures and "yuv4mpegpipe" have their own. "auto" is NVENC where the network runs on a
            CUDA device and NVENC encodes a frame, else libx264.
        crf: the encoder's quality number, None for a visually near-lossless default.
        preset: the encoder's own word for speed.
        container_format: FFmpeg's name of a container, None for that of the suffix (stdout: matroska).
        size: (width, height) of the frames that will come, None for the source's.
        overwrite: replace an existing output.
        cuda: number of the CUDA device that frames may come on, None where they come in memory.

    Raises:
        DerainError: one line with the reason.

    Attributes:
        frames: frames written.
        on_device: frames on the device are encoded there; otherwise they are fetched from it.
        encoder: FFmpeg's name of the one that was settled on.
        partial: after abort(): where the finished part was kept, None where there is none.
    """

    def __init__(
        self,
        path: str | Path,
        source: VideoSource,
        *,
        encoder: str = DEFAULT,
        crf: int | None = None,
        preset: str | None = None,
        container_format: str | None = None,
        size: tuple[int, int] | None = None,
        overwrite: bool = False,
        cuda: int | None = None,
    ) -> None:
        check_name(str(path))
        self._source, self.frames = source, 0
        self.partial: Path | None = None
        self._size = size or (source.info.width, source.info.height)
        self._writer: Muxer | _Pictures
        if str(path) != "-" and container_format is None and pictures.is_picture_output(Path(path)):
            self._writer = _Pictures(Path(path), source, self._size, overwrite=overwrite)
        else:
            place = None if str(path) == "-" else claim(Path(path), source.path, overwrite=overwrite)
            format_name, choice = _output_format(path, container_format), Choice(encoder, crf, preset)
            self._writer = Muxer(place, format_name, source, choice, self._size, cuda)
        self.warnings: list[str] = self._writer.warnings
        self.on_device, self.encoder = self._writer.feed is not None, self._writer.encoding.encoder

    def write(self, frame: Frame) -> None:
        """Encode one frame; its pts must be above that of the frame before.

        Raises:
            DerainError: nothing more can be written (exit code 4).
            ValueError: the frame is not of the announced size.
        """
        if (frame.width, frame.height) != self._size:
            raise ValueError(f"a frame of {frame.width}x{frame.height} came, announced were {self._size}; pass size=")
        feed = self._writer.feed
        here = feed is not None and feed.takes(frame)
        self._writer.write(feed.picture(frame) if feed is not None and here else picture_of(on_host(frame)), frame)
        self.frames += 1

    def finish(self) -> None:
        """Complete the output, check it and move it into place.

        Raises:
            DerainError: it could not be written (4); or it stands, but the input was damaged or short (3).
        """
        if not self.frames:
            self.abort()
            raise DerainError("no frame came out of the input; nothing was written", exit_code=3)
        try:
            self._writer.finish()
        except BaseException:
            self.abort()
            raise
        missing = self._source.frames - self.frames
        faults = [f"{missing} frames were lost on the way"] if missing > 0 else []
        faults += damage(self._source)
        if faults:
            name = self._source.path or "stdin"
            lines = ", ".join(faults)
            raise DerainError(f"{name} is damaged or short: {lines}; the output holds the rest", exit_code=3)

    def abort(self) -> None:
        """Close without completing; what is finished is kept under a name that says so (`partial`)."""
        self.partial = self._writer.abort(keep=self.frames > 0)


def damage(source: VideoSource) -> list[str]:
    """What was wrong with an input that has been read to its end, in words."""
    faults = [f"{source.corrupt} damaged frames or packets"] if source.corrupt else []
    return [*faults, source.shortfall] if source.shortfall else faults


class _Pictures:
    """A row of picture files, made in a folder of their own and moved at the end."""

    def __init__(self, path: Path, source: VideoSource, size: tuple[int, int], *, overwrite: bool) -> None:
        self._folder, self._pattern = pictures.output_pattern(path)
        self._keeps_stems = path == self._folder
        self.feed: nvenc.Feed | None = None
        self._place = pictures.claim(path, source.path, overwrite=overwrite)
        if self._keeps_stems and source.path is not None and pictures.is_pictures(source.path):
            pictures.refuse_same_stems(source.path)
        encoder = containers.PICTURE_ENCODERS[Path(self._pattern).suffix.lower()]
        self.warnings = Warnings()
        self.encoding = plan_encoding(source, Choice(encoder), None, size, self.warnings)
        if source.look.rotation or source.look.turn:
            degrees = source.look.rotation
            self.warnings.append(f"{encoder} pictures cannot say that they are to be turned by {degrees} degrees")
        self._source = source
        self._context: Any = None
        self._count = 0

    def write(self, picture: av.VideoFrame, frame: Frame) -> None:
        with trouble_told(str(self._folder)):
            if self._context is None:
                self._place.path.mkdir()
                self._context = new_context(self.encoding, self._source)
            self._count += 1
            picture = fit(picture, self.encoding)
            picture.pts, picture.time_base = self._count, self.encoding.unit
            data = b"".join(bytes(packet) for packet in self._context.encode(picture))
            stem = frame.side.get("stem") if self._keeps_stems else None
            (self._place.path / pictures.numbered(self._pattern, self._count, stem)).write_bytes(data)

    def finish(self) -> None:
        with trouble_told(str(self._folder)):
            self._place.commit()

    def abort(self, keep: bool) -> Path | None:
        if keep:
            return self._place.keep_partial()
        self._place.discard()
        return None


def _output_format(path: str | Path, wanted: str | None) -> str:
    if wanted is not None:
        try:
            return av.ContainerFormat(wanted, "w").name
        except ValueError:
            raise DerainError(f"there is no container format {wanted}; try matroska or mp4") from None
    if str(path) == "-":
        return "matroska"
    suffix = Path(path).suffix
    try:
        name = av.open(f"video{suffix}", "w").format.name
    except ValueError:
        name = ""
    if not name or name in ("image2", "rawvideo", "segment", "hls", "dash"):
        raise DerainError(f"{path} names no container for video; end it in .mkv or .mp4, or write pictures: %04d.png")
    return name
