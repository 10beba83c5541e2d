"""The samples run, and the committed clip is what its script draws."""
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT / "samples" / "rain.mp4"


def test_clip_plays_with_sound_and_is_small():
    assert CLIP.stat().st_size < 2_000_000
    with av.open(str(CLIP)) as clip:
        assert len(clip.streams.audio) == 1
        assert clip.metadata["title"]
        assert sum(1 for _ in clip.decode(video=0)) == 125


def luma(picture):
    return picture.reformat(format="yuv420p", dst_colorspace="ITU709").to_ndarray()[: picture.height].astype(float)


@pytest.mark.slow
def test_clip_is_what_its_script_draws(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "samples")
    import draw_rain

    drawn = draw_rain.rainy_frames(islice(draw_rain.dry_frames(), 3))
    with av.open(str(CLIP)) as clip:
        for picture, pixels in zip(islice(clip.decode(video=0), 3), drawn, strict=True):
            error = luma(picture) - luma(av.VideoFrame.from_ndarray(pixels, "rgb24"))
            assert 10 * np.log10(255**2 / np.mean(error**2)) > 36  # what the encoder costs it; without rain it is 28


@pytest.mark.slow
def test_python_sample_runs(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    sample = [sys.executable, str(ROOT / "samples" / "python_api.py")]
    done = subprocess.run(sample, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("125 frames, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dry.mp4", "frame.png"]
