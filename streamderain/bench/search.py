"""The patch search that reuses its past, against the exact one."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from streamderain.bench.timing import timed
from streamderain.core import matching
from streamderain.core.metrics import luma

# k 8 needs more candidates than the search at run time, which keeps one match, to come as near the exact answer
BENCHMARK_SEARCH = matching.SearchSettings(k=8, winners=24, reach=1, probes=16)
EXACT_FRAMES = 3  # exact searches per measurement, spread evenly: each costs as much as ten fast ones


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """The search with reuse against the exact one, k 8, each frame searched in the one before.

    Attributes:
        ms, exact_ms: medians of one search, guides ready.
        guide_ms: median of preparing one guide.
        recall_at_8: share of the exact answer's offsets that were found.
        distance_ratio: sum of the costs found over the sum of the exact ones, at least 1.
    """

    ms: float
    exact_ms: float
    guide_ms: float
    recall_at_8: float
    distance_ratio: float

    def as_dict(self) -> dict[str, float]:
        """Plain values, the speedup among them."""
        return {
            "ms": self.ms,
            "exact_ms": self.exact_ms,
            "guide_ms": self.guide_ms,
            "speedup": self.exact_ms / self.ms,
            "recall_at_8": self.recall_at_8,
            "distance_ratio": self.distance_ratio,
        }


def measure_search(frames: Sequence[np.ndarray]) -> SearchFigures:
    """Carry a field from frame to frame and compare it, at a few of them, with the exact answer; on the CPU.

    Args:
        frames: at least 3, (3, H, W) uint8 RGB.

    Raises:
        ValueError: too few frames.
    """
    if len(frames) < 3:
        raise ValueError(f"{len(frames)} frames; a search that reuses its past needs at least 3")
    lumas = [grey(frame) for frame in frames]
    matching.make_guide(lumas[0])  # compiles the kernel
    timed_guides = [timed(matching.make_guide, plane) for plane in lumas]
    guides = [guide for guide, _ in timed_guides]
    field = matching.search(guides[1], guides[0], BENCHMARK_SEARCH)
    matching.search(guides[1], guides[0], BENCHMARK_SEARCH, previous=field)
    compared = set(np.linspace(len(guides) - 1, 2, EXACT_FRAMES).round().astype(int).tolist())
    fast, exact, recalls, ratios = [], [], [], []
    for number in range(2, len(guides)):
        query, reference = guides[number], guides[number - 1]
        field, ms = timed(matching.search, query, reference, BENCHMARK_SEARCH, previous=field, seed=number)
        fast.append(ms)
        if number in compared:
            answer, ms = timed(matching.search, query, reference, BENCHMARK_SEARCH)
            exact.append(ms)
            recalls.append(recall(field, answer))
            ratios.append(float(field.costs.sum() / max(answer.costs.sum(), 1)))
    guide_ms = median(ms for _, ms in timed_guides)
    return SearchFigures(median(fast), median(exact), guide_ms, fmean(recalls), fmean(ratios))


def recall(found: matching.MatchField, exact: matching.MatchField) -> float:
    """Share of the exact field's offsets, 0..1, that the other field has for the same cell at any rank."""
    same = (found.offsets[:, None] == exact.offsets[None]).all(-1)  # (k, k, rows, columns)
    return float(same.any(0).mean())


def grey(rgb: np.ndarray) -> np.ndarray:
    """The luma of (3, H, W) uint8 RGB, (H, W) uint8."""
    return np.round(luma(rgb)).astype(np.uint8)
