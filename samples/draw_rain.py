"""Draw samples/rain.mp4: five seconds of a street at dusk, first dry, then with rain of several depths laid over it.

    python samples/draw_rain.py [--clean clean.mp4]

The same seed gives the same pictures. Sound is noise with the spectrum of rain.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import street
from brush import HEIGHT, SCALE, WIDTH

from streamderain.core import rain
from streamderain.core.rain import RainStyle

FRAMES, RATE, SOUND_RATE = 125, 25, 48_000
SEED = 25
TITLE = "A rainy street, drawn by streamderain"


def main() -> None:
    """Write the rainy clip, and the clean one where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("rain.mp4"), help="the clip with rain")
    parser.add_argument("--clean", type=Path, help="also write the same clip without rain, losslessly")
    arguments = parser.parse_args()
    dry = list(dry_frames())
    write_clip(arguments.out, rainy_frames(dry), {"crf": "20", "preset": "veryslow", "threads": "1"})
    if arguments.clean:
        write_clip(arguments.clean, dry, {"qp": "0", "threads": "1"})


def dry_frames() -> Iterator[np.ndarray]:
    """The street without rain, frame by frame, (HEIGHT, WIDTH, 3) uint8 RGB."""
    rng = np.random.default_rng(SEED)
    behind = [street.sky(rng), street.skyline(rng), street.houses(rng)]
    ground, lamps, trees, fence = street.Ground(rng), street.lamps(rng), street.trees(rng), street.fence(rng)
    for number in range(FRAMES):
        camera = street.TRAVEL * number / (FRAMES - 1)
        canvas = np.zeros((HEIGHT * SCALE, WIDTH * SCALE, 3), np.float32)
        for layer in behind:
            layer.over(canvas, -camera * layer.depth_factor)
        ground.over(canvas, camera)
        textures = np.random.default_rng(SEED)  # the same in every frame
        street.walker(number * 0.42, textures).over(canvas, 150 + 0.55 * number)
        lamps.over(canvas, -camera * lamps.depth_factor)
        trees.over(canvas, -camera * trees.depth_factor, wind=np.sin(number / 11) + 0.3 * np.sin(number / 4))
        street.van(number * 14, textures).over(canvas, 250 + 3.1 * number)
        fence.over(canvas, -camera * fence.depth_factor)
        small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        yield np.rint(np.clip(small, 0, 1) * 255).astype(np.uint8)


def rainy_frames(dry: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same frames behind far, middle and near rain."""
    rng = np.random.default_rng(SEED)
    styles = [
        _style(density=18, length=9, width=0.45, brightness=0.16, fall=13, defocus=0.0),
        _style(density=3.2, length=24, width=0.65, brightness=0.29, fall=34, defocus=0.0),
        _style(density=0.34, length=58, width=1.05, brightness=0.33, fall=80, defocus=0.5),
    ]
    falling = [rain.render(style, frames=FRAMES, height=HEIGHT, width=WIDTH, rng=rng) for style in styles]
    for number, frame in enumerate(dry):
        wet = frame.transpose(2, 0, 1)[None].astype(np.float32) / 255
        for style, opacity in zip(styles, falling, strict=True):
            wet = rain.compose(wet, opacity[number : number + 1], style)
        yield np.rint(wet[0].transpose(1, 2, 0) * 255).astype(np.uint8)


def _style(
    *, density: float, length: float, width: float, brightness: float, fall: float, defocus: float
) -> RainStyle:
    """Rain of one distance in this street: a light wind from the left, drops that take the colour of the sky."""
    return RainStyle(
        density=density, length=length, width=width, slope=0.11, slope_spread=0.02, brightness=brightness,
        brightness_spread=0.45, depth_spread=0.3, fall=fall, defocus=defocus, blend="add",
        airlight=(0.92, 0.96, 1.0), veil=0.0,
    )


def write_clip(path: Path, frames: Iterable[np.ndarray], options: dict[str, str]) -> None:
    """H.264 with a title and the sound of rain."""
    with av.open(str(path), "w") as clip:
        clip.metadata["title"] = TITLE
        video = clip.add_stream("libx264", rate=RATE, options=options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.color_range, video.colorspace, video.color_primaries, video.color_trc = 1, 1, 1, 1
        sound = clip.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        sound.bit_rate = 64_000
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p", dst_colorspace=1)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            clip.mux(video.encode(frame))
        clip.mux(video.encode())
        heard = av.AudioFrame.from_ndarray(_sound(FRAMES * SOUND_RATE // RATE), "fltp", "stereo")
        heard.sample_rate, heard.pts, heard.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
        clip.mux(sound.encode(heard))
        clip.mux(sound.encode())


def _sound(samples: int) -> np.ndarray:
    """Rain on roofs: pink noise that swells a little, faded in and out, (2, samples) float32 -1..1."""
    rng = np.random.default_rng(SEED)
    spectrum = np.fft.rfft(rng.standard_normal((2, samples)))
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.shape[1]), samples / SOUND_RATE * 80))
    noise = np.fft.irfft(spectrum, samples)
    seconds = np.arange(samples) / SOUND_RATE
    swell = 0.8 + 0.2 * np.sin(2 * np.pi * seconds / 3.7)
    fade = np.clip(np.minimum(seconds, seconds[-1] - seconds) / 0.4, 0, 1)
    return (0.07 * noise / noise.std() * swell * fade).astype(np.float32)


if __name__ == "__main__":
    main()
