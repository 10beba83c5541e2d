"""Scores of a derainer on pictures or a video whose clean side is known, and how they are put together."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

from streamderain import photos
from streamderain.core import metrics
from streamderain.core.colour import to_rgb
from streamderain.errors import DerainError
from streamderain.frame import Frame
from streamderain.sinks import damage
from streamderain.source import VideoSource
from streamderain.video import open_video

IDENTICAL_DB = 100.0  # stands for the infinite PSNR of identical pictures, so that means and JSON stay finite


class FrameDerainer(Protocol):
    """The part of a Derainer that is measured."""

    def __call__(self, frame: Frame, following: Frame | None = None) -> Frame: ...

    def reset(self) -> None:
        """Forget the past: the next frame belongs to another stream."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How near one picture is to its truth: PSNR in dB (at most IDENTICAL_DB), SSIM at most 1, on Y and on RGB."""

    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float


@dataclass(frozen=True, slots=True)
class Flicker:
    """Warped error in grey levels since the frame before, along the clean side's motion; the truth's is the floor."""

    input: float
    output: float
    clean: float


Figures = TypeVar("Figures", Scores, Flicker)


@dataclass(frozen=True, slots=True)
class Row:
    """One picture's figures.

    Attributes:
        name: the rainy file's name, or the frame's number.
        input: the untouched input against the truth; None where the input is the truth.
        output: the derained picture against the truth.
        flicker: None for a photo, a video's first frame and where nothing is seen twice.
    """

    name: str
    input: Scores | None
    output: Scores
    flicker: Flicker | None = None

    @property
    def gain_db(self) -> float | None:
        """What deraining is worth on Y; None where the input is the truth and nothing can be gained."""
        return self.output.psnr_y - self.input.psnr_y if self.input else None

    @property
    def merit(self) -> float:
        """What rows are ranked by, low is bad: the gain, or the output's own PSNR where there is none to be had."""
        gain = self.gain_db
        return self.output.psnr_y if gain is None else gain

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, the gain among them."""
        return asdict(self) | {"gain_db": self.gain_db}


@dataclass(frozen=True, slots=True)
class Sample:
    """A row with its pictures, each (3, H, W) uint8 RGB."""

    row: Row
    input: np.ndarray
    output: np.ndarray
    clean: np.ndarray


def evaluate_photos(derainer: FrameDerainer, pairs: Iterable[tuple[Path | None, Path]]) -> Iterator[Sample]:
    """Derain each picture as a stream of one frame and measure it.

    Args:
        derainer: reset before each picture.
        pairs: (rainy, clean); rainy None derains the clean picture, which must not change.

    Raises:
        DerainError: a file that is no picture, or two sizes in a pair.
    """
    for rainy_path, clean_path in pairs:
        clean = photos.read(clean_path)
        rainy = clean if rainy_path is None else photos.read(rainy_path)
        derainer.reset()
        name = (rainy_path or clean_path).name
        yield _sample(name, rainy, derainer(rainy), clean)


def evaluate_video(derainer: FrameDerainer, rainy: Path | None, clean: Path, *, live: bool = False) -> Iterator[Sample]:
    """Derain a video and measure each frame, with the flicker since the one before.

    Args:
        derainer: reset before the first frame.
        rainy: a file or a folder of frames; None derains the clean video, which must not change.
        clean: the same without rain.
        live: withhold the following frame, as a camera does.

    Raises:
        DerainError: other sizes on the two sides; or, after the last sample there is, other lengths or an input
            that is damaged or short (exit code 3).
    """
    derainer.reset()
    past: Sample | None = None
    for number, (frame, following, truth) in enumerate(_with_following(_frame_pairs(rainy, clean))):
        output = derainer(frame, None if live else following)
        sample = _sample(f"frame {number}", frame, output, truth)
        if past is not None and past.clean.shape == sample.clean.shape:  # a stream may change its size
            sample = _with_flicker(sample, past)
        yield sample
        past = sample


def mean_row(rows: list[Row]) -> Row:
    """The mean of each figure over the rows that have it.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("no rows to take the mean of")
    output = _mean([row.output for row in rows])
    assert output is not None
    return Row(
        "mean",
        _mean([row.input for row in rows if row.input]),
        output,
        _mean([row.flicker for row in rows if row.flicker]),
    )


def _frame_pairs(rainy: Path | None, clean: Path) -> Iterator[tuple[Frame, Frame]]:
    """Both videos side by side; the clean one twice where there is no rainy one."""
    truth = open_video(clean)
    try:
        if rainy is None:
            yield from ((frame, frame) for frame in truth)
            _refuse_damage({clean: truth})
            return
        source = open_video(rainy)
        try:
            yield from _of_one_length(source, truth, rainy, clean)
            _refuse_damage({rainy: source, clean: truth})
        finally:
            source.close()
    finally:
        truth.close()


def _refuse_damage(sources: dict[Path, VideoSource]) -> None:
    """Concealed frames are no truth, and a frame that fell out on both sides is in no figure."""
    for path, source in sources.items():
        if faults := damage(source):
            line = f"{path} is damaged or short: {', '.join(faults)}; the figures are of what could be read"
            raise DerainError(line, exit_code=3)


def _of_one_length(
    left: Iterable[Frame], right: Iterable[Frame], rainy: Path, clean: Path
) -> Iterator[tuple[Frame, Frame]]:
    for number, (frame, truth) in enumerate(zip_longest(left, right)):
        if frame is None or truth is None:
            short, long = (rainy, clean) if frame is None else (clean, rainy)
            line = f"{short} ends after {number} frames and {long} goes on; give two of one length."
            raise DerainError(line, exit_code=3)
        yield frame, truth


def _with_following(pairs: Iterable[tuple[Frame, Frame]]) -> Iterator[tuple[Frame, Frame | None, Frame]]:
    """(rainy, the rainy frame after it or None, clean); an error of the pairs comes after the last one."""
    held: tuple[Frame, Frame] | None = None
    end: DerainError | None = None
    try:
        for pair in pairs:
            if held is not None:
                yield held[0], pair[0], held[1]
            held = pair
    except DerainError as error:
        end = error
    if held is not None:
        yield held[0], None, held[1]
    if end is not None:
        raise end


def _sample(name: str, rainy: Frame, output: Frame, clean: Frame) -> Sample:
    if (rainy.width, rainy.height) != (clean.width, clean.height):
        raise DerainError(
            f"{name} is {rainy.width}x{rainy.height} and its clean side {clean.width}x{clean.height}; "
            "give both in one size."
        )
    if min(clean.width, clean.height) < metrics.WINDOW:
        raise DerainError(
            f"{name} is {clean.width}x{clean.height}; SSIM needs at least {metrics.WINDOW} pixels on each side."
        )
    before, after, truth = (to_rgb(frame.planes, frame.format) for frame in (rainy, output, clean))
    grey = clean.format.family == "grey"
    untouched = None if rainy is clean else _scores(before, truth, grey=grey)
    return Sample(Row(name, untouched, _scores(after, truth, grey=grey)), before, after, truth)


def _scores(picture: np.ndarray, truth: np.ndarray, *, grey: bool) -> Scores:
    """Grey pictures are measured on their own values: scaled to limited range they would gain 1.3 dB for nothing."""
    y, y_truth = (metrics.luma(rgb, full_range=grey) for rgb in (picture, truth))
    return Scores(
        psnr_y=min(metrics.psnr(y, y_truth), IDENTICAL_DB),
        ssim_y=metrics.ssim(y, y_truth),
        psnr_rgb=min(metrics.psnr(picture, truth), IDENTICAL_DB),
        ssim_rgb=metrics.ssim(picture, truth),
    )


def _with_flicker(sample: Sample, past: Sample) -> Sample:
    flow, seen = clean_motion(past.clean, sample.clean)
    if not seen.any():
        return sample
    pictures = ((past.input, sample.input), (past.output, sample.output), (past.clean, sample.clean))
    figures = (metrics.warped_error(metrics.luma(before), metrics.luma(now), flow, seen) for before, now in pictures)
    return replace(sample, row=replace(sample.row, flicker=Flicker(*figures)))


def clean_motion(previous: np.ndarray, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dense motion of the clean side (Kroeger et al., ECCV 2016: DIS) and where it can be trusted.

    Args:
        previous: (3, H, W) uint8 RGB.
        current: the same.

    Returns:
        flow (H, W, 2) float32 from the current frame to the previous, x, y in pixels; seen (H, W) bool.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before, now = (np.round(metrics.luma(rgb, full_range=True)).astype(np.uint8) for rgb in (previous, current))
    flow = dis.calc(now, before, np.zeros((*now.shape, 2), np.float32))
    returning = dis.calc(before, now, np.zeros((*now.shape, 2), np.float32))
    return flow, metrics.visible(flow, returning)


def _mean(figures: list[Figures]) -> Figures | None:
    """Field by field; None of an empty list."""
    if not figures:
        return None
    kind = type(figures[0])
    return kind(*(fmean(getattr(each, field.name) for each in figures) for field in fields(kind)))
