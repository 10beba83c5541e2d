"""Look at derainers on real rain, where no truth is known: colour kept, rain left, pictures side by side.

    python benchmarks/real_rain.py --rainy DIR --out DIR [--reference DIR] MODEL...

For every picture and model a few figures, means over the pictures, in grey levels of 0..255:
"shift" is how far the picture's colour moved where no rain is: the median over pixels of input minus output, the
channel where that is largest; rain is sparse, so a median passes over it. "change" is the mean of input minus output,
the rain included. "rain left" is how much of the input's rain the shipped realtime network, which none of the models
has seen, still finds in the output, as a share of the mean absolute layer. "as the reference" is how much of the fine
detail that the reference took away the output took as well, its projection onto it: the reference is no truth, and
lost noise and texture too, but who leaves all rain is at 0 %. DIR/index.html shows input, the reference's pictures of
the same names (the published outputs) and every model's output and what it took away, times four.
"""
from __future__ import annotations

import argparse
import html
from pathlib import Path

import cv2
import numpy as np

from streamderain import photos
from streamderain.core import colour
from streamderain.derainer import Derainer
from streamderain.outputs import write_whole
from streamderain.pairs import list_pictures, pair_pictures

JUDGE = "realtime"
FINE = 6.0  # pixels, the deviation of a Gaussian


def main() -> None:
    """Print the table and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rainy", type=Path, required=True)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    paths = list_pictures(given.rainy)
    inputs = {path.stem: read(path) for path in paths}
    columns: dict[str, dict[str, np.ndarray]] = {}
    published: dict[str, np.ndarray] = {}
    if given.reference:
        pairs = pair_pictures(given.rainy, given.reference)
        columns["published"] = published = {rainy.stem: read(output) for rainy, output in pairs}
    for model in given.models:
        columns[f"{model.parent.name}/{model.stem}"] = derained(Derainer(model=model, device="cpu"), inputs)
    judge = Derainer(profile=JUDGE, device="cpu", precision="bf16")
    before = {name: layer(judge, picture) for name, picture in inputs.items()}
    heads = ["output", "shift, mean", "shift, worst", "change", "rain left", *["as the reference"] * bool(published)]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name, outputs in columns.items():
        rows = np.array([figures(judge, inputs[stem], outputs[stem], before[stem]) for stem in inputs])
        alike = [alikeness(inputs[stem], outputs[stem], published[stem]) for stem in published]
        more = f" {100 * np.mean(alike):.0f} % |" if alike else ""
        print(f"| {name} | {rows[:, 0].mean():.2f} | {rows[:, 0].max():.2f} | {rows[:, 1].mean():+.2f} "
              f"| {100 * rows[:, 2].mean():.0f} % |{more}", flush=True)  # fmt: skip
    write_page(given.out, inputs, columns)


def read(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    frame = photos.read(path)
    return np.ascontiguousarray(colour.to_rgb(frame.planes, frame.format).transpose(1, 2, 0))


def derained(derainer: Derainer, pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each picture as a stream of one frame."""
    outputs = {}
    for name, picture in pictures.items():
        derainer.reset()
        outputs[name] = derainer(picture)
    return outputs


def layer(judge: Derainer, picture: np.ndarray) -> float:
    """Mean absolute rain that the judge finds, grey levels."""
    judge.reset()
    return float(np.abs(picture.astype(float) - judge(picture)).mean())


def figures(judge: Derainer, before: np.ndarray, after: np.ndarray, rain: float) -> tuple[float, float, float]:
    """(shift, change, rain left) of one picture."""
    taken = before.astype(float) - after
    shift = float(np.abs(np.median(taken.reshape(-1, 3), axis=0)).max())
    return shift, float(taken.mean()), layer(judge, after) / max(rain, 1e-9)


def alikeness(before: np.ndarray, after: np.ndarray, reference: np.ndarray) -> float:
    """How much of what the reference took away was taken, in detail finer than FINE pixels."""
    taken, wanted = (fine(before.astype(np.float32) - each).ravel() for each in (after, reference))
    return float(taken @ wanted / (wanted @ wanted))


def fine(taken: np.ndarray) -> np.ndarray:
    """(H, W) float32: the mean of the channels less its surroundings."""
    grey = taken.mean(axis=2)
    return grey - cv2.GaussianBlur(grey, (0, 0), FINE)


def write_page(out: Path, inputs: dict[str, np.ndarray], columns: dict[str, dict[str, np.ndarray]]) -> None:
    """The pictures as PNG and a page that lays them side by side."""
    rows = []
    for stem, picture in inputs.items():
        cells = [("input", picture)]
        for name, outputs in columns.items():
            taken = np.clip(128 + 4 * (picture.astype(np.int16) - outputs[stem]), 0, 255).astype(np.uint8)
            cells += [(name, outputs[stem]), (f"{name}, taken away x4", taken)]
        shown = []
        for number, (title, cell) in enumerate(cells):
            file = f"{stem}-{number}.png"
            _, packed = cv2.imencode(".png", cv2.cvtColor(cell, cv2.COLOR_RGB2BGR))
            write_whole(out / file, packed.tobytes())
            caption = f"<figcaption>{html.escape(title)}</figcaption>"
            shown.append(f'<figure><img src="{html.escape(file)}" loading="lazy">{caption}</figure>')
        rows.append(f"<section>{''.join(shown)}</section>")
    style = "section{display:flex;gap:8px;overflow-x:auto}figure{margin:0}img{width:512px}body{font-family:sans-serif}"
    page = f"<!doctype html><meta charset=utf-8><title>Real rain</title><style>{style}</style>{''.join(rows)}"
    write_whole(out / "index.html", page.encode())


if __name__ == "__main__":
    main()
