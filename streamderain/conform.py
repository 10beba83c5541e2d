"""Pictures made alike: one size, one planar format, deinterlaced. A door to PyAV."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.codec.codec import find_best_pix_fmt_of_list
from av.video.reformatter import Interpolation

from streamderain import containers, surfaces

_FULL_CHROMA = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | _FULL_CHROMA  # how pictures are converted
_PLANAR_BASES = ("gray", "yuv420p", "yuv422p", "yuv444p", "gbrp", "gbrap")


class Conformer:
    """Pictures of one size and one planar format, deinterlaced: those of the first.

    Attributes:
        interlaced: the input is, as far as was seen.
        resized: pictures that had another size.
    """

    def __init__(self, reader: Any, warn: Callable[[str], None]) -> None:
        self._reader, self._warn = reader, warn
        self.resized = 0
        self._graph: av.filter.Graph | None = None
        self._shape: tuple[int, int, str] | None = None  # of what it takes

    @property
    def interlaced(self) -> bool:
        return self._graph is not None

    def pictures(self) -> Iterator[av.VideoFrame]:
        """The reader's pictures, made alike."""
        target: tuple[int, int, str] | None = None
        on_device = False
        for picture in self._deinterlaced():
            if target is None:
                target = picture.width, picture.height, planar(picture)
                on_device = surfaces.planar(picture) is not None
            name = own = surfaces.name_of(picture)
            if on_device:  # pictures of the CPU that follow say by their format what those of the GPU say beside it
                name = own.replace("yuvj", "yuv")
            if (picture.width, picture.height) != target[:2]:
                self._warn(f"the size changes to {picture.width}x{picture.height}: those frames are resized")
                self.resized += 1
            if (picture.width, picture.height, name) != target:
                picture = alike(picture, (*target[:2], own if name == target[2] else target[2]))
            yield picture

    def _deinterlaced(self) -> Iterator[av.VideoFrame]:
        for picture in self._reader.pictures():
            unit = picture.time_base = picture.time_base or self._reader.stream().time_base
            shape = picture.width, picture.height, picture.format.name
            if self._graph is not None and shape != self._shape:  # the filter takes no other
                yield from _through(self._graph, None, unit)
                self._graph, self._shape = _deinterlacer(picture), shape
            if self._graph is None and picture.interlaced_frame and min(picture.width, picture.height) >= 4:
                self._graph, self._shape = _deinterlacer(picture), shape
                self._warn("the video is interlaced: deinterlaced with bwdif, one frame for each frame")
            if self._graph is None:
                yield picture
            else:
                yield from _through(self._graph, picture, unit)
        if self._graph is not None:
            yield from _through(self._graph, None, self._reader.stream().time_base)


def planar(picture: av.VideoFrame) -> str:
    """The planar format that holds a picture's own samples, depth and sampling."""
    name = surfaces.name_of(picture)
    if containers.pixel_format(name):
        return name
    every = [f"{base}{depth}" for base in _PLANAR_BASES for depth in ("", "10le", "12le", "14le", "16le")]
    best, _ = find_best_pix_fmt_of_list([*every, "ya8", "ya16le"], name, _has_alpha(picture.format))
    return best.name if best is not None else "yuv444p"


def alike(picture: av.VideoFrame, target: tuple[int, int, str]) -> av.VideoFrame:
    """The picture in this width, height and format, with its own time."""
    made = picture.reformat(*target, interpolation=EXACT)
    made.opaque, made.pts, made.time_base = picture.opaque, picture.pts, picture.time_base
    return made


def _has_alpha(format: Any) -> bool:
    return format.has_palette or any(component.is_alpha for component in format.components)


def _deinterlacer(picture: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    buffer = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
    )
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(buffer, bwdif, graph.add("buffersink")).configure()
    return graph


def _through(graph: av.filter.Graph, picture: av.VideoFrame | None, unit: Fraction) -> Iterator[av.VideoFrame]:
    graph.push(picture)
    while True:
        try:
            done = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(done, av.VideoFrame)
        if done.pts is not None and done.time_base is not None:
            done.pts = round(done.pts * done.time_base / unit)  # the filter counts in half ticks
        done.duration = round(done.duration * done.time_base / unit) if done.time_base else done.duration
        done.time_base = unit
        yield done
