"""Files opened with care: only formats that are pictures or video, no further files or hosts, no huge frames."""
from __future__ import annotations

from typing import Any

import av
from av.error import FFmpegError

from streamderain.containers import ALPHA_TAG
from streamderain.errors import DerainError

_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def open_input(file: Any, name: str, formats: str, max_pixels: int) -> Any:
    """A container of one of FFmpeg's `formats`, opened for reading; `name` is what messages call it.

    Raises:
        DerainError: it is not there, or is none of these.
    """
    try:
        return av.open(
            file, container_options=guard(formats), options={"max_pixels": str(max_pixels)}, metadata_errors="ignore"
        )
    except IsADirectoryError:
        raise DerainError(f"{name} is a folder; give a file") from None
    except (FFmpegError, OSError) as error:
        reason = str(error.strerror or error).lower()
        raise DerainError(f"{name} does not open as video ({reason}); give a file that plays as video") from None


def guard(formats: str) -> dict[str, str]:
    """Options by which a container opens nothing but itself: a playlist must not read our disk or the network."""
    return {"format_whitelist": formats, "protocol_whitelist": "file,pipe"}


def refuse_large(name: str, width: int, height: int, max_pixels: int) -> None:
    """Raises DerainError where a frame would have more pixels than allowed."""
    if width * height > max_pixels:
        raise DerainError(f"{name} has frames of {width}x{height}, too large; raise --max-pixels if you trust it")


def decoder_of(stream: Any) -> Any:
    """The decoder of a video stream, None where there is none.

    FFmpeg's own decoders of VP8 and VP9 leave the opacity out; where a stream says that it has one, libvpx reads it.
    """
    context = stream.codec_context
    if context is None or context.name not in _WITH_ALPHA or not _has_alpha_beside(stream.metadata):
        return context
    decoder: Any = av.CodecContext.create(_WITH_ALPHA[context.name], "r")
    decoder.width, decoder.height, decoder.extradata = context.width, context.height, context.extradata
    return decoder


def _has_alpha_beside(tags: dict[str, str]) -> bool:
    """Whether a video stream's tags say that its opacity is coded beside the pictures, as VP8 and VP9 do."""
    return any(key.lower() == ALPHA_TAG and value.strip() == "1" for key, value in tags.items())


class NamelessReader:
    """Only read(): so that FFmpeg neither seeks in a pipe nor takes its name for a hint."""

    def __init__(self, file: Any) -> None:
        self.read = file.read
