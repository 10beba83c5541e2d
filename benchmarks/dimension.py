"""Measure what NLCL's asymmetric loss rests on: patches of a clean picture fill more dimensions than patches of rain.

    python benchmarks/dimension.py --rainy DIR --clean DIR [--run OUT ...]

RAINY and CLEAN are pairs, matched by name; rain is their difference. For 200 random anchors the 128 patches of 16x16
nearest to each are taken, once from the clean picture and once from the rain layer, and their dimension is estimated
in two ways: TwoNN (Facco et al., Scientific Reports 2017) and the number of principal components that hold 95 % of
the variance. With the --out of a training of nlcl or nlcl_asym, the same is done for the vectors that its
projection heads make of such patches. The table goes to stdout as Markdown.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from streamderain import photos
from streamderain.core import colour
from streamderain.core.chance import Chance
from streamderain.core.patches import PatchSampler, read_features
from streamderain.pairs import pair_pictures
from streamderain.trainers import method_class
from streamderain.trainers.clips import Clip
from streamderain.trainers.config import configured
from streamderain.trainers.nlcl import NLCL
from streamderain.trainers.state import load_newest

ANCHORS, NEAREST = 200, 128
SAMPLER = PatchSampler()
FLAT = 1e-4  # mean variance below which a set of patches shows nothing


def main() -> None:
    """Print a row for the pictures and one for each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rainy", type=Path, required=True)
    parser.add_argument("--clean", type=Path, required=True)
    parser.add_argument("--run", type=Path, action="append", default=[], help="the --out of a training")
    given = parser.parse_args()
    pairs = [tuple(read(path) for path in pair) for pair in pair_pictures(given.rainy, given.clean)]
    print("| what | TwoNN image | TwoNN rain | 95 % image | 95 % rain |\n|---|---|---|---|---|")
    sides = [[(clean, clean) for _, clean in pairs], [(rainy - clean, rainy - clean) for rainy, clean in pairs]]
    report("pixels", [[SAMPLER.cut(x, c)[0].flatten(1) for x, c in chosen(side)] for side in sides])
    for run in given.run:
        method = trained(run)
        for level, vectors in enumerate(embedded(method, [rainy for rainy, _ in pairs])):
            report(f"{run.name}, level {method.config.features.disc_layers[level]}", vectors)


def read(path: Path) -> Tensor:
    """(1, 3, H, W) float32, -1..1."""
    frame = photos.read(path)
    return torch.from_numpy(colour.to_rgb(frame.planes, frame.format))[None] / 127.5 - 1


def chosen(pictures: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """ANCHORS times (picture, centres (1, NEAREST, 2)) spread over the pictures, passing over what shows nothing.

    Args:
        pictures: what is searched, and what is given back.
    """
    found: list[tuple[Tensor, Tensor]] = []
    number = 0
    while len(found) < ANCHORS and number < 20 * ANCHORS:
        searched, given = pictures[number % len(pictures)]
        anchors = SAMPLER.anchors(searched, 1, Chance([number]))
        centres = SAMPLER.nonlocal_(searched, NEAREST, anchors)[:, 0]
        if SAMPLER.cut(searched, centres[:, :1]).var() > FLAT:
            found.append((given, centres))
        number += 1
    return found


def embedded(method: NLCL, rainy: list[Tensor]) -> list[list[list[Tensor]]]:
    """For each level: vectors (NEAREST, D) of backgrounds and of rain layers, by the method's own heads."""
    taps = tuple(n for n in method.config.features.disc_layers if n != "image")
    levels: list[list[list[Tensor]]] = [[[], []] for _ in taps]
    with torch.inference_mode():
        for side, (network, head) in enumerate(((method.background, "back"), (method.rain, "rain"))):
            made = [network(picture) for picture in rainy]
            judged = [method.discriminator.features(each, taps) for each in made]
            for (picture, features), centres in _with_centres(made, judged):
                read_at = [read_features(level, centres, picture.shape[2:]) for level in features]
                for level, vectors in enumerate(method.heads[head](read_at)):
                    levels[level][side].append(vectors[0])
    return levels


def _with_centres(made: list[Tensor], judged: list[list[Tensor]]) -> list[tuple[tuple[Tensor, list[Tensor]], Tensor]]:
    found = []
    for number in range(ANCHORS):
        index = number % len(made)
        anchors = SAMPLER.anchors(made[index], 1, Chance([number]))
        found.append(((made[index], judged[index]), SAMPLER.nonlocal_(made[index], NEAREST, anchors)[:, 0]))
    return found


def trained(run: Path) -> NLCL:
    """The method of a training with the weights of its newest state."""
    settings = json.loads((run / "config.json").read_text())
    noise = [Clip("none", np.zeros((1, 256, 256, 3), np.uint8))]
    for name in ("nlcl_asym", "nlcl"):
        kind = method_class(name)
        try:
            method: NLCL = kind(configured(kind.config_type, settings), noise, noise)
            break
        except ValueError:
            continue
    snapshot = load_newest(run, print)
    assert snapshot is not None, f"{run} has no state"
    weights = {n.removeprefix("networks."): v for n, v in snapshot.tensors.items() if n.startswith("networks.")}
    method.networks.load_state_dict(weights)
    return method


def report(name: str, sides: list[list[Tensor]]) -> None:
    """Print the mean of both estimates for image and rain."""
    twonn_means = [float(np.nanmean([twonn(vectors) for vectors in side])) for side in sides]
    component_means = [float(np.nanmean([components(vectors) for vectors in side])) for side in sides]
    row = [*(f"{value:.2f}" for value in twonn_means), *(f"{value:.1f}" for value in component_means)]
    print(f"| {name} | {' | '.join(row)} |", flush=True)


def twonn(vectors: Tensor) -> float:
    """Maximum-likelihood TwoNN: N over the sum of log ratios of second to first nearest distance.

    Args:
        vectors: (N, D); equal ones count once.

    Returns:
        The dimension; nan where fewer than three differ.
    """
    distances = torch.cdist(vectors.double().unique(dim=0), vectors.double().unique(dim=0))
    if len(distances) < 3:
        return float("nan")
    nearest = distances.sort(dim=1).values[:, 1:3]
    ratios = (nearest[:, 1] / nearest[:, 0].clamp(min=1e-12)).log()
    return len(ratios) / max(float(ratios.sum()), 1e-12)


def components(vectors: Tensor) -> float:
    """How many principal components hold 95 % of the variance; nan where there is none."""
    values = torch.linalg.svdvals(vectors.double() - vectors.double().mean(0)).square()
    if values.sum() < 1e-12:
        return float("nan")
    share = values.cumsum(0) / values.sum()
    return float((share < 0.95).sum() + 1)


if __name__ == "__main__":
    main()
