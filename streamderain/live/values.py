"""What an option's value may be: the same words for the command line, the configuration file and a worker's orders.

Every function takes what stands there (text, or a TOML value) and returns the value, or raises ValueError with one
line that says what to write instead; it never repeats what may be a secret.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any

from streamderain.live.address import Address, mask

_TIME = re.compile(r"(\d{1,6}:){0,2}\d{1,9}(\.\d{0,9})?", re.ASCII)
_BYTES = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)\s*([kmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_SIZE = re.compile(r"(\d{1,5})[xX](\d{1,5})", re.ASCII)
_PIXEL_FORMAT = re.compile(r"[a-z0-9_]{2,32}", re.ASCII)
_HOST_PORT = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+):)?(?P<port>\d{1,5})", re.ASCII)
_AGE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*([hd])", re.ASCII | re.IGNORECASE)
_HOUR_SECONDS = {"h": 3600.0, "d": 86400.0}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_MOST_PIXELS = 16384


def text(value: Any) -> str:
    """A line of text that is not empty."""
    if not isinstance(value, str) or not value.strip() or any(c in value for c in "\0\r\n"):
        raise ValueError(f"{_shown(value)} is no text on one line; write it in quotes")
    return value


def flag(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is neither true nor false; write one of them")
    return value


def one_of(*words: str) -> Callable[[Any], str]:
    """A check that takes these words only."""

    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"{_shown(value)} is unknown; give one of {', '.join(words)}")
        return str(value)

    return check


def number(least: float, most: float, *, whole: bool = False) -> Callable[[Any], Any]:
    """A check that takes numbers from `least` to `most`; as int if `whole`."""

    def check(value: Any) -> Any:
        try:
            found = float(value) if not isinstance(value, bool) else float("nan")
        except (TypeError, ValueError):
            found = float("nan")
        if not isfinite(found) or not least <= found <= most or (whole and found != int(found)):
            raise ValueError(f"{_shown(value)} is no {'whole ' * whole}number from {least:g} to {most:g}")
        return int(found) if whole else found

    return check


def rate(value: Any) -> Fraction:
    """Frames per second, exact: 25, 29.97 or 30000/1001."""
    try:
        found = Fraction(str(value)) if not isinstance(value, bool) else Fraction(0)
    except (ValueError, ZeroDivisionError):
        found = Fraction(0)
    if not 0 < found <= 1000 or found.denominator > 1_000_000:
        raise ValueError(f"{_shown(value)} is no rate; write 25, 29.97 or 30000/1001")
    return found


def seconds(value: Any) -> float:
    """A length of time above 0 in seconds, written as a number, 12.5, 10:00 or 1:02:03.5."""
    found = 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found = float(value)
    elif isinstance(value, str) and _TIME.fullmatch(value):
        found = sum(float(part) * 60**power for power, part in enumerate(reversed(value.split(":"))))
    if not isfinite(found) or found <= 0:
        raise ValueError(f"{_shown(value)} is no length of time; write seconds (12.5), 10:00 or 1:02:03")
    return found


def byte_count(value: Any) -> int:
    """A number of bytes above 0: 500M, 2G, 1.5 GB (powers of 1024), or a plain number."""
    match = _BYTES.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    found = round(float(match[1]) * 1024 ** _POWERS[match[2].lower()]) if match else 0
    if found <= 0:
        raise ValueError(f"{_shown(value)} is no number of bytes; write 500M or 2G")
    return found


def keep_bounds(value: Any) -> dict[str, float]:
    """Which older recordings stay: a number of them, 7d or 36h, 50G, or several of these with commas.

    Returns:
        Some of "count" (int), "seconds", and "size" (bytes, int).
    """
    found: dict[str, float] = {}
    for part in str(value).split(","):
        part = part.strip()
        age = _AGE.fullmatch(part)
        if part.isascii() and part.isdecimal() and len(part) < 10:
            found["count"] = int(part)
        elif age:
            found["seconds"] = float(age[1]) * _HOUR_SECONDS[age[2].lower()]
        elif _BYTES.fullmatch(part) and part[-1].isalpha():
            found["size"] = byte_count(part)
    if isinstance(value, bool) or len(found) != len(str(value).split(",")) or min(found.values()) <= 0:
        raise ValueError(f"{_shown(value)} does not say what to keep; write 20 (recordings), 7d, 36h or 50G, or 7d,50G")
    return found


def keep(value: Any) -> str:
    """The words of `keep_bounds`, checked."""
    keep_bounds(value)
    return str(value)


def size(value: Any) -> tuple[int, int]:
    """Width and height in pixels, written 1280x720."""
    if isinstance(value, tuple):
        value = "x".join(map(str, value))  # checked before
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    found = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(16 <= side <= _MOST_PIXELS for side in found):
        raise ValueError(f"{_shown(value)} is no size; write width x height in pixels, such as 1280x720")
    return found


def pixel_format(value: Any) -> str:
    """FFmpeg's or V4L2's name of one, such as yuyv422 or mjpeg."""
    if not isinstance(value, str) or not _PIXEL_FORMAT.fullmatch(value):
        raise ValueError(f"{_shown(value)} is no pixel format; write a name such as yuyv422 or mjpeg")
    return value


def path(value: Any) -> Path:
    """A file or folder."""
    return value if isinstance(value, Path) else Path(text(value))


def address(value: Any) -> Address:
    """Where a camera or a peer is; the message of a wrong one does not show it."""
    if isinstance(value, Address):
        return value
    if not isinstance(value, str) or not value.strip() or any(c in value for c in "\0\r\n"):
        raise ValueError("this is no address; write one such as rtsp://camera/stream, in quotes and on one line")
    return Address(value.strip())


def addresses(value: Any) -> tuple[Address, ...]:
    """One address or a list of them."""
    return tuple(address(each) for each in (value if isinstance(value, (list, tuple)) else [value]))


def texts(value: Any) -> tuple[str, ...]:
    """One text or a list of them."""
    return tuple(text(each) for each in (value if isinstance(value, (list, tuple)) else [value]))


def serve(value: Any) -> tuple[str, int]:
    """Where a page listens: PORT alone (then 127.0.0.1) or HOST:PORT; IPv6 as [::1]:8088."""
    plain = isinstance(value, (int, str)) and not isinstance(value, bool)
    match = _HOST_PORT.fullmatch(str(value)) if plain else None
    if not match or int(match["port"]) > 65535:
        raise ValueError(f"{_shown(value)} is no place to serve at; write PORT or HOST:PORT, such as 127.0.0.1:8088")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word that is most like a wrong one."""
    from difflib import get_close_matches

    return (get_close_matches(word, known, 1, 0.0) or list(known))[0]


def _shown(value: Any) -> str:
    shown = mask(repr(value))
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
