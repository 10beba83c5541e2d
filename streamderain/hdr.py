"""HDR metadata between FFmpeg's structures and the encoders' own parameters."""
from __future__ import annotations

import struct

_MASTERING = struct.Struct("=20i2i")  # ten fractions: R, G, B, white point (x, y each), least and greatest luminance
_LIGHT = struct.Struct("=2I")


def encoder_parameters(encoder: str, mastering: bytes | None, light: bytes | None) -> dict[str, str]:
    """Options by which an encoder writes the mastering display and the content light level into its stream.

    Args:
        encoder: its name in FFmpeg; those that cannot be told get no options.
        mastering: AVMasteringDisplayMetadata as the decoder gave it, or None.
        light: AVContentLightMetadata, or None.

    Returns:
        At most one option, such as {"x265-params": "master-display=G(...)...:max-cll=1000,400"}.
    """
    names = {
        "libx264": ("x264-params", "mastering-display", "cll"),
        "libx265": ("x265-params", "master-display", "max-cll"),
        "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
    }.get(encoder)
    if names is None:
        return {}
    option, display_name, light_name = names
    parts = []
    if mastering is not None and (display := _display(mastering, whole=encoder != "libsvtav1")):
        parts.append(f"{display_name}={display}")
    if light is not None and len(light) >= _LIGHT.size:
        parts.append("{}={},{}".format(light_name, *_LIGHT.unpack_from(light)))
    return {option: ":".join(parts)} if parts else {}


def _display(mastering: bytes, *, whole: bool) -> str | None:
    """G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min), in steps of 0.00002 and 0.0001 cd/m2 or as plain numbers."""
    if len(mastering) < _MASTERING.size:
        return None
    *parts, has_primaries, has_luminance = _MASTERING.unpack_from(mastering)
    if not (has_primaries and has_luminance) or 0 in parts[1::2]:
        return None
    values = [top / bottom for top, bottom in zip(parts[::2], parts[1::2], strict=True)]
    scaled = [v * 50000 for v in values[:8]] + [v * 10000 for v in values[8:]] if whole else values
    text = [str(round(v)) if whole else f"{v:.5f}" for v in scaled]
    red, green, blue, white = (",".join(text[i : i + 2]) for i in range(0, 8, 2))
    return f"G({green})B({blue})R({red})WP({white})L({text[9]},{text[8]})"
