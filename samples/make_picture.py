"""Make docs/before_after.png from the drawn sample: one frame, half before and half after, and the rain taken away.

    python samples/make_picture.py [--profile realtime] [--model FILE]
"""
from __future__ import annotations

import argparse
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from streamderain import Derainer, Frame
from streamderain.compare import rain, wipe
from streamderain.core.colour import to_rgb
from streamderain.video import open_video

HERE = Path(__file__).resolve().parent
FRAME = 58
GAP = 8  # white pixels between the two pictures


def main() -> None:
    """Derain the clip up to the frame, as a file is derained, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "before_after.png")
    parser.add_argument("--profile", default="realtime")
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    derainer = Derainer(profile=arguments.profile, model=arguments.model)
    source = open_video(HERE / "rain.mp4")
    for before, following in islice(pairwise(source), FRAME + 1):
        after = derainer(before, following)
    source.close()
    halves, removed = _pixels(wipe(before, after, 0.5)), _pixels(rain(before, after))
    gap = np.full((halves.shape[0], GAP, 3), 255, np.uint8)
    Image.fromarray(np.concatenate([halves, gap, removed], axis=1)).save(arguments.out, optimize=True)


def _pixels(frame: Frame) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return to_rgb(frame.planes, frame.format).transpose(1, 2, 0)


if __name__ == "__main__":
    main()
