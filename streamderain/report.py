"""What a run did, as numbers that a program can read."""
from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from streamderain._version import __version__

_LIBRARIES = ("torch", "av", "numba")


@dataclass
class Report:
    """One input's way to one output; filled as the run goes, so that it is worth reading after a failure too.

    Attributes:
        input, output: as the user named them.
        complete: every frame that the input announced is in the verified output.
        error: the line that ended the run, None where nothing did.
        partial: where the finished part of an output that was not completed is kept.
        frames_in, frames_out, frames_corrupt: decoded, written, decoded with concealed damage.
        seconds: wall time from the first decode to the finished file, without loading the network.
        ms_per_stage: mean milliseconds per frame: "decode", "derain" and "encode" run at the same time, what the
            Derainer times itself is within "derain".
        backend, profile, device, precision: what the network ran as, None where it was not reached.
        decoder: "nvdec" where the frames were decoded on the GPU and stayed there to the last, else "cpu".
        encoder: FFmpeg's name of what the output was encoded with.
        warnings: what the user was told on the way.
    """

    input: str
    output: str
    complete: bool = False
    error: str | None = None
    partial: str | None = None
    frames_in: int = 0
    frames_out: int = 0
    frames_corrupt: int = 0
    seconds: float = 0.0
    ms_per_stage: dict[str, float] = field(default_factory=dict)
    backend: str | None = None
    profile: str | None = None
    device: str | None = None
    precision: str | None = None
    decoder: str | None = None
    encoder: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def fps(self) -> float:
        """Frames written per second of wall time, 0 where nothing was written."""
        return self.frames_out / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "input": self.input,
            "output": self.output,
            "complete": self.complete,
            "error": self.error,
            "partial": self.partial,
            "frames_in": self.frames_in,
            "frames_out": self.frames_out,
            "frames_corrupt": self.frames_corrupt,
            "seconds": round(self.seconds, 3),
            "fps": round(self.fps, 2),
            "ms_per_stage": {stage: round(ms, 3) for stage, ms in self.ms_per_stage.items()},
            "backend": self.backend,
            "profile": self.profile,
            "device": self.device,
            "precision": self.precision,
            "decoder": self.decoder,
            "encoder": self.encoder,
            "warnings": list(self.warnings),
            "versions": versions(),
        }


def versions() -> dict[str, str | None]:
    """Versions of streamderain and of the libraries that shape a result, without importing them."""
    return {"streamderain": __version__, **{name: installed(name) for name in _LIBRARIES}}


def installed(name: str) -> str | None:
    """The version of an installed distribution, None where there is none of that name."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
