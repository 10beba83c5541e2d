"""Weights of the frozen encoders, from safetensors files of the user's; what else such a file holds is left unread."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .checkpoint import CheckpointError
from .encoders import CLIPImageEncoder, Depth, VGGEncoder

FLOATS = ("F32", "F16", "BF16")  # as safetensors spells them


def load_vgg(path: Path, depth: Depth, native: bool = True) -> VGGEncoder:
    """VGG-16 or VGG-19 with the weights of a file.

    Args:
        path: safetensors with torchvision's names, `features.0.weight` and so on; float32, float16 or bfloat16. The
            classifier may be there or not; metadata is ignored.
        depth: 16 or 19; the file must be of this one.
        native: see VGGEncoder.

    Returns:
        The encoder, float32 on the CPU.

    Raises:
        CheckpointError: no such file, not safetensors, truncated, or the first tensor that is missing, misshapen, not
            float or not finite.
        ValueError: another depth.
    """
    model = VGGEncoder(depth, native)
    _fill(model.layers, path, "features.", f"give torchvision's vgg{depth}, saved as safetensors under its own names")
    return model


def load_clip(path: Path, native: bool = True) -> CLIPImageEncoder:
    """The image tower of CLIP ViT-B/32 with the weights of a file.

    Weights trained with the exact GELU have the same names and shapes and cannot be told apart: give OpenAI's.

    Args:
        path: safetensors with OpenAI's names, `visual.conv1.weight` and so on; float32, float16 or bfloat16. The text
            tower may be there or not; metadata is ignored.
        native: see CLIPImageEncoder.

    Returns:
        The encoder, float32 on the CPU.

    Raises:
        CheckpointError: as in load_vgg.
    """
    model = CLIPImageEncoder(native=native)
    _fill(model, path, "visual.", "give OpenAI's CLIP ViT-B/32, saved as safetensors under its own names")
    return model


def _fill(module: nn.Module, path: Path, prefix: str, advice: str) -> None:
    """Copy the file's tensors, whose names are the module's behind a prefix, into the module."""
    try:
        if not path.is_file():
            raise CheckpointError("is not a file")
        with safe_open(path, framework="pt") as file:
            names = frozenset(file.keys())
            for name, target in module.state_dict().items():
                if prefix + name not in names:
                    raise CheckpointError(f"lacks the tensor {prefix}{name} of {tuple(target.shape)}")
                target.copy_(_tensor(file, prefix + name, target))
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}; {advice}") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}); {advice}") from None


def _tensor(file: Any, name: str, target: Tensor) -> Tensor:
    """One tensor of the open file; its shape is checked before its values are read."""
    header = file.get_slice(name)
    shape, dtype = tuple(header.get_shape()), header.get_dtype()
    if shape != tuple(target.shape) or dtype not in FLOATS:
        raise CheckpointError(f"has {name} as {dtype} of {shape}, not float of {tuple(target.shape)}")
    tensor = file.get_tensor(name)
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"holds NaN or infinity in {name}")
    return tensor
