"""Trainings small enough for tests: clips in memory, tiny networks of every method, and one that kills itself."""
from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from streamderain.core import stream as networks
from streamderain.core.checkpoint import load_tensors, save_generator
from streamderain.core.stream import StreamConfig, StreamGenerator
from streamderain.trainers import method_class, state, stream, validation
from streamderain.trainers.clips import Clip
from streamderain.trainers.config import configured
from streamderain.trainers.frozen import EncoderFiles
from streamderain.trainers.loop import BEST, LAST, train

ROOT = Path(__file__).resolve().parent.parent
SMALL = StreamConfig(widths=(4, 4, 4), blocks=(0, 0, 0, 0, 0))
LOOP = {"train.steps": 6, "train.batch_size": 2, "train.checkpoint_every": 3, "data.crop_size": 32}
_NLCL = LOOP | {
    "network.channels": 4, "network.num_blocks": 1, "network.ndf": 4, "contrast.dim": 8, "features.gen_layers": (0, 1),
    "sampler.patch_size": 4, "sampler.search_size": 8, "sampler.num_pos": 4, "sampler.num_neg": 8,
    "sampler.num_locations": 8, "sampler.num_loc_neg": 4,
}  # fmt: skip
TINY: dict[str, dict[str, Any]] = {
    "nlcl": _NLCL,
    "nlcl_asym": _NLCL,
    "rdmc": LOOP | {
        "network.stages": 2, "network.widths": (2, 2, 4, 4, 4), "network.dilations": (1, 2), "data.grid_stride": 16,
    },
    "cclgan": LOOP | {
        "network.ngf": 4, "network.num_blocks": 1, "network.ndf": 4, "contrast.dim": 8, "data.load_size": 36,
        "sampler.num_locations": 16, "sampler.num_inter": 8,
    },
    "stream": LOOP | {
        "network.profile": "tiny", "data.search_radius": 5, "loss.squared_steps": 4, "train.warmup": 2,
        "train.bf16": False,
    },
}  # fmt: skip


@contextmanager
def small() -> Iterator[None]:
    """One thread, because networks this small only wait for each other's; a tiny profile; three samples to score."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.PROFILES, "tiny", SMALL)
        patch.setattr(stream, "VALIDATION_SAMPLES", 3)
        patch.setattr(validation, "SAMPLES", 3)
        yield
    torch.set_num_threads(before)


def clips(count: int = 12, seed: int = 0) -> list[Clip]:
    """Photos of 48x56 pixels, and a video in the place of every fourth."""
    rng = np.random.default_rng(seed)
    out = []
    for n in range(count):
        coarse = rng.integers(0, 200, (1 if n % 4 else 6, 6, 7, 3), dtype=np.uint8)
        out.append(Clip(f"clip {n}", coarse.repeat(8, axis=1).repeat(8, axis=2)))
    return out


def pairs(count: int = 12) -> list[Clip]:
    """Clips of two frames, the rainy one first: brighter by 20."""
    found = []
    for clip in clips(count):
        found.append(Clip(clip.name, np.stack([clip.frames[0] + 20, clip.frames[0]]).astype(np.uint8)))
    return found


def stand_in(folder: Path) -> Path:
    """Weights of a stream generator, for the encoders of the ratio losses."""
    path = folder / "stand-in.safetensors"
    if not path.exists():
        with torch.random.fork_rng():
            torch.manual_seed(3)
            save_generator(path, StreamGenerator(SMALL), profile="tiny", card={})
    return path


def a_method(name: str, folder: Path, **changes: Any) -> Any:
    """A method with its tiny settings; other settings by their dotted keys."""
    kind = method_class(name)
    config = configured(kind.config_type, TINY[name], changes)
    pairing = getattr(config.data, "pairing", "rendered")
    rainy = pairs() if pairing == "paired" else clips(seed=7)
    extra = {"encoders": EncoderFiles(stream=stand_in(folder))} if hasattr(kind, "notes") else {}
    return kind(config, rainy, clips(), **extra)


def a_batch(method: Any, size: int = 2, first: int = 0) -> dict[str, torch.Tensor]:
    """The first samples of a method, as the loop would give them."""
    samples = [method.samples[n] for n in range(first, first + size)]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def run(method: Any, out: Path, **options: Any) -> float:
    """Train a method on its own samples."""
    return train(method, method.samples, method.config.train, out, **options)


def scrambled(method: Any) -> Any:
    """The same method with other weights, so that only a state can bring the right ones back."""
    for parameter in method.networks.parameters():
        nn.init.normal_(parameter, std=0.1)
    return method


def newest(out: Path) -> Path:
    """The newest state of a run."""
    return state.found(out)[0]


def assert_same_run(one: Path, other: Path) -> None:
    """Both ended with the same state and the same weights, bit for bit."""
    assert newest(one).name == newest(other).name
    for name in (newest(one).relative_to(one), LAST, BEST):
        (tensors, metadata), (expected, expected_metadata) = load_tensors(one / name), load_tensors(other / name)
        assert metadata == expected_metadata
        assert tensors.keys() == expected.keys()
        for key, value in tensors.items():
            assert torch.equal(value, expected[key]), (name, key)


def python_path() -> dict[str, str]:
    """The environment in which another process finds the package and these helpers."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def in_process(name: str, folder: Path, out: Path, *, die_at: int = -1, **changes: Any) -> None:
    """What a training process does; with die_at it kills itself right after that step."""
    def on_step(progress: Any) -> None:
        if progress.step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with small():
        run(a_method(name, folder, **changes), out, on_step=on_step)


def script(*arguments: Any, **options: Any) -> list[str]:
    """The command that calls in_process with these arguments in a process of its own."""
    def text(value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    given, named = [text(each) for each in arguments], {key: text(value) for key, value in options.items()}
    code = "from pathlib import Path; import training; name, folder, out = given; "
    code += "training.in_process(name, Path(folder), Path(out), **named)"
    return [sys.executable, "-c", f"given, named = {given!r}, {named!r}; {code}"]




def settings(name: str, **changes: Any) -> list[str]:
    """The tiny settings of a method as options of the command line."""
    found = []
    for key, value in (TINY[name] | changes).items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        found += ["--set", f"{key}={text}"]
    return found


def folder_of_pictures(folder: Path, count: int = 3, seed: int = 0) -> Path:
    """A folder of pictures that show different scenes."""
    folder.mkdir(parents=True)
    for n, clip in enumerate(clips(count, seed)):
        Image.fromarray(clip.frames[0]).save(folder / f"{n}.png")
    return folder
