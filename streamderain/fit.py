"""Frames as pictures of the size and format that an encoder takes. A door to PyAV."""
from __future__ import annotations

import av

from streamderain import containers, planes, surfaces
from streamderain.conform import EXACT
from streamderain.encoding import Encoding
from streamderain.frame import Frame
from streamderain.source import format_of


def picture_of(frame: Frame) -> av.VideoFrame:
    """A frame's planes in an FFmpeg picture: the decoder's own where it fits, because it carries side data."""
    name = containers.planar_name(frame.format, alpha=frame.alpha is not None)
    picture, own = frame.side.get("picture"), None
    shape = name, frame.width, frame.height
    if picture is not None and (surfaces.name_of(picture), picture.width, picture.height) == shape:
        if surfaces.planar(picture) is None:
            own = picture
            own.make_writable()
        elif surfaces.has_side_data(picture):
            own = picture.reformat(format=name)  # fetched once more, because nothing else takes the side data along
    target = own or av.VideoFrame(frame.width, frame.height, name)
    if own is None and picture is not None:
        _copy_colour(picture, target)
    planes.write(target, [*frame.planes, *([] if frame.alpha is None else [frame.alpha])])
    if frame.format.full_range and frame.format.family != "rgb":
        target.color_range = containers.RANGE_FULL
    target.pict_type = 0  # the old encoder's choice is not ours
    return target


def fit(picture: av.VideoFrame, encoding: Encoding) -> av.VideoFrame:
    """The picture in the size and format that the encoder takes."""
    if (picture.width, picture.height) != (encoding.width, encoding.height):
        picture = _padded(picture, encoding.width, encoding.height)
    if picture.format.name == encoding.pixel_format:
        return picture
    if picture.format.is_rgb == av.VideoFormat(encoding.pixel_format).is_rgb:
        return picture.reformat(format=encoding.pixel_format, interpolation=EXACT)
    matrix = containers.coded_matrix(picture.colorspace, picture.height)
    sws = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}.get(matrix, 5)
    source_range = picture.color_range or (2 if picture.format.is_rgb else 1)
    return picture.reformat(
        format=encoding.pixel_format, interpolation=EXACT, src_colorspace=sws, dst_colorspace=sws,
        src_color_range=source_range, dst_color_range=1 if picture.format.is_rgb else 2,
    )  # fmt: skip


def _padded(picture: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """The last column and row once more, where the encoder wants even sizes."""
    format, _ = format_of(picture)
    target = av.VideoFrame(width, height, picture.format.name)
    few, many = (planes.read(each, bit_depth=format.bit_depth) for each in (picture, target))
    planes.write(target, [planes.extended(small, large.shape) for small, large in zip(few, many, strict=True)])
    _copy_colour(picture, target)
    return target


def _copy_colour(picture: av.VideoFrame, target: av.VideoFrame) -> None:
    target.colorspace, target.color_range = picture.colorspace, picture.color_range
    target.color_trc, target.color_primaries = picture.color_trc, picture.color_primaries
