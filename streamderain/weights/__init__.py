"""The weight files that ship with the package; the model card beside them says how they were made."""
from __future__ import annotations

from pathlib import Path

import torch

from streamderain.core.stream import PROFILES
from streamderain.errors import DerainError

FOLDER = Path(__file__).resolve().parent


def present() -> tuple[str, ...]:
    """The profiles whose weights are here, from the smallest network to the largest."""
    return tuple(name for name in PROFILES if (FOLDER / f"{name}.safetensors").is_file())


def find(profile: str, device: str = "auto") -> Path:
    """The weight file of a profile.

    Args:
        profile: a profile's name, or "auto": realtime where a GPU does the work, tiny on a CPU.
        device: where it will run; "auto" means a GPU if there is one.

    Raises:
        DerainError: no such profile, or its weights do not exist yet.
    """
    if profile == "auto":
        on_gpu = str(device).startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        profile = "realtime" if on_gpu else "tiny"
    if profile not in PROFILES:
        raise DerainError(f"profile {profile!r} is unknown; give {', '.join(PROFILES)} or auto")
    there = present()
    if profile not in there:
        instead = f"--profile {there[-1]}, or --model FILE" if there else "--model FILE"
        raise DerainError(f"the weights of profile {profile} do not exist yet; use {instead}")
    return FOLDER / f"{profile}.safetensors"
