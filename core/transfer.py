"""HDR signals on an SDR-like curve: for the network's eyes only, channel by channel, never written to an output."""
from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

Transfer = Literal["sdr", "pq", "hlg"]

_WHITE_NITS = 203.0  # a sheet of white paper in HDR, ITU-R BT.2408
_KNEE = 0.5  # of white: light below it passes as it is, all above shares the rest of the range
_DISPLAY_GAMMA = 2.4  # ITU-R BT.1886
_MOST_GAIN = 4.0  # rain in a flattened highlight must not come back as a hole


def to_sdr(signal: np.ndarray, transfer: Transfer) -> np.ndarray:
    """What an SDR-like picture would show for an HDR signal.

    Args:
        signal: any shape, float, 0..1 of full range.
        transfer: the curve of the signal; "sdr" leaves it as it is.

    Returns:
        Same shape, float64, 0..1, strictly rising with the signal.
    """
    if transfer == "sdr":
        return np.asarray(signal, np.float64)
    light = (_pq_nits(signal) if transfer == "pq" else _hlg_nits(signal)) / _WHITE_NITS
    over = np.maximum(light - _KNEE, 0.0)
    return (np.minimum(light, _KNEE) + over / (1.0 + over / (1.0 - _KNEE))) ** (1.0 / _DISPLAY_GAMMA)


def from_sdr(shown: np.ndarray, transfer: Transfer) -> np.ndarray:
    """The HDR signal (float64, 0..1) that to_sdr shows as the given value (float, 0..1)."""
    if transfer == "sdr":
        return np.asarray(shown, np.float64)
    signal, curve, _ = _sampled(transfer)
    return np.interp(shown, curve, signal)


def signal_per_shown(signal: np.ndarray, transfer: Transfer) -> np.ndarray:
    """How far the signal moves (float64) for a small move of what to_sdr shows: 1 / slope at signal, at most 4."""
    grid, _, gain = _sampled(transfer)
    return np.interp(signal, grid, gain)


def _pq_nits(signal: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, equation 4.1: cd/m2 of a PQ signal."""
    power = np.asarray(signal, np.float64) ** (32.0 / 2523.0)
    ratio = np.maximum(power - 3424.0 / 4096.0, 0.0) / (2413.0 / 128.0 - 2392.0 / 128.0 * power)
    return 10000.0 * ratio ** (16384.0 / 2610.0)


def _hlg_nits(signal: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100 table 5: inverse OETF, then the system gamma of a 1000 cd/m2 display (here per channel)."""
    signal = np.asarray(signal, np.float64)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3.0, (np.exp((signal - c) / a) + b) / 12.0)
    return 1000.0 * scene**1.2


@lru_cache
def _sampled(transfer: Transfer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    signal = np.linspace(0.0, 1.0, 1 << 14)
    curve = to_sdr(signal, transfer)
    return signal, curve, 1.0 / np.maximum(np.gradient(curve, signal), 1.0 / _MOST_GAIN)
