"""Measure a training step of NLCL against the published one, and the patch search by itself.

    python benchmarks/training.py [--steps N] [--skip-step]

The published code looks at one window's place after the other in the interpreter and grows a tensor by concatenation;
a step has four such searches, two of them over the 32 channels of the generator's first layer. It also encodes four
pictures a second time, and twice runs the discriminator. Both steps here have the release's settings: 256x256 crops,
batch 1, float32. Random numbers stand in for pictures; they take the same time. Tables go to stdout as Markdown.
"""
from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor

from streamderain.core.chance import Chance
from streamderain.core.patches import PatchSampler, read_features
from streamderain.trainers.clips import Clip
from streamderain.trainers.config import configured
from streamderain.trainers.loop import Batch
from streamderain.trainers.nlcl import NLCL, NLCLConfig

SIDE, HALF, REACH = 256, 8, 20
SEARCHES = (("RGB, 8 nearest", 3, 8), ("RGB, 128 nearest", 3, 128), ("32 channels, 256 nearest", 32, 256))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="of ours; the published step is taken once")
    parser.add_argument("--skip-step", action="store_true", help="the search alone")
    given = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| search | published loop | ours | times |\n|---|---|---|---|")
    total = [0.0, 0.0]
    for name, channels, k in SEARCHES:
        slow, fast = search_seconds(channels, k)
        weight = 2 if channels == 32 else 1  # a step has two searches over 32 channels
        total = [total[0] + weight * slow, total[1] + weight * fast]
        print(f"| {name} | {slow:.2f} s | {fast * 1e3:.2f} ms | {slow / fast:.0f} |", flush=True)
    print(f"| the four of a step | {total[0]:.1f} s | {total[1] * 1e3:.1f} ms | {total[0] / total[1]:.0f} |")
    if given.skip_step:
        return
    print("\n| step | networks and losses | searches | in all | times |\n|---|---|---|---|---|")
    plain = timed(lambda: published_step(a_method()))
    ours = step_seconds(a_method(), given.steps)
    default = step_seconds(a_method(released=False), given.steps)
    whole = plain + total[0]
    print(f"| published | {plain:.1f} s | {total[0]:.1f} s | {whole:.1f} s | 1 |")
    for name, seconds in (("ours, nlcl_released", ours), ("ours, defaults", default)):
        print(f"| {name} | | | {seconds:.2f} s | {whole / seconds:.0f} |")


def search_seconds(channels: int, k: int) -> tuple[float, float]:
    """Seconds of one search by the published loop and by ours, which must choose the same places."""
    picture = torch.rand(1, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(channels))
    sampler = PatchSampler()
    anchors = torch.tensor([[[SIDE // 2, SIDE // 2]]])  # in the middle, where the window is whole
    found: list[list[tuple[int, int]]] = []
    slow = timed(lambda: found.append(published_search(picture, anchors[0, 0], k)))
    fast = median(timed(lambda: sampler.nonlocal_(picture, k, anchors)) for _ in range(20))
    ours = sampler.nonlocal_(picture, k, anchors)[0, 0]
    assert set(map(tuple, ours.tolist())) == set(found[0]), "the searches differ"
    return slow, fast


def published_search(picture: Tensor, anchor: Tensor, k: int) -> list[tuple[int, int]]:
    """The k nearest as the release finds them: one place after the other, a tensor that grows."""
    y, x = anchor.tolist()
    own = picture[:, :, y - HALF : y + HALF, x - HALF : x + HALF]
    places, patches = [], own[:0]
    for row in range(y - REACH, y + REACH):
        for column in range(x - REACH, x + REACH):
            patch = picture[:, :, row - HALF : row + HALF, column - HALF : column + HALF]
            patches = torch.cat((patches, patch))
            places.append((row, column))
    distances = (patches - own).flatten(1).norm(dim=1)
    return [places[index] for index in distances.topk(k, largest=False).indices.tolist()]


def published_step(method: NLCL) -> None:
    """Networks and losses of a step in the release's order, nothing shared, the searches left out."""
    batch = a_batch(0)
    rainy, clean = batch["rainy"], batch["clean"]
    taps, levels = method.config.features.gen_layers, (0, 3, 7, 11)
    background, rain, same = method.background(rainy), method.rain(rainy), method.background(clean)
    method.adversarial.discriminator(method.discriminator(clean), method.discriminator(background.detach())).backward()
    total = method.adversarial.generator(method.discriminator(background))
    total = total + method.consistency(background, rain, rainy) + 0.1 * method.sparsity(rainy - background)
    centres = method.sampler.random(rainy, 256, Chance(batch["seed"]))
    for picture, mapped in ((rainy, background), (clean, same)):
        encoded = [method.background.features(each, taps) for each in (mapped, picture)]
        query, key = (method.heads["loc"]([_at(level, centres) for level in each]) for each in encoded)
        total = total + sum(method.location(q, k) for q, k in zip(query, key, strict=True)) / len(query) / 2
    judged = [method.discriminator.features(each, levels)[:3] for each in (background, rain)]
    judged = [[picture, *each] for picture, each in zip((background, rain), judged, strict=True)]
    image, layer = (
        method.heads[name]([_at(level, centres[:, :k]) for level in each])
        for name, k, each in zip(("back", "rain"), (8, 128), judged, strict=True)
    )
    total = total + sum(method.layer(a, b) for a, b in zip(image, layer, strict=True)) / len(image)
    total.backward()
    for player in method.players:
        for group in player.groups:
            torch.optim.Adam(group.parameters).step()


def step_seconds(method: NLCL, steps: int) -> float:
    """Median seconds of one step of our loop."""
    optimisers = [[torch.optim.Adam(group.parameters) for group in player.groups] for player in method.players]

    def step(number: int) -> None:
        batch = a_batch(number)
        split = method.forward(batch, number)
        for player, own in zip(method.players, optimisers, strict=True):
            torch.stack(list(player.losses(split, batch).values())).sum().backward()
            for optimiser in own:
                optimiser.step()
                optimiser.zero_grad()

    step(0)
    return median(timed(lambda number=number: step(number)) for number in range(1, steps + 1))  # type: ignore[misc]


def a_method(*, released: bool = True) -> NLCL:
    """NLCL as published, or with our defaults, on noise."""
    noise = np.random.default_rng(0).integers(0, 255, (1, SIDE, SIDE, 3), dtype=np.uint8)
    clips = [Clip("noise", noise)]
    return NLCL(configured(NLCLConfig, NLCL.presets["nlcl_released"] if released else {}), clips, clips)


def a_batch(seed: int) -> Batch:
    """One sample of noise."""
    chance = torch.Generator().manual_seed(seed)
    rainy, clean = (torch.rand(1, 3, SIDE, SIDE, generator=chance) * 2 - 1 for _ in range(2))
    return {"rainy": rainy, "clean": clean, "seed": torch.tensor([seed])}


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _at(level: Tensor, centres: Tensor) -> Tensor:
    """Features at centres, as (B, N, C)."""
    return read_features(level, centres, (SIDE, SIDE))


if __name__ == "__main__":
    main()
