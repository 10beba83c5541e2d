"""The networks of a live run: loaded once each, warmed up before the camera is opened."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streamderain import weights
from streamderain.core.colour import PixelFormat
from streamderain.derainer import Derainer
from streamderain.engine import resolve_device
from streamderain.frame import Frame
from streamderain.live.ladder import Rung, rungs_of

_WARM_UP = (96, 128)
_CAMERA_FORMAT = PixelFormat("yuv", 8, (1, 1))


class Networks:
    """Derainers by rung, all on one device. Used by one thread only, which may leave Derainer.finish to others.

    Args:
        device: see Derainer.
        model: a model file; it is then the only network.
        make: makes a Derainer; tests put their own in its place.
        options: further arguments of each Derainer, the same for all.

    Attributes:
        profiles: those that can be asked for, "auto" first.
        rungs: from dearest to cheapest.
        start: the profile that "auto" begins with: what the device is meant for.

    Raises:
        DerainError: no such device, or no weights.
    """

    def __init__(
        self, *, device: str = "auto", model: Path | None = None, make: Callable[..., Any] = Derainer,
        **options: Any,
    ) -> None:  # fmt: skip
        self._make, self._options = make, {"device": resolve_device(device), "model": model, **options}
        self._loaded: dict[str, Any] = {}
        known: tuple[str, ...]
        if model is not None:
            first = make(**self._options)
            if first.backend != "compile":  # before torch 2.13 only the thread that captured a CUDA graph replays it
                self._loaded[first.profile] = first
            self.start, known = first.profile, (first.profile,)
        else:
            self.start, known = weights.find("auto", device).stem, weights.present()
        self.profiles = ("auto", *known)
        self.rungs = rungs_of(known)

    def take(self, rung: Rung) -> Any:
        """The Derainer of a rung that derains, without a past."""
        assert rung.profile is not None
        if rung.profile not in self._loaded:
            self._loaded[rung.profile] = self._make(profile=rung.profile, **self._options)
        derainer = self._loaded[rung.profile]
        derainer.scale = rung.scale
        derainer.reset()
        return derainer

    def warm_up(self, rung: Rung) -> None:
        """Compile and load all that the first frames need, so that no camera waits for it."""
        derainer = self.take(rung)
        if derainer.backend != "eager":  # what is built takes a minute: better now than when the ladder is stepped down
            for other in self.rungs:
                if other.profile is not None:
                    self.take(other)
            derainer = self.take(rung)
        height, width = _WARM_UP
        noise = np.random.default_rng(0).integers(16, 235, (height, width), dtype=np.uint8)
        for shift in range(3):  # a first frame, one with a past, one with an older past
            chroma = np.full((height // 2, width // 2), 128, np.uint8)
            derainer(Frame((np.roll(noise, shift, 1), chroma, chroma.copy()), _CAMERA_FORMAT))
        derainer.reset()
