"""A row of picture files read like a video. A door to PyAV."""
from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from streamderain import containers
from streamderain.errors import DerainError
from streamderain.inputs import open_input, refuse_large
from streamderain.source import Limits


class PictureFiles:
    """Pictures one after the other, each a container of its own; to a VideoSource the same as a video file.

    Attributes:
        corrupt: pictures that could not be read.
        others, carried: streams beside the video and their packets: none.
    """

    on_device = False
    joins = 0

    def __init__(self, files: list[Path], rate: Fraction, limits: Limits, name: str) -> None:
        self.name, self._files, self._rate, self._limits = name, files, rate, limits
        self.corrupt = 0
        self.others: list[Any] = []
        self.carried: deque[Any] | None = None
        self._stream: Any = None

    def decode_on(self, index: int | None, tell: Callable[[str], None]) -> None:
        """Only said: a picture is a file, and no stream."""
        tell("these are pictures")

    def stream(self) -> Any:
        return self._stream

    def origin(self) -> Fraction:
        return Fraction(0)

    def length(self) -> tuple[float | None, int | None]:
        return float(len(self._files) / self._rate), len(self._files)

    def pictures(self) -> Iterator[av.VideoFrame]:
        for index, file in enumerate(self._files):
            try:
                picture = self._read(file)
            except (DerainError, OSError, FFmpegError, StopIteration):
                self.corrupt += 1
                continue
            picture.pts, picture.time_base, picture.duration = index, 1 / self._rate, 1
            picture.opaque = file.stem
            yield picture

    def tags(self) -> dict[str, str]:
        return {}

    def chapters(self) -> list[Any]:
        return []

    def read_others(self, end: Fraction) -> None:
        """Pictures have no other streams."""

    def shortfall(self) -> str | None:
        return None

    def close(self) -> None:
        self._files = []

    def _read(self, file: Path) -> av.VideoFrame:
        data, most = io.BytesIO(file.read_bytes()), self._limits.max_pixels
        with open_input(data, str(file), containers.PICTURE_FORMATS, most) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            refuse_large(str(file), stream.width, stream.height, most)
            picture = next(container.decode(stream))
            self._stream = self._stream or _Still(stream.codec_context.name, self._rate, picture)
            return picture


class _Still:
    """What of a stream a picture has."""

    def __init__(self, codec: str, rate: Fraction, picture: av.VideoFrame) -> None:
        self.name = codec
        self.average_rate, self.time_base = rate, 1 / rate
        self.sample_aspect_ratio = None
        self.metadata: dict[str, str] = {}
