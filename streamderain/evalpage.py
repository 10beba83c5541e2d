"""The page that shows an evaluation: figures first, then the pictures, worst cases on top. Works without a network."""
from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from streamderain.evaluation import Row, Sample, Scores

RAIN_GAIN = 4
_JPEG_QUALITY = 93


class Gallery:
    """Keeps the pictures of the worst samples, compressed, so that memory does not grow with a video's length.

    Args:
        limit: how many samples to keep.
    """

    def __init__(self, limit: int = 100) -> None:
        self._limit = limit
        self._heap: list[tuple[float, int, Row, dict[str, bytes]]] = []  # the best of the kept on top
        self._seen = 0

    def add(self, sample: Sample) -> None:
        """Take a sample's pictures if it is among the worst so far."""
        self._seen += 1
        if len(self._heap) == self._limit and -self._heap[0][0] <= sample.row.merit:
            return
        push = heapq.heappush if len(self._heap) < self._limit else heapq.heapreplace
        push(self._heap, (-sample.row.merit, -self._seen, sample.row, _pictures(sample)))

    def worst_first(self) -> list[tuple[Row, dict[str, bytes]]]:
        """(row, JPEG bytes by kind: input, output, truth, rain), the lowest merit first."""
        return [(row, pictures) for _, _, row, pictures in sorted(self._heap, key=lambda kept: kept[:2], reverse=True)]


def write_page(path: Path, *, rows: Sequence[Row], mean: Row, gallery: Gallery, facts: Mapping[str, str]) -> None:
    """Write the page and, beside it, a folder with its pictures.

    Args:
        path: the HTML file; the pictures go to `<stem>_pictures` in the same folder.
        rows: all rows in their own order.
        mean: their mean.
        gallery: the pictures to show.
        facts: what was measured with what, shown as it is.
    """
    folder = path.with_name(f"{path.stem}_pictures")
    folder.mkdir(exist_ok=True)
    kept = gallery.worst_first()
    for number, (_, pictures) in enumerate(kept, 1):
        for kind, data in pictures.items():
            (folder / _file_name(number, kind)).write_bytes(data)
    articles = [_article(folder.name, number, row, pictures) for number, (row, pictures) in enumerate(kept, 1)]
    parts = [_head(facts, len(rows)), _cards(mean), _chart(rows), _gallery(articles, len(rows)), _table(rows, mean)]
    path.write_text(_PAGE.replace("{style}", _STYLE).replace("{body}", "\n".join(parts)), encoding="utf-8")


def _pictures(sample: Sample) -> dict[str, bytes]:
    rain = sample.input.astype(np.int16) - sample.output
    shown = {
        "input": sample.input,
        "output": sample.output,
        "truth": sample.clean,
        "rain": np.clip(RAIN_GAIN * rain, 0, 255).astype(np.uint8),
    }
    return {kind: _jpeg(picture) for kind, picture in shown.items()}


def _jpeg(rgb: np.ndarray) -> bytes:
    bgr = np.ascontiguousarray(rgb[::-1].transpose(1, 2, 0))
    settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # 4:4:4
    done, data = cv2.imencode(".jpg", bgr, settings)
    assert done, "a uint8 RGB picture can always be encoded"
    return data.tobytes()


def _file_name(number: int, kind: str) -> str:
    return f"{number:03d}_{kind}.jpg"


def _head(facts: Mapping[str, str], count: int) -> str:
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<header><h1>Rain removed, measured</h1><dl>{listed}<dt>pictures</dt><dd>{count}</dd></dl></header>"


def _cards(mean: Row) -> str:
    cards = [_card("PSNR, Y", "dB", _pair(mean, "psnr_y", 2)), _card("SSIM, Y", "", _pair(mean, "ssim_y", 4))]
    if mean.gain_db is not None:
        cards.insert(0, _card("gain", "dB", (None, f"{mean.gain_db:+.2f}")))
    cards += [_card("PSNR, RGB", "dB", _pair(mean, "psnr_rgb", 2)), _card("SSIM, RGB", "", _pair(mean, "ssim_rgb", 4))]
    if mean.flicker:
        figures = (f"{mean.flicker.input:.2f}", f"{mean.flicker.output:.2f}")
        cards.append(_card(f"flicker, truth {mean.flicker.clean:.2f}", "grey levels", figures))
    return f'<section class="cards">{"".join(cards)}</section>'


def _pair(row: Row, figure: str, digits: int) -> tuple[str | None, str]:
    before = None if row.input is None else f"{getattr(row.input, figure):.{digits}f}"
    return before, f"{getattr(row.output, figure):.{digits}f}"


def _card(label: str, unit: str, figures: tuple[str | None, str]) -> str:
    before, after = figures
    was = f"<small>from {before}</small>" if before else ""
    return f"<div><b>{after}</b> {unit}{was}<span>{escape(label)}</span></div>"


def _chart(rows: Sequence[Row]) -> str:
    """PSNR of every picture before and after, in the order of the rows for a video, of the input for photos."""
    if len(rows) < 2:
        return ""
    video = any(row.flicker for row in rows)
    shown = rows if video else sorted(rows, key=lambda row: (row.input or row.output).psnr_y)
    lines = [("output", [row.output for row in shown])]
    before = [row.input for row in shown if row.input]
    if before:
        lines.insert(0, ("input", before))
    levels = [scores.psnr_y for _, line in lines for scores in line]
    low, high = 5 * int(min(levels) // 5), 5 * int(max(levels) // 5) + 5
    grid = "".join(_grid_line(level, low, high) for level in range(low, high + 1, 5 if high - low <= 40 else 10))
    drawn = "".join(_line(name, line, low, high) for name, line in lines)
    order = "frame by frame" if video else "pictures in the order of their input"
    return (
        f'<figure class="chart"><svg viewBox="0 0 1000 260" role="img">{grid}{drawn}</svg>'
        f'<figcaption>PSNR on Y, {order}: <i class="output"></i> output'
        + (' <i class="input"></i> input' if before else "")
        + "</figcaption></figure>"
    )


def _height(level: float, low: int, high: int) -> float:
    return 250 - 240 * (level - low) / (high - low)


def _grid_line(level: int, low: int, high: int) -> str:
    y = _height(level, low, high)
    return f'<path d="M40 {y:.1f}H1000"/><text x="34" y="{y + 4:.1f}">{level}</text>'


def _line(name: str, line: Sequence[Scores], low: int, high: int) -> str:
    step = 950 / (len(line) - 1)
    points = " ".join(f"{45 + i * step:.1f},{_height(s.psnr_y, low, high):.1f}" for i, s in enumerate(line))
    return f'<polyline class="{name}" points="{points}"/>'


def _gallery(articles: Sequence[str], count: int) -> str:
    which = "all, worst first" if len(articles) == count else f"the worst {len(articles)} of {count}"
    hint = "Hold the pointer over an output to see its input in the same place; click a picture for its full size."
    return f"<h2>Pictures: {which}</h2><p>{hint}</p>{''.join(articles)}"


def _article(folder: str, number: int, row: Row, pictures: Mapping[str, bytes]) -> str:
    labels = {"input": "input", "output": "output", "truth": "truth", "rain": f"rain taken off, times {RAIN_GAIN}"}
    shown = "".join(_figure(folder, number, kind, labels[kind]) for kind in pictures)
    gain = row.gain_db
    badge = "" if gain is None else f'<em class="{"good" if gain > 0 else "bad"}">{gain:+.2f} dB</em>'
    return (
        f'<article id="p{number}"><h3>{escape(row.name)} {badge}</h3><p>{_summary(row)}</p>'
        f'<div class="row">{shown}</div></article>'
    )


def _summary(row: Row) -> str:
    after = f"{row.output.psnr_y:.2f} dB / {row.output.ssim_y:.4f}"
    if row.input is None:
        return f"output against input {after}"
    return f"{row.input.psnr_y:.2f} dB / {row.input.ssim_y:.4f} &rarr; {after}"


def _figure(folder: str, number: int, kind: str, label: str) -> str:
    def picture(which: str, extra: str = "") -> str:
        address = f"{escape(folder)}/{_file_name(number, which)}"
        return f'<img loading="lazy" src="{address}" alt="{which} {number}"{extra}>'

    under = picture("input", ' class="before"') if kind == "output" else ""
    link = f"{escape(folder)}/{_file_name(number, kind)}"
    shown = f'<a href="{link}">{picture(kind)}{under}</a>'
    return f'<figure class="{kind}">{shown}<figcaption>{label}</figcaption></figure>'


def _table(rows: Sequence[Row], mean: Row) -> str:
    names = "<th>picture<th>PSNR Y<th>SSIM Y<th>PSNR RGB<th>SSIM RGB<th>gain<th>flicker"
    body = "".join(_table_row(row) for row in [mean, *rows])
    table = f"<table><thead><tr>{names}</thead><tbody>{body}</tbody></table>"
    return f"<details><summary>All figures</summary>{table}</details>"


def _table_row(row: Row) -> str:
    figures = [_arrow(*_pair(row, name, 2 if name.startswith("psnr") else 4)) for name in Scores.__dataclass_fields__]
    figures.append("" if row.gain_db is None else f"{row.gain_db:+.2f}")
    figures.append(_arrow(f"{row.flicker.input:.2f}", f"{row.flicker.output:.2f}") if row.flicker else "")
    return f"<tr><th>{escape(row.name)}" + "".join(f"<td>{figure}" for figure in figures)


def _arrow(before: str | None, after: str) -> str:
    return after if before is None else f"{before} &rarr; {after}"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>streamderain eval</title>
<style>{style}</style>
<main>
{body}
</main>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #66788a; --paper: #f5f7f9; --card: #fff; --edge: #dde4ea;
  --output: #0a7ea4; --input: #a5b4c2; --good: #14804a; --bad: #c0362c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4ebf1; --soft: #93a4b4; --paper: #12181e; --card: #1b232b;
  --edge: #2b3741; --output: #4cc3ea; --input: #5d6f80; --good: #4fc98a; --bad: #f0776d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1500px; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
h1 { margin: 0 0 .5rem; font-size: 1.9rem; letter-spacing: -.02em; }
h2 { margin: 3rem 0 0; font-size: 1.3rem; }
h3 { margin: 0; font-size: 1.05rem; overflow-wrap: anywhere; }
p { margin: .2rem 0 .8rem; color: var(--soft); }
header dl { display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; margin: 0; color: var(--soft); }
header dt::after { content: ":"; }
header dd { margin: 0 0 0 -1.2rem; color: var(--ink); overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; margin: 1.8rem 0; }
.cards div, article, .chart, details { background: var(--card); border: 1px solid var(--edge); border-radius: 12px; }
.cards div { padding: 1rem 1.2rem; }
.cards b { font-size: 1.8rem; letter-spacing: -.02em; }
.cards small, .cards span { display: block; color: var(--soft); }
.chart { margin: 0; padding: 1rem 1.2rem; }
.chart svg { width: 100%; height: auto; display: block; }
.chart path { stroke: var(--edge); }
.chart text { fill: var(--soft); font-size: 12px; text-anchor: end; }
.chart polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
polyline.input { stroke: var(--input); } polyline.output { stroke: var(--output); }
figcaption { color: var(--soft); font-size: .85rem; }
.chart i { display: inline-block; width: 1rem; height: .25rem; margin-left: .6rem; vertical-align: middle; }
i.input { background: var(--input); } i.output { background: var(--output); }
article { margin: 1.2rem 0; padding: 1.1rem 1.2rem; content-visibility: auto; contain-intrinsic-size: auto 360px; }
em { margin-left: .5rem; font-style: normal; } .good { color: var(--good); } .bad { color: var(--bad); }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: .9rem; }
.row figure { margin: 0; }
.row a { position: relative; display: block; }
.row img { display: block; width: 100%; height: auto; border-radius: 6px; }
.row img.before { position: absolute; inset: 0; opacity: 0; }
.output a:hover .before { opacity: 1; }
details { margin-top: 3rem; padding: 1rem 1.2rem; overflow-x: auto; }
summary { cursor: pointer; font-weight: 600; }
table { width: 100%; margin-top: 1rem; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--edge); text-align: right; white-space: nowrap; }
th:first-child { text-align: left; } tbody tr:first-child { font-weight: 700; }
"""
