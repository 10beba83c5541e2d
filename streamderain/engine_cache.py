"""Where what was built for the network is kept between runs, under keys that hold all that changes it."""
from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamderain._version import __version__
from streamderain.core.checkpoint import CheckpointError, Generator, load_tensors, save_tensors
from streamderain.errors import DerainError

VARIABLE = "STREAMDERAIN_CACHE"
FORMAT = 1  # of the files here; another number makes all of them strangers

Key = dict[str, Any]


class BrokenEngine(Exception):
    """A file of ours that cannot be used; why, in a few words."""


def default_folder() -> Path:
    """$STREAMDERAIN_CACHE, else `streamderain` in the folder that this platform keeps caches in.

    Raises:
        DerainError: the user has no home to look in.
    """
    if given := os.environ.get(VARIABLE):
        return Path(given)
    try:
        return _of_this_platform()
    except RuntimeError:  # of Path.home
        advice = f"set {VARIABLE} or give --cache-dir"
        raise DerainError(f"there is no home folder for compiled networks; {advice}") from None


def _of_this_platform() -> Path:
    """See default_folder."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "streamderain"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "streamderain"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamderain"


def weights_digest(model: Generator) -> str:
    """SHA-256 over a network's family, config and every tensor of its state, hexadecimal."""
    found = hashlib.sha256(json.dumps([model.family, model.config_dict()], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(_bytes(tensor))
    return found.hexdigest()


def machine_key(device: str) -> Key:
    """What of the machine and its libraries changes a compiled network: the GPU, and the versions."""
    gpu = None
    if device.startswith("cuda"):
        gpu = [torch.cuda.get_device_name(device), list(torch.cuda.get_device_capability(device))]
    return {"gpu": gpu, "torch": torch.__version__, "cuda": torch.version.cuda, "streamderain": __version__}


class EngineFiles:
    """Serialised engines in a folder, each a safetensors file that carries its whole key: no pickle.

    Args:
        folder: made when the first engine is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: Key) -> Path:
        """The file that this key's engine is kept in."""
        digest = hashlib.sha256(json.dumps(_whole(key), sort_keys=True).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.safetensors"

    def load(self, key: Key) -> bytes | None:
        """The engine of this key, None where there is no file.

        Raises:
            BrokenEngine: the file is damaged, or was not made for this key.
        """
        path = self.path(key)
        if not path.exists():
            return None
        try:
            tensors, metadata = load_tensors(path)
        except CheckpointError:
            raise BrokenEngine("it is damaged") from None
        engine = tensors.get("engine")
        if metadata.get("key") != _whole(key) or engine is None:
            raise BrokenEngine("it was made for something else")
        content = bytes(_bytes(engine))
        if metadata.get("sha256") != hashlib.sha256(content).hexdigest():
            raise BrokenEngine("it is damaged")
        return content

    def save(self, key: Key, engine: bytes) -> None:
        """Keep an engine; a kill at any moment leaves the old file or the new one.

        Raises:
            OSError: the disk refuses.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what lies here is run: nobody else's business
        metadata = {"key": _whole(key), "sha256": hashlib.sha256(engine).hexdigest()}
        save_tensors(self.path(key), {"engine": torch.frombuffer(bytearray(engine), dtype=torch.uint8)}, metadata)

    def delete(self, key: Key) -> None:
        """Forget the engine of this key, if there is one."""
        self.path(key).unlink(missing_ok=True)


def _whole(key: Key) -> Key:
    """The key as JSON gives it back, so that a written and a fresh one are equal."""
    whole: Key = json.loads(json.dumps({"format": FORMAT, **key}))
    return whole


def _bytes(tensor: Tensor) -> memoryview:
    """A tensor's values as they lie in memory, whatever its dtype and strides."""
    return tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data
