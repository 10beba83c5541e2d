"""The facts about this machine that a diagnosis stands on; every function asks one thing and may fail on its own.

Heavy libraries are imported inside, because one of them may be what is broken.
"""
from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from streamderain import diagnosis
from streamderain._version import __version__
from streamderain.diagnosis import Camera, Finding, Gpu, WeightFile
from streamderain.report import installed

ENCODERS = ("libx264", "libx265", "libsvtav1", "ffv1", "h264_nvenc", "hevc_nvenc")
DECODERS = {"h264": "h264", "hevc": "hevc", "vp9": "vp9", "av1": "libdav1d"}  # FFmpeg's own av1 is for hardware only
HARDWARE_DECODERS = ("h264", "hevc")
CAMERA_INDICES = range(4)
COMPILERS = {"win32": "cl", "darwin": "clang++"}  # that torch.compile asks for without CXX; g++ elsewhere
UNUSABLE = (ImportError, OSError, RuntimeError, ValueError, AttributeError)  # what a broken installation raises


def examine() -> Iterator[Finding]:
    """Ask everything, in the order it is told; a part that cannot be asked is a finding too."""
    areas = (("versions", _versions), ("cpu", _processor), ("devices", _gpus), ("backends", _backends),
             ("encoders", _encoders), ("decoders", _decoders), ("cameras", _cameras), ("weights", _weights),
             ("kernels", _kernels))
    for area, ask in areas:
        try:
            with _quiet():
                findings = ask()
        except UNUSABLE as error:
            findings = [diagnosis.unusable(area, " ".join(str(error).split()) or type(error).__name__)]
        yield from findings


def _versions() -> list[Finding]:
    found: dict[str, str | None] = {"python": platform.python_version(), "streamderain": __version__}
    for name, module in (("torch", "torch"), ("numba", "streamderain.core.kernels"), ("opencv-python", "cv2"),
                         ("av", "streamderain.video")):
        found[name] = (installed(name) or "?") if _loads(module) else None  # "?": a system's own, such as OpenCV
    if found["av"]:
        from streamderain.video import ffmpeg_version

        found["av"] += f", FFmpeg {ffmpeg_version()}"
    return diagnosis.versions(found)


def _loads(module: str) -> bool:
    try:
        import_module(module)
    except UNUSABLE:
        return False
    return True


def _processor() -> list[Finding]:
    import torch

    from streamderain.bench.machine import machine
    from streamderain.core.int8 import cpu_has_int8
    from streamderain.engine import cpu_has_bf16

    about, vectors = machine(), torch.backends.cpu.get_cpu_capability()
    native = {"int8": cpu_has_int8(), "bf16": cpu_has_bf16()}
    return diagnosis.processor(about["processor"], about["cores"], vectors=vectors, **native)


def _gpus() -> list[Finding]:
    import torch

    devices = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(index)
            devices.append(Gpu(about.name, about.total_memory))
    return diagnosis.gpus(devices, driver=_driver(), torch_cuda=torch.version.cuda)


def _driver() -> str | None:
    """Version of the NVIDIA driver, as its own tool says it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    question = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.split("\n")[0].strip() or None


def _backends() -> list[Finding]:
    import torch

    cuda = torch.cuda.is_available()  # asked first: without CUDA even looking into torch_tensorrt makes it fail
    compiler = shutil.which(os.environ.get("CXX", COMPILERS.get(sys.platform, "g++")))
    tensorrt = installed("torch-tensorrt") if cuda and find_spec("torch_tensorrt") else None
    return diagnosis.backends(compiler=compiler, cuda=cuda, tensorrt=tensorrt)


def _encoders() -> list[Finding]:
    from streamderain.encoders import probe_encoder

    return diagnosis.encoders({name: probe_encoder(name) for name in ENCODERS})


def _decoders() -> list[Finding]:
    from streamderain import nvdec
    from streamderain.video import probe_decoder

    index = nvdec.cuda_index("auto")
    return [
        *diagnosis.decoders({codec: probe_decoder(name) for codec, name in DECODERS.items()}),
        *diagnosis.hardware_decoders({codec: nvdec.probe(codec, index) for codec in HARDWARE_DECODERS}),
    ]


def _cameras() -> list[Finding]:
    return diagnosis.cameras(v4l2_cameras() if sys.platform == "linux" else opencv_cameras())


def v4l2_cameras(devices: Path = Path("/dev"), names: Path = Path("/sys/class/video4linux")) -> list[Camera]:
    """Cameras by their device nodes; of a camera with several nodes the first, which is the one with pictures.

    Args:
        devices: where the nodes are.
        names: where the kernel says what they are called and which node of their device they are.
    """
    found = []
    for node in sorted(devices.glob("video[0-9]*"), key=lambda node: int(node.name[5:])):
        if _first_line(names / node.name / "index") in (None, "0"):
            name = _first_line(names / node.name / "name") or "unnamed"
            found.append(Camera(str(node), name, os.access(node, os.R_OK | os.W_OK)))
    return found


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").split("\n")[0].strip()
    except OSError:
        return None


def opencv_cameras(indices: Iterable[int] = CAMERA_INDICES) -> list[Camera]:
    """Cameras by their numbers, found by opening each."""
    import cv2

    found = []
    for index in indices:
        capture = cv2.VideoCapture(index)
        if capture.isOpened():
            found.append(Camera(str(index), capture.getBackendName(), True))
        capture.release()
    return found


def _weights() -> list[Finding]:
    from streamderain.core.stream import PROFILES
    from streamderain.weights import FOLDER

    return diagnosis.weights(weight_file(profile, FOLDER / f"{profile}.safetensors") for profile in PROFILES)


def weight_file(profile: str, path: Path) -> WeightFile:
    """Load one weight file as far as a run would."""
    from streamderain.core.checkpoint import CheckpointError, digest, load_generator

    if not path.is_file():
        return WeightFile(profile, None)
    size = path.stat().st_size
    try:
        _, metadata = load_generator(path)
    except CheckpointError as error:
        return WeightFile(profile, size, problem=str(error))
    problem = None if metadata["profile"] == profile else f"{path} holds the profile {metadata['profile']}"
    return WeightFile(profile, size, digest(path), problem)


def _kernels() -> list[Finding]:
    from streamderain.core import kernels, matching, threads

    matching.make_guide(np.zeros((16, 16), np.uint8))
    if not hasattr(kernels.erode_and_blur, "stats"):
        return diagnosis.uncompiled_kernels()
    cache = str(kernels.erode_and_blur.stats.cache_path)
    threads.started()  # before which the layer is not known
    layer = sys.modules["numba"].threading_layer()  # kernels.py is numba's door, and has opened it
    return diagnosis.kernels(cache=cache, writable=_writable(Path(cache)), layer=layer)


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the nearest one above it that is there already."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(nearest, os.W_OK)


@contextmanager
def _quiet() -> Iterator[None]:
    """Send what libraries in C write to the terminal to nowhere meanwhile."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
