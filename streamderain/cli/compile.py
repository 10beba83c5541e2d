"""streamderain compile: what the first run would wait for, built ahead."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from streamderain.cli.bench import Size, SizeType
from streamderain.cli.common import PRECISIONS, PROFILES, PathType, cache_option, check_model_file
from streamderain.cli.text import one_line
from streamderain.errors import DerainError

if TYPE_CHECKING:
    from streamderain.engine import Engine

@click.command("compile")
@click.option("--profile", "profiles", type=click.Choice(PROFILES), multiple=True, default=("auto",),
              help="Which networks; may be given several times. auto follows the device.")
@click.option("--model", type=PathType(), metavar="FILE", help="Weights of your own instead.")
@click.option("--backend", type=click.Choice(["compile", "tensorrt"]),
              help="TensorRT where it can be used, else torch.compile, if not given.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", type=click.Choice([name for name in PRECISIONS if name != "int8"]), default="auto",
              show_default=True, help="As the run will have it; int8 is not compiled.")
@click.option("--size", "sizes", type=SizeType(), multiple=True, metavar="WxH",
              help="Run a frame of this size as well, so that all it needs is there; may be given several times.")
@cache_option
def command(
    profiles: tuple[str, ...], model: Path | None, backend: str | None, device: str, precision: str,
    sizes: tuple[Size, ...], cache_dir: Path | None,
) -> None:
    """Build the network for this machine ahead of its first use.

    Says what was built, where it is kept and how large it is. Exit code 1: it cannot be built here.
    """
    check_model_file(model)
    from streamderain import backends, weights
    from streamderain.engine import resolve_device

    device = resolve_device(device)
    if backend is None:
        found = backends.choose("auto", device).backend
        backend = "compile" if found == "eager" else found
    for path in [model] if model else dict.fromkeys(weights.find(profile, device) for profile in profiles):
        build = Build(device, backend, precision, cache_dir, lambda line: click.echo(one_line(line), err=True))
        _build(path, build, sizes)


class Build(NamedTuple):
    """How a network is built; the arguments of an Engine."""

    device: str
    backend: str
    precision: str
    cache_dir: Path | None
    tell: Callable[[str], None]


def _build(path: Path, build: Build, sizes: tuple[Size, ...]) -> None:
    """One network, and a line about it.

    Raises:
        DerainError: it came to another backend; why was told.
    """
    from streamderain.core.checkpoint import CheckpointError, load_generator
    from streamderain.engine import Engine

    try:
        generator, metadata = load_generator(path)
    except CheckpointError as error:
        raise DerainError(str(error)) from None
    engine = Engine(generator, **build._asdict())
    name, backend = metadata["profile"], build.backend
    if engine.backend != backend:
        raise DerainError(f"{name} was not built by {backend}, see above; it runs {engine.backend} here")
    for size in sizes:
        _run(engine, *size)
    for kept in engine.kept:
        held = f"{_bytes(kept) / 1e6:.1f} MB in {kept}"
        click.echo(f"{name}: {backend} on {build.device} in {engine.precision}; {held}")


def _run(engine: Engine, width: int, height: int) -> None:
    """One grey frame, which brings in whatever that size needs."""
    import torch

    from streamderain.core.companions import CHANNELS, MULTIPLE

    shape = (3, height, width)
    if engine.companions:
        rows, columns = (-(-side // MULTIPLE) * MULTIPLE // 2 for side in (height, width))
        shape = (4 * CHANNELS, rows, columns)
    engine.run(torch.full(shape, 0.5, dtype=engine.input_dtype), height, width)


def _bytes(kept: Path) -> int:
    """What a file takes, or all files in a folder."""
    files = kept.rglob("*") if kept.is_dir() else [kept]
    return sum(file.stat().st_size for file in files if file.is_file())
