"""What the facts about a machine mean for its user: pure functions from facts to findings, nothing is probed here."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "missing", "broken"]

REINSTALL = "install it again: python -m pip install --force-reinstall streamderain"
REINSTALL_AV = "take FFmpeg from PyPI's own wheel: python -m pip install --force-reinstall av"
DEFAULT_ENCODER = "libx264"
HARDWARE_ENCODERS = ("h264_nvenc", "hevc_nvenc")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis.

    Attributes:
        area: heading, such as "encoders".
        name: the thing.
        status: "missing" where only a possibility is absent, "broken" where something should work and does not.
        detail: what was found.
        advice: what to do; only for what is not ok.
        essential: without it no rain can be removed at all.

    Raises:
        ValueError: something is not ok and there is no advice.
    """

    area: str
    name: str
    status: Status
    detail: str
    advice: str = ""
    essential: bool = False

    def __post_init__(self) -> None:
        if (self.status == "ok") == bool(self.advice):
            raise ValueError(f"{self.name} is {self.status} and has the advice {self.advice!r}; only trouble has")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device: its name and its memory in bytes."""

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Camera:
    """A local camera: what opens it, what it calls itself, whether this user may open it."""

    source: str
    name: str
    permitted: bool


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A profile's weight file: its size and SHA-256, or why it cannot be used; size None where there is none."""

    profile: str
    size_bytes: int | None
    digest: str = ""
    problem: str | None = None


def unusable(area: str, reason: str) -> Finding:
    """What a part that everything needs could not even be asked."""
    return Finding(area, area, "broken", reason, REINSTALL, essential=True)


def versions(found: Mapping[str, str | None]) -> list[Finding]:
    """Each library's version, None where it is not installed or does not load."""
    return [
        Finding("versions", name, "ok", version) if version
        else Finding("versions", name, "broken", "does not load", REINSTALL, essential=True)
        for name, version in found.items()
    ]


def processor(name: str, cores: int, *, vectors: str, int8: bool, bf16: bool) -> list[Finding]:
    """The CPU: logical cores that may be used, its widest vectors, whether it multiplies bytes and bfloat16 itself."""
    floats = "bf16" if bf16 else "fp32"
    nothing = "nothing to do; --profile tiny is the fastest"
    return [
        Finding("cpu", "cores", "ok", f"{cores} x {name}, {vectors}"),
        Finding("cpu", "int8", "ok", "native: the network runs in int8 where its weights allow it") if int8
        else Finding("cpu", "int8", "missing", f"not native: the network runs in {floats}", nothing),
        Finding("cpu", "bf16", "ok", "native: what does not run in int8 runs in bf16") if bf16
        else Finding("cpu", "bf16", "missing", "not native: what does not run in int8 runs in fp32", nothing),
    ]  # fmt: skip


def gpus(devices: Iterable[Gpu], *, driver: str | None, torch_cuda: str | None) -> list[Finding]:
    """CUDA devices.

    Args:
        devices: what torch can use.
        driver: version of the NVIDIA driver, None without one.
        torch_cuda: the CUDA version that torch was built for, None for a CPU build.
    """
    found = [f"{gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB, driver {driver or 'unknown'}" for gpu in devices]
    if found:
        return [Finding("devices", f"cuda:{index}", "ok", detail) for index, detail in enumerate(found)]
    status: Status = "missing"
    if driver is None:
        detail, advice = "no NVIDIA driver found", "the CPU is used; if there is a GPU, install its driver"
    elif torch_cuda is None:
        detail = f"driver {driver}, but torch is a build for the CPU"
        advice = "install a CUDA build of torch (pytorch.org, Get started)"
    else:
        status, detail = "broken", f"driver {driver}, but torch for CUDA {torch_cuda} finds no device"
        advice = f"update the driver to one for CUDA {torch_cuda}, and look at CUDA_VISIBLE_DEVICES"
    return [Finding("devices", "cuda", status, detail, advice)]


def backends(*, compiler: str | None, cuda: bool, tensorrt: str | None) -> list[Finding]:
    """Ways to run the network: the C++ compiler's path, whether there is a CUDA device, torch-tensorrt's version."""
    found = [Finding("backends", "eager", "ok", "always there")]
    if compiler:
        found.append(Finding("backends", "compile", "ok", f"C++ compiler {compiler}"))
    else:
        advice = "install g++ (on Windows: Visual Studio's C++ tools), or name a compiler that is here in CXX"
        found.append(Finding("backends", "compile", "missing", "no C++ compiler", advice))
    if cuda and tensorrt:
        return [*found, Finding("backends", "tensorrt", "ok", f"torch-tensorrt {tensorrt}")]
    detail, advice = "needs a CUDA device", "nothing to do without one"
    if cuda:
        detail, advice = "not installed", "python -m pip install 'streamderain[tensorrt]'"
    return [*found, Finding("backends", "tensorrt", "missing", detail, advice)]


def encoders(results: Mapping[str, str | None]) -> list[Finding]:
    """Each encoder with the reason why one frame could not be encoded, None where it could."""
    return [_encoder(name, problem) for name, problem in results.items()]


def _encoder(name: str, problem: str | None) -> Finding:
    if problem is None:
        return Finding("encoders", name, "ok", "one frame encoded")
    if name == DEFAULT_ENCODER:
        return Finding("encoders", name, "broken", problem, REINSTALL_AV, essential=True)
    advice = f"use --encoder {DEFAULT_ENCODER}"
    if name in HARDWARE_ENCODERS:
        advice += "; NVENC needs an NVIDIA GPU that has it (data-centre Hopper has not) and a recent driver"
    return Finding("encoders", name, "missing", problem, advice)


def decoders(results: Mapping[str, str | None]) -> list[Finding]:
    """Each decoder with the reason why one frame could not be decoded, None where it could."""
    return [
        Finding("decoders", name, "ok", "one frame decoded") if problem is None
        else Finding("decoders", name, "missing", problem, REINSTALL_AV)
        for name, problem in results.items()
    ]


def hardware_decoders(results: Mapping[str, str | None]) -> list[Finding]:
    """Each codec with the reason why NVDEC does not decode a frame of it, None where it does."""
    advice = "the CPU decodes; NVDEC needs an NVIDIA GPU and, in a container, the driver's capability \"video\""
    return [
        Finding("decoders", f"{codec} nvdec", "ok", "decoded on the GPU, as the CPU does") if problem is None
        else Finding("decoders", f"{codec} nvdec", "missing", problem, advice)
        for codec, problem in results.items()
    ]


def cameras(found: Iterable[Camera]) -> list[Finding]:
    """Local cameras."""
    findings = [
        Finding("cameras", camera.source, "ok", camera.name) if camera.permitted
        else Finding("cameras", camera.source, "broken", f"{camera.name}: may not be opened",
                     "join the group video (sudo usermod -aG video $USER) and log in again")
        for camera in found
    ]
    none = Finding("cameras", "local", "missing", "none found", "plug one in; network cameras need none")
    return findings or [none]


def weights(files: Iterable[WeightFile]) -> list[Finding]:
    """The weight files of all profiles; at least one of them has to work."""
    files = list(files)
    usable = any(file.size_bytes is not None and file.problem is None for file in files)
    return [_weight_file(file, essential=not usable) for file in files]


def _weight_file(file: WeightFile, *, essential: bool) -> Finding:
    if file.size_bytes is None:
        return Finding("weights", file.profile, "broken" if essential else "missing", "no weight file",
                       REINSTALL if essential else "use another --profile, or --model FILE", essential=essential)
    if file.problem is not None:
        return Finding("weights", file.profile, "broken", file.problem, REINSTALL, essential=True)
    return Finding("weights", file.profile, "ok", f"{file.size_bytes / 1000:.0f} kB, sha256 {file.digest[:12]}")


def kernels(*, cache: str, writable: bool, layer: str) -> list[Finding]:
    """The search kernels: where their compiled code is kept, whether it can be written, how they run in parallel."""
    threads = Finding("kernels", "threads", "ok", f"threading layer {layer}")
    if writable:
        return [Finding("kernels", "cache", "ok", cache), threads]
    detail = f"{cache} cannot be written, so every start compiles"
    return [Finding("kernels", "cache", "missing", detail, "set NUMBA_CACHE_DIR to a folder of yours"), threads]


def uncompiled_kernels() -> list[Finding]:
    """The search kernels where Numba was told not to compile them."""
    detail = "switched off by NUMBA_DISABLE_JIT, hundreds of times slower"
    return [Finding("kernels", "compiled", "missing", detail, "unset NUMBA_DISABLE_JIT")]


def works(findings: Iterable[Finding]) -> bool:
    """Whether everything that is essential works."""
    return not any(finding.essential and finding.status != "ok" for finding in findings)
