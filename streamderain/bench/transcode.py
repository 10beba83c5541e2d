"""A plain copy of a video, decoded and encoded again: what FFmpeg needs for everything but deraining.

A door to PyAV. No other code of ours is on these paths: libraries of FFmpeg through PyAV, or the system's own program.
"""
from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from streamderain.errors import DerainError


def copy_through_pyav(
    clip: Path, output: Path, *, encoder: str, options: Mapping[str, str], frames: int | None = None
) -> int:
    """Decode and encode in one loop; the codecs' own threads work at the same time, as many as FFmpeg likes.

    Args:
        clip: a video.
        output: is replaced; the container goes by its suffix.
        encoder: FFmpeg's name.
        options: of the encoder.
        frames: end after so many; None is all of them.

    Returns:
        Frames written.

    Raises:
        DerainError: FFmpeg cannot copy this video as it is.
    """
    try:
        return _copied(clip, output, encoder, options, frames)
    except (FFmpegError, OSError) as error:
        reason = (error.strerror or str(error)).lower()
        raise DerainError(f"{clip} cannot be copied as it is ({reason}); measure on another --source") from None


def _copied(clip: Path, output: Path, encoder: str, options: Mapping[str, str], frames: int | None) -> int:
    """See copy_through_pyav."""
    count = 0
    with av.open(f"file:{clip.absolute()}") as source, av.open(f"file:{output.absolute()}", "w") as target:
        video: Any = source.streams.video[0]
        video.thread_type, video.thread_count = "AUTO", 0
        stream: Any = target.add_stream(encoder, rate=video.average_rate, options=dict(options))
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = video.width, video.height, video.format.name
        context.time_base, context.thread_count = video.time_base, 0
        for picture in islice(source.decode(video), frames):
            picture.pict_type = 0  # the old encoder's choice of key frames would bind the new one
            target.mux(stream.encode(picture))
            count += 1
        target.mux(stream.encode(None))
    return count


def system_ffmpeg() -> str | None:
    """The ffmpeg program of this machine; None where there is none."""
    return shutil.which("ffmpeg")


def ffmpeg_program_version(program: str) -> str:
    """What the program calls its version."""
    words = _run([program, "-version"]).split(maxsplit=3)
    return words[2] if len(words) > 2 else "unknown"


def copy_by_program(
    program: str, clip: Path, output: Path, *, encoder: str, options: Mapping[str, str], frames: int | None = None
) -> None:
    """The same by an ffmpeg program.

    Args:
        program: its path.
        clip, output, encoder, options, frames: as above.

    Raises:
        DerainError: it ended with an error.
    """
    own = [word for key, value in options.items() for word in (f"-{key}", value)]
    length = [] if frames is None else ["-frames:v", str(frames)]
    _run([
        program, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i", f"file:{clip.absolute()}",
        "-map", "0:v:0", "-an", *length, "-c:v", encoder, *own, f"file:{output.absolute()}",
    ])  # fmt: skip


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DerainError(f"{command[0]} did not copy the video ({reason}); take it off the PATH to measure without it")
    return done.stdout
