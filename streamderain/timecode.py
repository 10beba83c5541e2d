"""SMPTE timecode in tags, moved with the start of what is read."""
from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

_LABEL = re.compile(r"(\d{2}):(\d{2}):(\d{2})([:;.])(\d{2,3})")


def retimed(tags: dict[str, str], seconds: Fraction, rate: Fraction, warn: Callable[[str], None]) -> dict[str, str]:
    """Tags with their timecode moved; without it, and one line for `warn`, where it cannot be read.

    Args:
        tags: of a file or a stream.
        seconds: how much later.
        rate: frames per second.
    """
    name = next((key for key in tags if key.lower() == "timecode"), None)
    if name is None:
        return tags
    label = moved(tags[name], max(0, round(seconds * rate)), rate)
    if label is None:
        warn(f"the timecode {tags[name]} cannot be moved to the start: left out")
        return {key: value for key, value in tags.items() if key != name}
    return {**tags, name: label}


def moved(label: str, frames: int, rate: Fraction) -> str | None:
    """A label so many frames later; None where it is no label at this rate.

    Args:
        label: "01:00:00:00"; ";" or "." before the frames stands for drop-frame, which skips the first two labels (at
            60 frames a second: four) of every minute but each tenth.
        frames: 0 or more.
        rate: frames per second.
    """
    found = _LABEL.fullmatch(label.strip())
    base = round(rate)
    if found is None or not base:
        return None
    hours, minutes, seconds, frame = (int(found[group]) for group in (1, 2, 3, 5))
    dropped = base // 15 if found[4] != ":" else 0  # labels a minute
    if minutes > 59 or seconds > 59 or frame >= base or (dropped and base % 30):
        return None
    minutes += 60 * hours
    number = (60 * minutes + seconds) * base + frame - dropped * (minutes - minutes // 10) + frames
    tens, rest = divmod(number, 600 * base - 9 * dropped)
    number += dropped * (9 * tens + max(0, (rest - dropped) // (60 * base - dropped)))
    seconds, frame = divmod(number, base)
    hours, seconds = divmod(seconds, 3600)
    return f"{hours % 24:02}:{seconds // 60:02}:{seconds % 60:02}{found[4]}{frame:0{len(found[5])}}"
