"""The reports of a benchmark as one SVG: frames per second, and where a frame's time goes."""
from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from streamderain.bench.tables import how, number, size

Run = dict[str, Any]

STAGES = ("view", "search", "companions", "network", "subtract")
COLOURS = {"view": "#7f8fa9", "search": "#2f7ebc", "companions": "#59a89c", "network": "#d9822b", "subtract": "#9b6bb3"}
IN_MEMORY, TO_FILE = "#9ecae1", "#2f7ebc"
LIVE_FPS = 25
WIDTH, LEFT, RIGHT = 860, 230, 90  # pixels; labels stand left of the bars, figures right of them
ROW, BAR, HEAD, LEGEND = 34, 11, 40, 26


def plot(runs: Sequence[Run]) -> str:
    """Draw the reports.

    Args:
        runs: at least one, see docs/speed.md.

    Returns:
        An SVG document.
    """
    below = HEAD + LEGEND + ROW * len(runs) + 30
    height = 2 * below + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        *_speeds(runs, 0),
        *_shares(runs, below),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _speeds(runs: Sequence[Run], top: int) -> list[str]:
    """Two bars for each run on a logarithmic axis."""
    values = [(run["path"]["fps"], run["end_to_end"]["fps"]) for run in runs]
    low = 10 ** math.floor(math.log10(min(min(pair) for pair in values)))
    high = 10 ** math.ceil(math.log10(max(max(pair) for pair in values) * 1.01))

    def x(fps: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(fps / low) / math.log(high / low)

    parts = [_title("Frames per second", top)]
    parts += _legend({"in memory, without codecs": IN_MEMORY, "from file to file": TO_FILE}, top)
    first, last = top + HEAD + LEGEND, top + HEAD + LEGEND + ROW * len(runs)
    ticks = [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    parts += [_rule(x(tick), first, last, "#ddd", f"{tick:g}") for tick in ticks]
    if low < LIVE_FPS < high:
        parts.append(_rule(x(LIVE_FPS), first, last, "#c33", f"{LIVE_FPS}"))
    for row, (run, pair) in enumerate(zip(runs, values, strict=True)):
        y = first + ROW * row + 5
        parts.append(_label(run, y + BAR))
        for bar, (fps, colour) in enumerate(zip(pair, (IN_MEMORY, TO_FILE), strict=True)):
            parts += [_bar(LEFT, y + bar * (BAR + 1), x(fps) - LEFT, BAR, colour),
                      _text(x(fps) + 5, y + bar * (BAR + 1) + 10, number(fps))]  # fmt: skip
    return parts


def _shares(runs: Sequence[Run], top: int) -> list[str]:
    """For each run one bar of full width, cut into the stages."""
    parts = [_title("Where the time of a frame goes, in memory without codecs", top)]
    parts += _legend(COLOURS, top)
    for row, run in enumerate(runs):
        y, x = top + HEAD + LEGEND + ROW * row + 5, float(LEFT)
        spent = [(stage, run["path"]["ms_per_stage"].get(stage, 0.0)) for stage in STAGES]
        total = sum(ms for _, ms in spent)
        parts.append(_label(run, y + BAR))
        for stage, ms in spent:
            width = (WIDTH - LEFT - RIGHT) * ms / total if total else 0.0
            parts.append(_bar(x, y, width, 2 * BAR, COLOURS[stage], f"{stage} {number(ms)} ms"))
            x += width
        parts.append(_text(WIDTH - RIGHT + 5, y + BAR + 4, f"{number(total)} ms"))
    return parts


def _title(words: str, top: int) -> str:
    return f'<text x="16" y="{top + 26}" font-size="16" font-weight="bold">{escape(words)}</text>'


def _legend(colours: dict[str, str], top: int) -> list[str]:
    parts, x = [], LEFT
    for name, colour in colours.items():
        parts += [_bar(x, top + HEAD, 12, 12, colour), _text(x + 17, top + HEAD + 11, name)]
        x += 34 + 7 * len(name)
    return parts


def _label(run: Run, y: float) -> str:
    words = f"{run['network']['profile']}, {size(run)}, {how(run)}"
    return f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(words)}</text>'


def _rule(x: float, top: float, bottom: float, colour: str, words: str) -> str:
    line = f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>'
    return f'{line}<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#666" font-size="10">{words}</text>'


def _bar(x: float, y: float, width: float, height: float, colour: str, words: str = "") -> str:
    hint = f"<title>{escape(words)}</title>" if words else ""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height}"'
    return f'<rect {place} fill="{colour}">{hint}</rect>'


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
