"""Frames that go into NVENC without leaving the GPU. A door to PyAV."""
from __future__ import annotations

from typing import Any

import av
from av.video.frame import CudaContext

from streamderain import surfaces
from streamderain.frame import Frame


class Feed:
    """Makes pictures for NVENC of frames on a CUDA device.

    Args:
        index: of the device.
        layout: FFmpeg's name of what the encoder was opened for, "nv12" or "p010le".
        size: its width and height, pixels.
    """

    def __init__(self, index: int, layout: str, size: tuple[int, int]) -> None:
        self._index, self._layout, self._size = index, layout, size
        self._context: Any = None

    def takes(self, frame: Frame) -> bool:
        """Whether a frame can go in from the device; others go through memory, where its side data is not lost."""
        picture = frame.side.get("picture")
        return (
            frame.on_device and frame.alpha is None and surfaces.layout(frame.format) == self._layout
            and (frame.width, frame.height) == self._size
            and not (picture is not None and surfaces.has_side_data(picture))
        )  # fmt: skip

    def picture(self, frame: Frame) -> av.VideoFrame:
        """A frame that is taken, as a picture on the device; its memory lives until the encoder has read it."""
        import torch

        with torch.cuda.device(self._index):  # whose context FFmpeg makes its own at the first frame
            if self._context is None:
                self._context = CudaContext(self._index, primary_ctx=False, current_ctx=True)
            planes = surfaces.write(frame)
            return av.VideoFrame.from_dlpack(planes, format=self._layout, cuda_context=self._context)
