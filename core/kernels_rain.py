"""Numba kernels of rendered rain, for the CPU, as kernels.py says of its own."""
import numpy as np
from numba import njit


@njit(cache=True)
def draw_streaks(streaks, layer):
    """Add streaks to layer (H, W) float32.

    streaks (N, 13) float32: centre y and x, length, slope (x per y), sigma across, amplitude, softness of the ends,
    all in pixels but slope and amplitude; then what the drop's oscillation does to it: turns along the length, phase
    in radians, beads (how dark it is between them, 0..1), sway (deviation from the axis, in sigmas), hollow (how
    dark the middle is between two bright edges, 0..1), lean (natural logarithm of the upper end's light over the
    lower end's). Without these a streak is a segment with a Gaussian cross-section.
    """
    height, width = layer.shape
    for n in range(streaks.shape[0]):
        centre_y, centre_x, length, slope, sigma, amplitude, soft = streaks[n, :7]
        turns, phase, beads, sway, hollow, lean = streaks[n, 7:]
        cosine = 1.0 / np.sqrt(1.0 + slope * slope)  # of the angle to the vertical
        half = 0.5 * length * cosine
        reach = 3.0 * sigma / cosine
        for y in range(max(int(centre_y - half - soft), 0), min(int(centre_y + half + soft) + 2, height)):
            beyond = abs(y - centre_y) - half
            fade = min(max(0.5 - beyond / (soft + 1e-3), 0.0), 1.0)
            angle = phase + np.pi * turns * (y - centre_y) / half
            light = amplitude * fade * _oscillation(angle, beads) * _leaning((y - centre_y) / half, lean)
            axis = centre_x + (y - centre_y) * slope + sway * sigma * np.sin(angle)
            for x in range(max(int(axis - reach), 0), min(int(axis + reach) + 2, width)):
                across = (x - axis) * cosine / sigma
                edge = np.exp(-0.5 * across * across)
                layer[y, x] += light * edge * (1.0 - hollow * edge**4)


@njit(cache=True)
def _oscillation(angle, beads):
    """Short bright beads: the square of a raised cosine."""
    raised = 0.5 + 0.5 * np.cos(angle)
    return 1.0 - beads * (1.0 - raised**2)


@njit(cache=True)
def _leaning(along, lean):
    """1 at the brighter end; along is -1 at the top and 1 at the bottom."""
    down = min(max(0.5 + 0.5 * along, 0.0), 1.0)
    return np.exp(-lean * down if lean > 0.0 else lean * (1.0 - down))
