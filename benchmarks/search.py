"""Measure the patch search: what each choice in its cost is worth, reuse against exact, drift, faiss, run-time share.

    python benchmarks/search.py [--frames N] [--quick] CLEAN...

CLEAN are rain-free videos or folders of numbered pictures; rain is rendered over them, so that the clean side of
every frame is known. Without any the drawn street of streamderain/scene.py is used. Tables go to stdout as Markdown.
"""
from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import fmean, median

import cv2
import numpy as np
import torch

from streamderain import scene
from streamderain.bench.search import BENCHMARK_SEARCH
from streamderain.core import colour, matching, rain
from streamderain.core.companions import Companion, network_blocks, network_input
from streamderain.core.matching import Guide, MatchField, SearchSettings
from streamderain.core.metrics import psnr
from streamderain.core.stream import StreamGenerator
from streamderain.engine import Engine
from streamderain.stages import SEARCH
from streamderain.video import open_video

SIZE = (640, 480)
Clip = tuple[list[np.ndarray], list[np.ndarray]]  # rainy and clean luma, (480, 640) uint8


def main() -> None:
    """Run all measurements on the given clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", nargs="*")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--quick", action="store_true", help="leave out drift and faiss")
    given = parser.parse_args()
    clips = {name: rainy_clip(name, given.frames) for name in given.clean} or {"drawn street": drawn_clip(given.frames)}
    choices(clips)
    reuse(clips)
    share(next(iter(clips.values())))
    if not given.quick:
        drift(next(iter(clips.values())))
        against_faiss(next(iter(clips.values())))


def choices(clips: dict[str, Clip]) -> None:
    """What the cost and the guide are worth: PSNR of the clean reference gathered through the field, exact search."""
    print("\n| cost and guide | " + " | ".join(clips) + " |\n|---|" + "---|" * len(clips))
    base = replace(SEARCH, radius=12)
    plain: dict[str, tuple[SearchSettings, int, bool]] = {
        "as shipped (radius 12)": (base, 1, False),
        "truncation 20": (replace(base, truncation=20), 1, False),
        "truncation 80": (replace(base, truncation=80), 1, False),
        "not truncated (SAD)": (replace(base, truncation=255), 1, False),
        "no penalty": (replace(base, penalty=0), 1, False),
        "penalty 2": (replace(base, penalty=2), 1, False),
        "penalty 30": (replace(base, penalty=30), 1, False),
        "rain not suppressed": (base, 0, False),
        "suppressed over 5 pixels": (base, 2, False),
        "reference is the previous output (ideal: clean)": (base, 1, True),
    }
    for name, (settings, reach, output) in plain.items():
        find = partial(matching.search, settings=settings)
        row = [gathered(clip, find, reach, output) for clip in clips.values()]
        print(f"| {name} | " + " | ".join(f"{value:.2f} dB" for value in row) + " |")
    row = [gathered(clip, lambda q, r: squared_search(q, r, base.radius), 1, False) for clip in clips.values()]
    print("| squared difference (SSD), no penalty | " + " | ".join(f"{value:.2f} dB" for value in row) + " |")


def gathered(clip: Clip, find: Callable[[Guide, Guide], MatchField], reach: int, output: bool) -> float:
    """Mean PSNR of every third frame's clean reference, moved into place, against the clean frame."""
    rainy, clean = clip
    scores = []
    for t in range(1, len(rainy), 3):
        reference = matching.make_guide(clean[t - 1] if output else rainy[t - 1], suppress=reach)
        field = find(matching.make_guide(rainy[t], suppress=reach), reference)
        seen = network_input(_rgb(clean[t]), (Companion(_rgb(clean[t - 1]), field), None))
        moved = (seen[0] + seen[3]).numpy() * 255
        scores.append(psnr(moved[8:-8, 8:-8], clean[t][8:-8, 8:-8]))
    return fmean(scores)


def reuse(clips: dict[str, Clip]) -> None:
    """Reuse against exact search in the same window, under the search's own cost."""
    print("\n| case | clip | exact ms | reuse ms | speedup | recall | distance ratio |\n|---|---|---|---|---|---|---|")
    for name, clip in clips.items():
        for case, settings, follow in (
            ("k 8", BENCHMARK_SEARCH, False),
            ("k 8, seeds moved along each cell's own motion", BENCHMARK_SEARCH, True),
            ("k 1, as at run time", SEARCH, False),
        ):
            rows = list(_followed(clip[0], settings, follow))
            exact, fast, recall, ratio = (list(column) for column in zip(*rows, strict=True))
            print(f"| {case} | {name} | {median(exact):.1f} | {median(fast):.2f} | {median(exact) / median(fast):.1f}x "
                  f"| {fmean(recall):.3f} | {fmean(ratio):.4f} |")  # fmt: skip


def drift(clip: Clip) -> None:
    """Recall over 100 frames: the clip forwards and backwards, so that it never ends."""
    rainy = clip[0]
    endless = [rainy[abs((t + len(rainy) - 1) % (2 * len(rainy) - 2) - len(rainy) + 1)] for t in range(102)]
    recalls = [row[2] for row in _followed(endless, BENCHMARK_SEARCH, False)]
    print(f"\ndrift over {len(recalls)} frames, k 8: recall of the first ten {fmean(recalls[:10]):.3f}, "
          f"of the last ten {fmean(recalls[-10:]):.3f}")  # fmt: skip


def against_faiss(clip: Clip) -> None:
    """faiss finds the k nearest patches of the whole frame under L2: another question, the same size."""
    try:
        import faiss
    except ImportError:
        print("\nfaiss is not installed (pip install faiss-cpu): left out")
        return
    query, reference = (_patches(luma) for luma in (clip[0][1], clip[0][0]))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(64), 64, 256)
    began = time.perf_counter()
    index.train(reference)
    index.add(reference)
    index.nprobe = 8
    index.search(query, 8)
    print(f"\nfaiss-cpu {faiss.__version__} IVF256, nprobe 8, global, L2, k 8, 640x480 every 4th pixel: "
          f"{(time.perf_counter() - began) * 1e3:.0f} ms a frame with building the index")  # fmt: skip


def share(clip: Clip) -> None:
    """Search and companions of both slots beside the tiny network, at run-time settings."""
    guides = [matching.make_guide(luma) for luma in clip[0]]
    engine = Engine(StreamGenerator.from_profile("tiny").eval(), "cpu")
    rgb = [_rgb(luma) for luma in clip[0]]
    fields = [matching.search(guides[1], guides[t], SEARCH) for t in (0, 2)]
    spent: dict[str, list[float]] = {"search": [], "companions": [], "network": []}
    for t in range(2, len(rgb) - 1):
        began = time.perf_counter()
        guides[t + 1] = matching.make_guide(clip[0][t + 1])
        fields = [
            matching.search(guides[t], guides[t + side], SEARCH, previous=field, seed=t)
            for side, field in zip((-1, 1), fields, strict=True)
        ]
        searched = time.perf_counter()
        seen = network_blocks(
            rgb[t], (Companion(rgb[t - 1], fields[0]), Companion(rgb[t + 1], fields[1])), engine.input_dtype
        )
        built = time.perf_counter()
        engine.run(seen, *rgb[t].shape[1:])
        ended = time.perf_counter()
        for stage, ms in zip(spent, (searched - began, built - searched, ended - built), strict=True):
            spent[stage].append(ms * 1e3)
    figures = ", ".join(f"{stage} {median(values):.1f} ms" for stage, values in spent.items())
    print(f"\n640x480, both slots, tiny network ({engine.precision}), {torch.get_num_threads()} threads: {figures}")


def squared_search(query: Guide, reference: Guide, radius: int) -> MatchField:
    """Exact search by the sum of squared differences; costs are scaled to fit the key."""
    grid = query.height // matching.CELL, query.width // matching.CELL
    best = np.full(grid, np.iinfo(np.uint32).max, np.uint32)
    place = query.margin - matching.BEFORE
    rows, columns = ((count + 1) * matching.CELL for count in grid)
    window = query.padded[place : place + rows, place : place + columns].astype(np.float32)
    for index, (dy, dx) in enumerate(np.ndindex(2 * radius + 1, 2 * radius + 1)):
        y, x = place + dy - radius, place + dx - radius
        error = (window - reference.padded[y : y + rows, x : x + columns]) ** 2
        blocks = error.reshape(grid[0] + 1, 4, grid[1] + 1, 4).sum((1, 3))
        cost = blocks[:-1, :-1] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[1:, 1:]
        best = np.minimum(best, (np.minimum(cost / 4, 2**20 - 1).astype(np.uint32) << 12) | np.uint32(index))
    return MatchField(best[None], radius)


def rainy_clip(name: str, frames: int) -> Clip:
    """Rendered rain over a clean clip, as luma."""
    clean = []
    for frame in open_video(name):
        luma = colour.luma(frame.planes, frame.format)
        clean.append(cv2.resize(luma, SIZE, interpolation=cv2.INTER_AREA))
        if len(clean) == frames:
            break
    rng = np.random.default_rng(1)
    style = rain.random_style(np.random.default_rng(16))
    opacity = rain.render(style, frames=len(clean), height=SIZE[1], width=SIZE[0], rng=rng)
    rainy = [np.clip(luma + 255 * layer, 0, 255).astype(np.uint8) for luma, layer in zip(clean, opacity, strict=True)]
    return rainy, clean


def drawn_clip(frames: int) -> Clip:
    """The drawn street as luma."""
    pairs = list(scene.draw(*SIZE, frames))
    grey = colour.PixelFormat(family="rgb", full_range=True)
    rainy, clean = ([colour.luma(tuple(pair[side]), grey) for pair in pairs] for side in (0, 1))
    return rainy, clean


def _followed(
    lumas: list[np.ndarray], settings: SearchSettings, follow: bool
) -> Iterator[tuple[float, float, float, float]]:
    """(exact ms, reuse ms, recall, ratio) of each frame, each searched in the one before."""
    guides = [matching.make_guide(luma) for luma in lumas]
    field = matching.search(guides[1], guides[0], settings)
    for t in range(2, len(guides)):
        began = time.perf_counter()
        exact = matching.search(guides[t], guides[t - 1], settings)
        between = time.perf_counter()
        previous = _moved(field) if follow else field
        start = time.perf_counter()
        field = matching.search(guides[t], guides[t - 1], settings, previous=previous, seed=t)
        ended = time.perf_counter()
        recall = (field.keys[:, None] == exact.keys[None]).any(0).mean()
        ratio = field.costs.sum() / max(exact.costs.sum(), 1)
        yield (between - began) * 1e3, (ended - start) * 1e3, float(recall), float(ratio)


def _moved(field: MatchField) -> MatchField:
    """Each cell takes the answer of the cell where its content was one frame ago."""
    cells = np.rint(field.offsets[0] / matching.CELL).astype(int)
    rows, columns = field.keys.shape[1:]
    y = np.clip(np.arange(rows)[:, None] + cells[..., 0], 0, rows - 1)
    x = np.clip(np.arange(columns)[None] + cells[..., 1], 0, columns - 1)
    return MatchField(np.ascontiguousarray(field.keys[:, y, x]), field.radius)


def _patches(luma: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(luma, (8, 8))[::4, ::4]
    return np.ascontiguousarray(windows.reshape(-1, 64).astype(np.float32))


def _rgb(luma: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(luma, (3, *luma.shape)))


if __name__ == "__main__":
    main()
