"""Pictures on a GPU as FFmpeg's decoders and encoders lay them out there, and a frame's planes as torch tensors.

The objects come from video.py, cameras.py and nvenc.py.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from streamderain import containers, planes
from streamderain.core.colour import PixelFormat, Planes
from streamderain.frame import Frame

# What NVDEC writes, and the planar format that holds the same samples; 10 and 12 bits stand in the high ones of 16.
_PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le", "p016le": "yuv420p12le"}
_BITS = {"p010le": 10, "p016le": 12}
_ROW = 256  # samples; an encoder takes no row that begins just anywhere


def name_of(picture: Any) -> str:
    """FFmpeg's name of the planar format whose samples a picture holds; of its own format where that is no layout."""
    return planar(picture) or picture.format.name


def planar(picture: Any) -> str | None:
    """The planar format whose samples a picture on the GPU holds; None for one in memory, or of an unknown layout."""
    return _PLANAR.get(picture.sw_format.name) if picture.format.name == "cuda" else None


def layout(format: PixelFormat) -> str | None:
    """FFmpeg's name of the layout in which an encoder on a GPU takes such planes without loss; None without one."""
    if format.family != "yuv" or format.subsampling != (1, 1):
        return None
    return {8: "nv12", 10: "p010le"}.get(format.bit_depth)


def layout_for(pixel_format: str) -> str | None:
    """The same for one of FFmpeg's names of planar formats."""
    known = containers.pixel_format(pixel_format)
    return None if known is None or known[1] else layout(known[0])


def read(picture: Any) -> Planes:
    """A picture's planes where they are: without a copy at 8 bits, with one on the device above.

    Args:
        picture: an av.VideoFrame for which `planar` knows a format; even in width and height.

    Returns:
        Y, U and V as torch tensors, uint8 or uint16 with the value in the low bits, (H, W) and twice (H / 2, W / 2);
        U and V are views of one tensor. FFmpeg's frame lives as long as they do.
    """
    import torch  # takes a second, and many who read videos do without it

    # the capsule and not the plane, because PyAV refuses torch's question to wait for a stream; nor is that needed:
    # NVDEC puts its pictures out on the default stream
    luma, both = (torch.from_dlpack(plane.__dlpack__()) for plane in picture.planes)  # (H, W), (H / 2, W / 2, 2)
    bits = _BITS.get(picture.sw_format.name)
    if bits is not None:
        luma, both = _to_low_bits(luma, bits), _to_low_bits(both, bits)
    made: tuple[Any, ...] = luma, both[..., 0], both[..., 1]
    return made


def planes_of(picture: Any, bit_depth: int) -> list[Any]:
    """A picture's planes wherever it is, alpha last: tensors of one on a GPU, else copies (see planes.read)."""
    return [*read(picture)] if planar(picture) else planes.read(picture, bit_depth=bit_depth)


def write(frame: Frame) -> tuple[Any, Any]:
    """A frame's planes laid out for an encoder on the GPU.

    Args:
        frame: on a device, of a format that has a `layout`, even in width and height.

    Returns:
        Luma (H, W) and chroma (H / 2, W / 2, 2) as tensors of one piece of memory: NVENC is told where the luma begins,
        and looks for the chroma right behind it.
    """
    import torch

    luma, *chroma = (plane for plane in frame.planes)
    height, width = luma.shape
    pitch = -(-width // _ROW) * _ROW
    whole: Any = torch.empty((height * 3 // 2, pitch), dtype=luma.dtype, device=luma.device)  # type: ignore[call-overload]
    light, both = whole[:height, :width], whole[height:, :width].unflatten(1, (width // 2, 2))
    for target, plane in ((light, luma), (both[..., 0], chroma[0]), (both[..., 1], chroma[1])):
        target.copy_(plane)
    if frame.format.bit_depth > 8:
        signed = whole.view(torch.int16)  # torch shifts signed numbers only
        signed.bitwise_left_shift_(16 - frame.format.bit_depth)
    return light, both


def differs(picture: Any, expected: Any) -> bool:
    """Whether a picture on the GPU is another than the one that the CPU decoder made: in size, format or any sample."""
    same = name_of(picture) == expected.format.name.replace("yuvj", "yuv")
    if not same or (picture.width, picture.height) != (expected.width, expected.height):
        return True
    tensors: tuple[Any, ...] = read(picture)
    own = planes.read(expected, bit_depth=_BITS.get(picture.sw_format.name, 8))
    return not all(np.array_equal(tensor.cpu().numpy(), plane) for tensor, plane in zip(tensors, own, strict=True))


def has_side_data(picture: Any) -> bool:
    """Whether a picture carries what only FFmpeg can hand from frame to frame: captions, HDR10+, a timecode."""
    try:
        return len(picture.side_data) > 0
    except ValueError:  # a kind that PyAV cannot name
        return True


def _to_low_bits(samples: Any, bits: int) -> Any:
    """uint16 samples whose value stands in the high bits, moved down; torch shifts signed numbers only."""
    import torch

    moved = (samples.view(torch.int16) >> (16 - bits)) & ((1 << bits) - 1)
    return moved.view(torch.uint16)
