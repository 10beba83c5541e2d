"""The whole path without codecs: frames in memory, through the derainer, frames in memory."""
from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from streamderain.bench.energy import counters_of, energy_used
from streamderain.bench.memory import peak_memory
from streamderain.bench.timing import Times, timed, wait_for
from streamderain.derainer import Derainer
from streamderain.frame import Frame

WARM_UP_FRAMES = 4  # the first is searched exactly, the next ones have one neighbour
SECONDS = 20.0  # a slow network is given fewer frames
FEWEST_FRAMES = 3


def measure_path(
    derainer: Derainer, frames: Sequence[Frame], *, count: int, seconds: float = SECONDS
) -> dict[str, Any]:
    """Derain frames one after the other with a look ahead, as a file's are, and time each.

    Args:
        derainer: its past is forgotten first.
        frames: at least 2, on the host; shown forwards and backwards, so that there is never a cut.
        count: frames that are timed, unless the time is up.
        seconds: after this long it ends, with at least FEWEST_FRAMES.

    Returns:
        fps, frames, p50_ms and p99_ms of one frame (a nearest rank: of fewer than 100 frames it is the slowest),
        ms_per_stage, memory (see peak_memory), and energy: joules a frame by counter, or None where none can be read.
    """
    derainer.reset()
    shown = there_and_back(frames)
    frame = next(shown)
    for following in islice(shown, WARM_UP_FRAMES):
        derainer(frame, following)
        frame = following
    wait_for(derainer.device)
    spent, ms = dict(derainer.stage_ms), []
    with peak_memory(derainer.device) as memory, energy_used(counters_of(derainer.device)) as joules:
        begun = time.perf_counter()
        for following in islice(shown, count):
            ms.append(timed(_one, derainer, frame, following)[1])
            frame = following
            if len(ms) >= FEWEST_FRAMES and time.perf_counter() - begun > seconds:
                break
        passed = time.perf_counter() - begun
    times = Times(tuple(ms))
    return {
        "fps": len(ms) / passed, "frames": len(ms), "p50_ms": times.percentile(50), "p99_ms": times.percentile(99),
        "ms_per_stage": {stage: (total - spent[stage]) / len(ms) for stage, total in derainer.stage_ms.items()},
        "memory": memory, "energy": {name: used / len(ms) for name, used in joules.items()} or None,
    }  # fmt: skip


def there_and_back(frames: Sequence[Frame]) -> Iterator[Frame]:
    """The frames forwards and backwards for ever; no frame is shown twice in a row."""
    while True:
        yield from frames
        yield from frames[-2:0:-1]


def _one(derainer: Derainer, frame: Frame, following: Frame) -> None:
    if derainer(frame, following).on_device:  # what is back on the host has been waited for
        wait_for(derainer.device)
