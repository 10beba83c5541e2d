"""Frames on a CUDA device: colour.py's conversions and the network's input of companions.py, on torch's current stream.

The kernels are those of kernels_cuda_frame.py, the tables those of colour.py; nothing here waits for the device.
"""
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import colour, device_memory, kernels_cuda_frame
from .colour import PixelFormat
from .companions import CHANNELS, COST_CAP, MULTIPLE
from .cuda_search import DeviceField
from .device_memory import Shared

DeviceSlot = tuple[Shared, DeviceField] | None  # the reference's RGB, and where the frame's cells stand in it
_DOUBTED = 4  # of what fill_blocks is told to be there
_BITS_16 = (torch.float16, torch.bfloat16)


def show(planes: tuple[Shared, ...], pixel_format: PixelFormat, turns: int = 0) -> tuple[Shared, Shared]:
    """The picture as the network and the search see it: colour.to_rgb and colour.luma.

    Args:
        planes: on one device, uint8 or uint16, in any strides; shapes and order as in PixelFormat; never modified.
        pixel_format: how to read them.
        turns: counterclockwise quarter turns that stand the picture upright.

    Returns:
        RGB uint8 (3, H, W) and luma uint8 (H, W), upright.

    Raises:
        ValueError: the planes do not fit the format.
    """
    _check(planes, pixel_format)
    height, width = planes[0].tensor.shape
    device = planes[0].tensor.device
    size = (width, height) if turns % 2 else (height, width)
    rgb = device_memory.empty((3, *size), torch.uint8, device)
    grey = device_memory.empty(size, torch.uint8, device)
    drop, turn = np.int32(pixel_format.bit_depth - 8), _lying(turns, height, width)
    if pixel_format.family == "yuv":
        matrix, top, seen = _matrix(pixel_format, device)
        _launch(
            kernels_cuda_frame.show_yuv, size, *_arrays(planes), *_shifts(pixel_format), matrix, top,
            _shown(seen, device), drop, turn, rgb.array, grey.array,
        )  # fmt: skip
    else:
        channels, weighted = _arrays(planes) * (3 // len(planes)), np.int32(len(planes) > 1)
        table = _shown(pixel_format, device)
        _launch(kernels_cuda_frame.show_rgb, size, *channels, table, drop, weighted, turn, rgb.array, grey.array)
    return rgb, grey


def network_blocks(
    rgb: Shared, slots: tuple[DeviceSlot, DeviceSlot], doubt: Shared | None = None, dtype: torch.dtype = torch.float16
) -> Tensor:
    """companions.network_blocks: its float32 values, rounded to dtype.

    Args:
        rgb: the frame, (3, H, W) uint8.
        slots: references and fields, or None for an empty slot.
        doubt: about the first slot's reference, (H, W) uint8; None where nobody was asked.
        dtype: torch.float16 or torch.bfloat16.

    Returns:
        (48, H / 2, W / 2) with H and W rounded up to multiples of 8, channels last in memory.

    Raises:
        ValueError: another dtype, or a reference or a doubt that does not fit the frame.
    """
    if dtype not in _BITS_16:
        raise ValueError(f"dtype is {dtype}; it must be torch.float16 or torch.bfloat16")
    if any(slot and slot[0].tensor.shape != rgb.tensor.shape for slot in slots):
        raise ValueError(f"a reference does not fit a frame of {tuple(rgb.tensor.shape)}")
    if doubt and doubt.tensor.shape != rgb.tensor.shape[1:]:
        raise ValueError(f"doubt of {tuple(doubt.tensor.shape)} does not fit a frame of {tuple(rgb.tensor.shape)}")
    device = rgb.tensor.device
    rows, columns = (size + -size % MULTIPLE for size in rgb.tensor.shape[1:])
    words = device_memory.empty((rows // 2, columns // 2 * CHANNELS * 2), torch.uint32, device)
    full = sum(1 << place for place, slot in enumerate(slots) if slot) | (_DOUBTED if slots[0] and doubt else 0)
    radius = next((slot[1].radius for slot in slots if slot), 0)
    # an empty slot needs arrays of the right kind that nobody reads
    references = [slot[0].array if slot else rgb.array for slot in slots]
    keys = [slot[1].keys.array if slot else _no_keys(device) for slot in slots]
    grid = -(-(columns // 2) // kernels_cuda_frame.BLOCK_THREADS), rows // 2
    kernels_cuda_frame.fill_blocks[grid, kernels_cuda_frame.BLOCK_THREADS, device_memory.stream()](
        rgb.array, references[0], keys[0], references[1], keys[1],
        doubt.array if doubt else _unasked(device), np.int32(full), np.int32(radius),
        *_value_tables(dtype, device), words.array,
    )  # fmt: skip
    return words.tensor.view(dtype).view(rows // 2, columns // 2, CHANNELS * 4).permute(2, 0, 1)


def subtract_rain(
    planes: tuple[Shared, ...], rain: Tensor, pixel_format: PixelFormat, strength: float = 1.0, turns: int = 0
) -> tuple[Tensor, ...]:
    """colour.subtract_rain on the device.

    Args:
        planes: as in show.
        rain: float32 (3, H, W) in any strides, upright, in units of the 0..1 RGB; may exceed the picture to the right
            and below.
        pixel_format: how to read the planes.
        strength: multiplies the rain.
        turns: as in show.

    Returns:
        New planes of the same shapes and dtype; chroma that was interleaved is so again.

    Raises:
        ValueError: the planes do not fit the format, or rain is not float32 or smaller than they are.
    """
    _check(planes, pixel_format)
    height, width = planes[0].tensor.shape
    size = (width, height) if turns % 2 else (height, width)
    if rain.dtype != torch.float32 or rain.shape[0] != 3 or rain.shape[1] < size[0] or rain.shape[2] < size[1]:
        raise ValueError(f"rain must be float32 and cover {(3, *size)}, got {rain.dtype} {tuple(rain.shape)}")
    layer, turn = device_memory.as_array(rain), _upright(turns, height, width)
    if pixel_format.transfer != "sdr":
        layer, turn = _through_curve(planes, layer, pixel_format, turns), _upright(0, height, width)
    outs = _like(tuple(plane.tensor for plane in planes))
    shift_x, shift_y = _shifts(pixel_format)
    blocks = -(-height >> int(shift_y)), -(-width >> int(shift_x))
    _launch(
        kernels_cuda_frame.subtract_levels, blocks, _three(_arrays(planes)), np.int32(len(planes)), shift_x, shift_y,
        _weights(pixel_format, float(strength), planes[0].tensor.device), turn, layer,
        np.int32((1 << pixel_format.bit_depth) - 1), _three(tuple(device_memory.as_array(out) for out in outs)),
    )  # fmt: skip
    return outs


def _through_curve(planes: tuple[Shared, ...], rain: Any, pixel_format: PixelFormat, turns: int) -> Any:
    """Rain seen through the curve of PQ or HLG brought back to the signal: float32 (3, H, W), lying like the planes."""
    height, width = planes[0].tensor.shape
    device = planes[0].tensor.device
    out = device_memory.empty((3, height, width), torch.float32, device).array
    size, turn = ((width, height) if turns % 2 else (height, width)), _lying(turns, height, width)
    if pixel_format.family == "yuv":
        matrix, top, seen = _matrix(pixel_format, device)
        shifts, gains = _shifts(pixel_format), _gains(seen, device)
        _launch(kernels_cuda_frame.gain_yuv, size, *_arrays(planes), *shifts, matrix, top, gains, turn, rain, out)
    else:
        channels = _arrays(planes) * (3 // len(planes))
        _launch(kernels_cuda_frame.gain_rgb, size, *channels, _gains(pixel_format, device), turn, rain, out)
    return out


def _launch(kernel: Any, size: tuple[int, int], *arguments: Any) -> None:
    """Run a kernel with one thread for each place of a grid of (rows, columns)."""
    x, y = kernels_cuda_frame.PICTURE_THREADS
    grid = -(-size[1] // x), -(-size[0] // y)
    kernel[grid, (x, y), device_memory.stream()](*arguments)


def _check(planes: tuple[Shared, ...], pixel_format: PixelFormat) -> None:
    dtype = torch.uint8 if pixel_format.bit_depth == 8 else torch.uint16
    height, width = planes[0].tensor.shape
    shift_x, shift_y = (int(shift) for shift in _shifts(pixel_format))
    chroma = (-(-height >> shift_y), -(-width >> shift_x))
    expected = [(height, width), chroma, chroma][: 1 if pixel_format.family == "grey" else 3]
    tensors = [plane.tensor for plane in planes]
    if [tuple(t.shape) for t in tensors] != expected or any(t.dtype != dtype for t in tensors):
        given = [f"{t.dtype} {tuple(t.shape)}" for t in tensors]
        raise ValueError(f"planes of {pixel_format} must be {dtype} {expected}, got {given}")


def _like(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """New tensors of the same sizes; two that were interleaved share memory again."""
    luma = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
    if len(tensors) == 3 and tensors[1].stride(1) == 2:
        both = tensors[1].new_empty((*tensors[1].shape, 2))
        return luma, both[..., 0], both[..., 1]
    return luma, *(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors[1:])


def _arrays(planes: tuple[Shared, ...]) -> tuple[Any, ...]:
    return tuple(plane.array for plane in planes)


def _three(arrays: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    return (arrays[0], arrays[1], arrays[2]) if len(arrays) == 3 else (arrays[0], arrays[0], arrays[0])


def _shifts(pixel_format: PixelFormat) -> tuple[np.int32, np.int32]:
    """log2 of the chroma's reduction, x and y."""
    x, y = pixel_format.subsampling if pixel_format.family == "yuv" else (0, 0)
    return np.int32(x), np.int32(y)


def _lying(turns: int, height: int, width: int) -> tuple[np.int32, ...]:
    """(y0, yi, yj, x0, xi, xj) of the lying place that stands at (i, j) after turns: what np.rot90 does."""
    below, right = height - 1, width - 1
    turned = (0, 1, 0, 0, 0, 1), (0, 0, 1, right, -1, 0), (below, -1, 0, right, 0, -1), (below, 0, -1, 0, 1, 0)
    return tuple(np.int32(value) for value in turned[turns % 4])


def _upright(turns: int, height: int, width: int) -> tuple[np.int32, ...]:
    """(i0, iy, ix, j0, jy, jx): the inverse of _lying, for a lying frame of that size."""
    size = (width, height) if turns % 2 else (height, width)
    return _lying(-turns, *size)


@lru_cache
def _matrix(pixel_format: PixelFormat, device: torch.device) -> tuple[Any, np.float32, PixelFormat]:
    """The matrix to RGB codes, the largest of these, and how they are to be read."""
    bits = 8 if pixel_format.transfer == "sdr" else colour.SEEN_BITS
    top = (1 << bits) - 1
    seen = PixelFormat("rgb", bits, full_range=True, transfer=pixel_format.transfer)
    return device_memory.uploaded(colour.rgb_per_code(pixel_format, top), device), np.float32(top), seen


@lru_cache
def _shown(pixel_format: PixelFormat, device: torch.device) -> Any:
    return device_memory.uploaded(colour.shown_codes(pixel_format), device)


@lru_cache
def _gains(pixel_format: PixelFormat, device: torch.device) -> Any:
    return device_memory.uploaded(colour.curve_gains(pixel_format), device)


@lru_cache
def _weights(pixel_format: PixelFormat, strength: float, device: torch.device) -> Any:
    return device_memory.uploaded((strength * colour.levels_per_rain(pixel_format)).astype(np.float32), device)


@lru_cache
def _unasked(device: torch.device) -> Any:
    return device_memory.empty((1, 1), torch.uint8, device).array


@lru_cache
def _no_keys(device: torch.device) -> Any:
    return device_memory.empty((1, 1, 1), torch.uint32, device).array


@lru_cache
def _value_tables(dtype: torch.dtype, device: torch.device) -> tuple[Any, Any, Any]:
    """Values of the colour, difference and cost channels: their 16 bits in int32."""
    values = (torch.arange(256) / 255, torch.arange(-255, 256) / 255, torch.arange(COST_CAP + 1) / COST_CAP)
    bits = [value.to(dtype).view(torch.int16).to(torch.int32) & 0xFFFF for value in values]
    colours, differences, costs = (device_memory.uploaded(table.numpy(), device) for table in bits)
    return colours, differences, costs
