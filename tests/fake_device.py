"""A GPU's decoder and frames on the CPU: in the layouts that NVDEC writes, in memory instead of on a device."""
from __future__ import annotations

from types import SimpleNamespace

import av
import numpy as np
import torch

from streamderain import nvdec, video
from streamderain.core.colour import PixelFormat
from streamderain.frame import Frame

LAYOUTS = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le", "yuv420p12le": "p016le"}


def frame_of_noise(number=0, *, size=(64, 48), bits=8, **options):
    """A frame in memory with chance in every sample."""
    width, height = size
    rng = np.random.default_rng(number)
    dtype = np.uint8 if bits == 8 else np.uint16
    shapes = (height, width), (height // 2, width // 2), (height // 2, width // 2)
    planes = tuple(rng.integers(0, 1 << bits, shape, dtype=dtype) for shape in shapes)
    return Frame(planes, PixelFormat("yuv", bits, (1, 1)), pts=number, **options)


def moved(frame):
    """The frame with tensors for planes, its chroma interleaved as NVDEC's is."""
    luma, *chroma = (torch.from_numpy(plane.copy()) for plane in frame.planes)
    both = torch.stack(chroma, dim=-1)
    return frame.with_planes((luma, both[..., 0], both[..., 1]))


class OnDevice:
    """A picture that says it is on a GPU; all else is asked of the one in memory, DLPack too."""

    def __init__(self, picture, **other):
        object.__setattr__(self, "inner", picture)
        object.__setattr__(self, "format", SimpleNamespace(name="cuda"))
        object.__setattr__(self, "sw_format", picture.format)
        for name, value in other.items():
            object.__setattr__(self, name, value)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __setattr__(self, name, value):
        setattr(self.inner, name, value)


def on_device(picture, **other):
    """A picture of the CPU decoder as NVDEC would give it; sample for sample the same."""
    layout = LAYOUTS[picture.format.name]
    ranges = {"src_color_range": 2, "dst_color_range": 2} if picture.format.name.startswith("yuvj") else {}
    made = picture.reformat(format=layout, **ranges)
    if ranges:
        made.color_range = 2
    made.pts, made.duration = picture.pts, picture.duration
    if picture.time_base is not None:
        made.time_base = picture.time_base
    return OnDevice(made, **other)


class FakeDecoder:
    """Decodes on the CPU and lays the pictures out as NVDEC does.

    Args:
        context: the CPU decoder, of a container of its own.
        spoil: called with the number of a picture and the picture, gives another or raises.
    """

    def __init__(self, context, spoil=lambda number, picture: picture):
        self.context, self.spoil, self.count = context, spoil, 0
        self.packets = 0

    @property
    def skip_frame(self):
        return self.context.skip_frame

    def decode(self, packet=None):
        self.packets += 1
        made = []
        for picture in self.context.decode(packet):
            self.count += 1
            made.append(self.spoil(self.count, on_device(picture)))
        return made


def put_in_place(monkeypatch, spoil=lambda number, picture: picture):
    """Let `video.open_video(decoder="auto")` find a GPU; returns a list that the decoders made come into."""
    made = []

    def second_look(file, stream, index, **options):
        container = av.open(file, **options)
        made.append(FakeDecoder(container.streams[stream].codec_context, spoil))
        return container, made[-1]

    monkeypatch.setattr(nvdec, "cuda_index", lambda device: None if device == "cpu" else 0)
    monkeypatch.setattr(nvdec, "second_look", second_look)
    assert video.nvdec is nvdec
    return made
