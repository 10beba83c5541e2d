"""One video in, the same video out without rain: what the command and Python users share."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from numbers import Rational, Real
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, get_args

from streamderain import pipeline
from streamderain.compare import Mode, overlay, side_size
from streamderain.containers import pixel_format
from streamderain.encoding import AUTO, DEFAULT, uses_nvenc
from streamderain.errors import DerainError
from streamderain.frame import Frame, on_host
from streamderain.nvdec import Decoder, cuda_index
from streamderain.report import Report
from streamderain.sinks import VideoSink
from streamderain.video import open_video

if TYPE_CHECKING:
    from streamderain.derainer import Derainer

Name = str | PathLike[str]

_FORMATS = {"y4m": "yuv4mpegpipe", "mkv": "matroska", "ts": "mpegts"}  # what people call them: what FFmpeg calls them


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """What can be asked of one file.

    Attributes:
        encoder: FFmpeg's name of it; "auto" is NVENC where the network runs on a CUDA device that has it, else libx264.
        crf: quality on the encoder's own scale; None takes a default without visible loss.
        preset: the encoder's own name for a speed; None takes its default.
        container_format: FFmpeg's name of the container, or y4m, mkv, ts; None goes by the output's name.
        rate: frames per second of pictures; ignored for files that have their own times.
        start, duration: the part of the input that is wanted, seconds; None is from the beginning, to the end.
        max_pixels: larger frames are refused before they are decoded; None allows 8K.
        compare: before and after in one picture instead of after alone.
        overwrite: replace an existing output.
        decoder: "auto" leaves frames on the GPU that the network runs on where NVDEC decodes them, "nvdec" does the
            same and says where not, "cpu" does not.
        device: where the network runs, see Derainer.

    Raises:
        DerainError: a number out of its range, or a word that is none of these.
    """

    encoder: str = DEFAULT
    crf: int | None = None
    preset: str | None = None
    container_format: str | None = None
    rate: Fraction = Fraction(25)
    start: float | None = None
    duration: float | None = None
    max_pixels: int | None = None
    compare: Mode | None = None
    overwrite: bool = False
    decoder: Decoder = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, least in (("crf", 0), ("start", 0), ("duration", 0), ("max_pixels", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and least <= float(value) < inf):
                raise DerainError(f"{name} is {value!r}; give a number of {least} or more, or None")
        if not isinstance(self.rate, Rational) or self.rate <= 0:
            raise DerainError(f"rate is {self.rate!r}; give a Fraction above 0, such as Fraction(30000, 1001)")
        object.__setattr__(self, "rate", Fraction(self.rate))  # of an int, which divides into floats
        for name, words in (("compare", (None, *get_args(Mode))), ("decoder", get_args(Decoder))):
            if getattr(self, name) not in words:
                raise DerainError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(map(str, words))}")


class FileJob:
    """Both ends of one run, opened and checked; a context manager that leaves nothing half-written under its name.

    Args:
        input: a file, a folder or pattern of pictures, or "-".
        output: a file, a picture pattern, or "-".
        options: see FileOptions.
        report: filled as the run goes; its warnings begin with what opening found.

    Raises:
        DerainError: the input cannot be read, or the output could not be written; nothing is left behind.
    """

    def __init__(self, input: Name, output: Name, options: FileOptions, report: Report) -> None:
        self.report, self._compare = report, options.compare
        with ExitStack() as stack:
            limit = {} if options.max_pixels is None else {"max_pixels": options.max_pixels}
            self._source = open_video(
                fspath(input), start=options.start, duration=options.duration, rate=options.rate,
                decoder=options.decoder, device=options.device, **limit,
            )  # fmt: skip
            stack.callback(self._source.close)
            self._sink = VideoSink(
                fspath(output),
                self._source,
                encoder=options.encoder,
                crf=options.crf,
                preset=options.preset,
                container_format=_FORMATS.get(options.container_format or "", options.container_format),
                size=self._size(),
                overwrite=options.overwrite,
                cuda=cuda_index(options.device) if _may_encode_on_gpu(options.encoder) else None,
            )
            stack.callback(self._sink.abort)
            self._ends = stack.pop_all()
        self._note_warnings()

    @property
    def total(self) -> int | None:
        """Frames to come, as far as the input says."""
        return self._source.info.frames

    def run(
        self,
        derainer: Derainer,
        *,
        on_frame: Callable[[int], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Report:
        """Take every frame through the derainer and complete the output; `report` is filled also when this fails.

        Args:
            derainer: its past is forgotten first.
            on_frame: called with the number of frames done.
            stop: ends the run early, in order, when set; the report is then not complete.

        Raises:
            DerainError: the input ended short (exit code 3) or the output could not be written any further (4).
        """
        report = self.report
        report.backend, report.profile = derainer.backend, derainer.profile
        report.device, report.precision = str(derainer.device), derainer.precision
        derainer.reset()
        spent, frames = dict(derainer.stage_ms), derainer.frames
        begun = time.monotonic()

        def count(before: Frame, after: Frame) -> None:
            if on_frame is not None:
                on_frame(derainer.frames - frames)

        counts = pipeline.Counts()
        try:
            with self._deraining(derainer) as (derain, at_once):
                pipeline.run(
                    self._source, derain, self._sink, at_once=at_once, on_frame=count, stop=stop, counts=counts
                )
            report.complete = not counts.stopped
        finally:
            self._ends.pop_all()  # pipeline.run has closed both
            report.seconds = time.monotonic() - begun
            report.frames_in, report.frames_corrupt = self._source.frames, self._source.corrupt
            report.frames_out = self._sink.frames
            report.decoder, report.encoder = "nvdec" if self._source.on_device else "cpu", self._sink.encoder
            report.ms_per_stage = {stage: ms / max(1, counts.frames_in) for stage, ms in counts.ms.items()}
            for stage, ms in derainer.stage_ms.items():
                report.ms_per_stage[stage] = (ms - spent[stage]) / max(1, derainer.frames - frames)
            self._note_warnings()
            if self._sink.partial is not None:
                report.partial = str(self._sink.partial)
        return report

    def __enter__(self) -> FileJob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.close()

    def _size(self) -> tuple[int, int] | None:
        """What the output measures where it is not the input's size."""
        info = self._source.info
        known = pixel_format(info.pixel_format)
        if self._compare != "side" or known is None:
            return None
        return side_size(info.width, info.height, known[0], rotation=info.rotation)

    @contextmanager
    def _deraining(self, derainer: Derainer) -> Iterator[tuple[pipeline.Derain, int]]:
        """What the pipeline derains with, and how many frames at once: several where that is faster."""
        from streamderain.overlap import frames_at_once, overlapped  # needs torch, which a Derainer has brought

        if frames_at_once(derainer) > 1:
            with overlapped(derainer, self._shown) as overlap:
                yield overlap, overlap.frames
            return

        def one(frame: Frame, following: Frame | None) -> Frame:
            if str(derainer.device) == "cpu":  # whatever the options said of it
                frame, following = on_host(frame), following and on_host(following)
            return self._shown(frame, derainer(frame, following))

        yield one, 1

    def _shown(self, frame: Frame, after: Frame) -> Frame:
        """Compare, and send what is encoded on the CPU on its way there."""
        if self._compare is not None:
            return overlay(self._compare, frame, after)
        if self._sink.on_device or not after.on_device:
            return after
        from streamderain.download import begin  # needs torch, which such a frame has brought

        return begin(after)

    def _note_warnings(self) -> None:
        for line in (*self._source.warnings, *self._sink.warnings):
            if line not in self.report.warnings:
                self.report.warnings.append(line)


def _may_encode_on_gpu(encoder: str) -> bool:
    return encoder == AUTO or uses_nvenc(encoder)


def derain_video(
    input: Name,
    output: Name,
    *,
    profile: str = "auto",
    device: str = "auto",
    model: Path | None = None,
    strength: float = 1.0,
    backend: str = "auto",
    precision: str = "auto",
    cache_dir: Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Take the rain out of a video.

    Args:
        input: any file FFmpeg reads, a folder or pattern of pictures, or "-" for stdin.
        output: a file (container from its name), a picture pattern, or "-" for stdout.
        profile, device, model, strength, backend, precision, cache_dir: see Derainer.
        options: see FileOptions.

    Returns:
        The report as plain values: frames, seconds, ms per stage, backend, versions, warnings (see Report).

    Raises:
        DerainError: the user's trouble, one line.
        TypeError: an option that FileOptions does not know.
    """
    from streamderain.derainer import Derainer

    with FileJob(input, output, FileOptions(device=device, **options), Report(fspath(input), fspath(output))) as job:
        network = {"profile": profile, "device": device, "model": model, "strength": strength, "backend": backend}
        return job.run(Derainer(**network, precision=precision, cache_dir=cache_dir)).as_dict()  # type: ignore[arg-type]  # checked there
