"""Frozen encoders of the ratio losses: published weights where the user has them, else what this project trained."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from streamderain.core.checkpoint import CheckpointError, load_generator
from streamderain.core.encoder_files import load_clip, load_vgg
from streamderain.core.encoders import Depth, StreamEncoder
from streamderain.core.stream import StreamGenerator


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """Where weights of frozen encoders are.

    Attributes:
        vgg, clip: files of the user; None where there is none.
        stream: weights of a stream generator, whose encoder stands in for a missing VGG.
    """

    vgg: Path | None = None
    clip: Path | None = None
    stream: Path | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """An encoder's space that pictures are compared in.

    Attributes:
        name: what it is, for the checkpoint.
        weights: of the levels.
        extract: from (B, 3, H, W) of 0..1 to the levels' features.
    """

    name: str
    weights: tuple[float, ...]
    extract: Callable[[Tensor], list[Tensor]]


def perceptual_space(
    files: EncoderFiles, depth: Depth, layers: tuple[int, ...], weights: tuple[float, ...], device: str, *,
    native: bool,
) -> Space:  # fmt: skip
    """VGG's levels, or the three of the stream generator's encoder with the last of the weights.

    Args:
        files: see EncoderFiles.
        depth: of the VGG.
        layers: its module numbers, ascending.
        weights: one for each layer.
        device: where pictures will be.
        native: normalise VGG's input as it was trained.

    Raises:
        CheckpointError: a file that cannot be used, or neither of the two.
    """
    if files.vgg is not None:
        vgg = load_vgg(files.vgg, depth, native).to(device)
        return Space(f"vgg{depth}", weights, lambda x: vgg.features(x, layers))
    if files.stream is None:
        raise CheckpointError(f"there are no weights of vgg{depth}; give --vgg-weights FILE")
    generator, _ = load_generator(files.stream)
    assert isinstance(generator, StreamGenerator)
    encoder = StreamEncoder(generator).to(device)
    return Space(f"stream encoder for vgg{depth}", weights[-3:], lambda x: encoder.features(x, (0, 1, 2)))


def semantic_space(files: EncoderFiles, device: str, *, native: bool) -> Space | None:
    """CLIP's one vector for each picture; None without its weights.

    Raises:
        CheckpointError: the file cannot be used.
    """
    if files.clip is None:
        return None
    clip = load_clip(files.clip, native).to(device)
    return Space("clip", (1.0,), lambda x: clip.features(x, (0,)))
