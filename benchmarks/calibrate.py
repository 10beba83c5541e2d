"""Measure the ranges that a stream model's int8 version needs, and write them into its file.

    python benchmarks/calibrate.py MODEL.safetensors --clean CLIPS

CLIPS is the folder of clean clips that a training gathered (OUT/clips/clean); the samples are those of its score.
Trainings do this by themselves; weights from before do not have it.
"""
from __future__ import annotations

from pathlib import Path

import click
from torch.nn import functional

from streamderain.core.checkpoint import load_generator, save_generator
from streamderain.core.int8 import calibrate
from streamderain.core.stream import StreamGenerator
from streamderain.trainers.clips import read_clips
from streamderain.trainers.pictures import apart
from streamderain.trainers.rendered import RenderedConfig, RenderedRain
from streamderain.trainers.stream import VALIDATION_SAMPLES
from streamderain.trainers.validation import SEED


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--clean", type=click.Path(path_type=Path), required=True)
def main(model: Path, clean: Path) -> None:
    """Write the ranges into MODEL."""
    network, metadata = load_generator(model)
    if not isinstance(network, StreamGenerator):
        raise click.ClickException(f"{model} is no stream model; only those run in int8.")
    samples = RenderedRain(apart(read_clips(clean))[1], RenderedConfig(), seed=SEED)
    seen = (samples[number]["input"][None] for number in range(VALIDATION_SAMPLES))
    network.ranges = calibrate(network, (functional.pixel_unshuffle(each, 2) for each in seen))
    save_generator(model, network, profile=metadata["profile"], card=metadata["card"])
    for name, (low, high) in network.ranges.items():
        click.echo(f"{name:22} {low:8.2f} {high:8.2f}")


if __name__ == "__main__":
    main()
