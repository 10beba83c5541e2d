"""What containers and encoders take, as tables; nothing here opens a file."""
from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from streamderain.core.colour import PixelFormat
from streamderain.errors import DerainError

# Formats that are one file and hold pictures or sound themselves. Lists of other files (concat, hls, dash, image2)
# and generators (lavfi) stay out: such a file would make us read its neighbours or the network.
READABLE_FORMATS = (
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,nut,gif,apng,avif,"
    "yuv4mpegpipe,ivf,obu,h264,hevc,vvc,m4v,mjpeg,mjpeg_2000,dv,rm,wtv,nsv,ty,pva,dirac,vc1,cavsvideo,webp,smjpeg,"
    "wav,w64,mp3,flac,aac,ac3,eac3,aiff,ape,opus,caf,wv,tta"
)
PICTURE_FORMATS = (
    "png_pipe,jpeg_pipe,jpegls_pipe,j2k_pipe,jpegxl_pipe,tiff_pipe,bmp_pipe,webp_pipe,ppm_pipe,pgm_pipe,pbm_pipe,"
    "pam_pipe,pgmyuv_pipe,pfm_pipe,dpx_pipe,exr_pipe,qoi_pipe,sgi_pipe,pcx_pipe,sunrast_pipe,psd_pipe,gif_pipe,hdr_pipe,"
    "mjpeg,webp,gif"
)
PICTURE_ENCODERS = {
    ".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".tif": "tiff", ".tiff": "tiff", ".bmp": "bmp",
    ".webp": "libwebp", ".ppm": "ppm", ".pgm": "pgm", ".qoi": "qoi",
}  # fmt: skip
PICTURE_SUFFIXES = frozenset(PICTURE_ENCODERS) | {".jp2", ".jxl", ".pbm", ".pam", ".tga", ".dpx", ".exr", ".sgi"}

# Formats whose header states a length; of the others FFmpeg reports what it found or guessed from the bit rate.
_STATES_LENGTH = {"matroska", "webm", "mov", "mp4", "avi", "flv", "asf", "mxf", "nut"}
# Formats without a clock: a frame's time is its number.
_CONSTANT_RATE = {"avi", "yuv4mpegpipe", "mxf", "gif"}

# Formats whose index comes last, and that nothing reads without it.
INDEX_LAST = {"mp4", "mov", "ipod", "3gp", "3g2"}

# Everything else becomes private data in MPEG-TS, which no player takes for sound or text.
_KNOWN_IN_MPEGTS = {
    "mp1", "mp2", "mp3", "aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "opus", "s302m",
    "dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle", "hdmv_text_subtitle", "arib_caption",
}  # fmt: skip

_CONVERTED_SOUND = {"webm": "libopus", "ogg": "libopus", "avi": "libmp3lame", "mpegts": "aac", "flv": "aac"}
_CONVERTED_TEXT = {"mp4": "mov_text", "mov": "mov_text", "ipod": "mov_text", "matroska": "subrip", "webm": "webvtt"}

# The quality each encoder starts from: no visible loss at normal distance, and the name of its knob.
_QUALITY = {
    "libx264": ("crf", 18), "libx264rgb": ("crf", 18), "libx265": ("crf", 20), "libsvtav1": ("crf", 22),
    "libaom-av1": ("crf", 20), "libvpx-vp9": ("crf", 20), "libvpx": ("crf", 8),
    "h264_nvenc": ("cq", 19), "hevc_nvenc": ("cq", 21), "av1_nvenc": ("cq", 24),
}  # fmt: skip
# The network wants the cores: at the same crf these take a fraction of the default's time and some more bytes.
_PRESET = {"libx264": "veryfast", "libx265": "veryfast"}
# Both take the names, or their numbers; x264 takes a larger crf for 51, and says what it thinks of a word on stderr.
_X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
_X26X_MOST_CRF = 51
_ALONGSIDE: dict[str, dict[str, str]] = {
    "libvpx": {"b": "20M"},  # its crf holds only below a bit rate
    "libvpx-vp9": {"b": "0"},
    "libaom-av1": {"b": "0"},
    "h264_nvenc": {"rc": "vbr", "b": "0"},
    "hevc_nvenc": {"rc": "vbr", "b": "0"},
    "av1_nvenc": {"rc": "vbr", "b": "0"},
    "libx265": {"x265-params": "log-level=error"},
    "ffv1": {"level": "3", "slicecrc": "1"},
}
ALPHA_TAG = "alpha_mode"  # what Matroska says of VP8 and VP9 whose opacity is coded beside the pictures
Y4M_FORMATS = (
    *(f"yuv{sampling}p{depth}" for sampling in (420, 422, 444) for depth in ("", "10le", "12le", "14le", "16le")),
    "gray", "gray10le", "gray12le", "gray16le", "yuv411p", "yuva444p",
)  # fmt: skip

# AVCOL_SPC, AVCOL_TRC and AVCOL_RANGE as FFmpeg numbers them (ITU-T H.273).
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_TRANSFERS = {16: "pq", 18: "hlg"}
RANGE_LIMITED, RANGE_FULL = 1, 2
_CODED_BT601, _CODED_BT709 = 6, 1
_SUBSAMPLING = {"444": (0, 0), "422": (1, 0), "420": (1, 1), "411": (2, 0), "410": (2, 2), "440": (0, 1)}
_PLANAR = re.compile(
    r"(?:(?P<yuv>yuv)(?P<a>a?)(?P<j>j?)(?P<s>\d{3})p|(?P<rgb>gbr)(?P<ra>a?)p|(?P<grey>gray|y(?P<ya>a)))(?P<d>\d*)(?:le)?"
)


def pixel_format(
    name: str, *, matrix: int = 2, color_range: int = 0, transfer: int = 2, height: int = 1080
) -> tuple[PixelFormat, bool] | None:
    """Read one of FFmpeg's names of planar formats, and its numbers for colour.

    Args:
        name: such as "yuv420p10le".
        matrix, color_range, transfer: as H.273 numbers them; 2 (0 for the range) where the stream does not say.
        height: rows; an unspecified matrix is BT.601 up to 576, BT.709 above.

    Returns:
        The format and whether an alpha plane follows the others; None where the name is not planar with 8 to 16 bits.
    """
    found = _PLANAR.fullmatch(name)
    depth = int(found["d"] or 8) if found else 0
    if not found or not 8 <= depth <= 16 or (found["yuv"] and found["s"] not in _SUBSAMPLING):
        return None
    family: Any = "yuv" if found["yuv"] else "rgb" if found["rgb"] else "grey"
    full = color_range != RANGE_LIMITED if family == "rgb" else color_range == RANGE_FULL or bool(found["j"])
    shape: Any = {
        "matrix": _MATRICES.get(matrix, "bt601" if height <= 576 else "bt709"),
        "transfer": _TRANSFERS.get(transfer, "sdr"),
    }
    format = PixelFormat(family, depth, _SUBSAMPLING[found["s"]] if found["yuv"] else (0, 0), full_range=full, **shape)
    return format, bool(found["a"] or found["ra"] or found["ya"])


def planar_name(format: PixelFormat, *, alpha: bool = False) -> str:
    """FFmpeg's name of the planar format that holds such a frame; grey with alpha is packed ("ya8", "ya16le").

    Raises:
        ValueError: FFmpeg has no such format (15 bits, or chroma reduced in an unknown way).
    """
    depth = "" if format.bit_depth == 8 else f"{format.bit_depth}le"
    if format.family == "grey":
        return f"gray{depth}" if not alpha else "ya8" if format.bit_depth == 8 else "ya16le"
    if format.family == "rgb":
        return f"gbr{'a' if alpha else ''}p{depth}"
    for digits, shifts in _SUBSAMPLING.items():
        if shifts == format.subsampling:
            return f"yuv{'a' if alpha else ''}{digits}p{depth}"
    raise ValueError(f"no pixel format has chroma reduced by {format.subsampling}; known are {sorted(_SUBSAMPLING)}")


def coded_matrix(matrix: int, height: int) -> int:
    """The H.273 number for coding as YUV; unspecified (2) and RGB (0) are BT.601 up to 576 rows, BT.709 above."""
    return matrix if matrix not in (0, 2) else _CODED_BT601 if height <= 576 else _CODED_BT709


def states_length(format_name: str) -> bool:
    """Whether such a container's header says how long the content is."""
    return not _STATES_LENGTH.isdisjoint(format_name.split(","))


def describes_sound(format_name: str) -> bool:
    """Whether such a container's header says how AAC is to be decoded; elsewhere each packet may say it."""
    return not {"mov", "mp4", "matroska"}.isdisjoint(format_name.split(","))


def writes_timecode(format_name: str) -> bool:
    """Whether FFmpeg makes such a container's timecode track from the tags."""
    return format_name in ("mov", "mp4")


def reads_back(format_name: str, stream: Any) -> bool:
    """Whether a stream copied into this container is known for what it is afterwards; MPEG-TS takes anything."""
    if format_name != "mpegts" or stream.type not in ("audio", "subtitle"):
        return True
    return stream.codec_context is not None and stream.codec_context.codec.canonical_name in _KNOWN_IN_MPEGTS


def constant_rate(format_name: str) -> bool:
    """Whether such a container numbers its frames instead of timing them."""
    return format_name in _CONSTANT_RATE


def coarse_unit(rate: Fraction) -> Fraction:
    """The finest tick below 16 bits in which a constant rate is exact; MPEG-4 part 2 knows no finer."""
    return Fraction(1, 65535 // rate.numerator * rate.numerator if rate.numerator < 65536 else 60000)


def keeps_aspect(format_name: str, codec: str) -> bool:
    """Whether the shape of pixels survives: Matroska leaves it to the codec, and these have no word for it."""
    return format_name not in ("matroska", "webm") or codec not in ("av1", "vp8", "vp9")


def keeps_rotation(format_name: str) -> bool:
    """Whether such a container says how a picture is to be turned."""
    return format_name in ("mp4", "mov", "ipod", "3gp", "3g2", "matroska", "webm")


def substitute(kind: str, format_name: str) -> str | None:
    """The encoder that turns sound ("audio") or text ("subtitle") into something the container takes."""
    if kind == "audio":
        return _CONVERTED_SOUND.get(format_name, "aac")
    return _CONVERTED_TEXT.get(format_name) if kind == "subtitle" else None


def encoder_options(encoder: str, crf: int | None, preset: str | None) -> dict[str, str]:
    """The options an encoder is opened with.

    Args:
        encoder: its name in FFmpeg.
        crf: the quality number of the encoder's own scale; None takes our default.
        preset: the encoder's own name for speed; None takes ours, or the encoder's where we have none.

    Raises:
        DerainError: x264 or x265 has no such quality or preset.
    """
    if encoder in ("libx264", "libx265"):
        if crf is not None and crf > _X26X_MOST_CRF:
            raise DerainError(f"{encoder} has no crf {crf}; give --crf from 0 to {_X26X_MOST_CRF}")
        if preset and preset not in (*_X26X_PRESETS, *map(str, range(len(_X26X_PRESETS)))):
            raise DerainError(f"{encoder} has no preset {preset!r}; give --preset {', '.join(_X26X_PRESETS)}")
    options = dict(_ALONGSIDE.get(encoder, {}))
    knob, value = _QUALITY.get(encoder, ("crf", crf))
    if crf is not None or value is not None:
        options[knob] = str(value if crf is None else crf)
    preset = preset or _PRESET.get(encoder)
    if preset is not None:
        options["preset"] = preset
    return options


def quality_knob(encoder: str) -> str:
    """What the encoder calls the number that --crf sets."""
    return _QUALITY.get(encoder, ("crf", None))[0]


def container_options(format_name: str, *, time_base: Fraction, start: float) -> dict[str, str]:
    """Muxer options that keep timestamps as they are.

    Args:
        format_name: of the output container.
        time_base: of the video, seconds per tick.
        start: the earliest timestamp in the input, seconds.
    """
    if format_name in ("mp4", "mov", "ipod", "3gp", "3g2") and time_base.denominator < 2**31:
        return {"movie_timescale": str(max(1000, time_base.denominator))}  # edit lists count in it
    if format_name == "mpegts" and start >= 1:
        return {"mpegts_copyts": "1"}  # room enough before the first frame, no shift needed
    if format_name in ("matroska", "webm"):
        return {"avoid_negative_ts": "disabled"}  # blocks before zero are allowed; moving all streams is not
    if format_name == "yuv4mpegpipe":
        return {"strict": "-1"}  # more than 8 bits
    return {}
