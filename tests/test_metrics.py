"""PSNR, SSIM and the warped error against closed forms and plain loops."""
import math

import numpy as np
import pytest

from streamderain.core import metrics


def noise(seed, *shape):
    return np.random.default_rng(seed).uniform(0, 255, shape)


def naive_ssim(a, b):
    """Equation 13 of the SSIM paper, one window after the other."""
    steps = np.arange(11) - 5.0
    window = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            both = (window * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return np.mean(values)


@pytest.mark.parametrize(
    "colour, limited, full",
    [((0, 0, 0), 16, 0), ((255, 255, 255), 235, 255), ((255, 0, 0), 81.481, 76.245), ((0, 0, 255), 40.966, 29.07)],
)
def test_luma_of_known_colours(colour, limited, full):
    rgb = np.array(colour, np.uint8).reshape(3, 1, 1)
    assert metrics.luma(rgb).item() == pytest.approx(limited, abs=1e-9)
    assert metrics.luma(rgb, full_range=True).item() == pytest.approx(full, abs=1e-9)


def test_luma_is_not_rounded():
    rgb = np.full((3, 1, 1), 1, np.uint8)
    assert metrics.luma(rgb).item() == pytest.approx(16 + 219 / 255)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3), (1, 4, 4)])
def test_luma_refuses_other_layouts(shape):
    with pytest.raises(ValueError, match="give \\(3, H, W\\)"):
        metrics.luma(np.zeros(shape))


@pytest.mark.parametrize("difference", [1, 5, 255])
def test_psnr_of_a_constant_difference(difference):
    truth = np.zeros((3, 5, 7), np.uint8)
    picture = truth + np.uint8(difference)
    assert metrics.psnr(picture, truth) == pytest.approx(20 * math.log10(255 / difference))
    assert metrics.psnr(truth, picture) == metrics.psnr(picture, truth)  # uint8 must not wrap around


def test_psnr_of_identical_pictures_is_infinite():
    assert metrics.psnr(noise(0, 3, 8, 8), noise(0, 3, 8, 8)) == math.inf


def test_psnr_averages_the_error_before_the_logarithm():
    truth = np.zeros((1, 2))
    assert metrics.psnr(np.array([[0.0, 2.0]]), truth) == pytest.approx(10 * math.log10(255**2 / 2))


@pytest.mark.parametrize("shape", [(11, 11), (13, 17)])
@pytest.mark.parametrize("seed", range(3))
def test_ssim_matches_naive(seed, shape):
    truth = noise(seed, *shape)
    picture = truth + noise(seed + 100, *shape) / 8
    assert metrics.ssim(picture, truth) == pytest.approx(naive_ssim(picture, truth), abs=1e-10)


def test_ssim_of_flat_pictures_is_the_luminance_term():
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert metrics.ssim(np.full((12, 12), 100.0), np.full((12, 12), 150.0)) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_identical_pictures_is_one():
    assert metrics.ssim(noise(1, 3, 12, 15), noise(1, 3, 12, 15)) == pytest.approx(1, abs=1e-12)


def test_ssim_of_colour_is_the_mean_of_its_channels():
    a, b = noise(2, 3, 12, 13), noise(3, 3, 12, 13)
    assert metrics.ssim(a, b) == pytest.approx(np.mean([metrics.ssim(x, y) for x, y in zip(a, b, strict=True)]))


@pytest.mark.parametrize("shape", [(10, 11), (3, 64, 10)])
def test_ssim_refuses_pictures_smaller_than_its_window(shape):
    with pytest.raises(ValueError, match="SSIM needs 11 pixels"):
        metrics.ssim(np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_metrics_refuse_two_shapes(metric):
    with pytest.raises(ValueError, match="two of one shape"):
        metric(np.zeros((12, 12)), np.zeros((12, 13)))


@pytest.mark.parametrize("dx, dy", [(0, 0), (2, 0), (0, -3), (1, 2)])
def test_warp_by_whole_pixels_is_a_shift(dx, dy):
    picture = noise(4, 3, 12, 14)
    flow = np.broadcast_to(np.float32([dx, dy]), (12, 14, 2))
    ys, xs = np.clip(np.arange(12) + dy, 0, 11), np.clip(np.arange(14) + dx, 0, 13)
    np.testing.assert_allclose(metrics.warp(picture, flow), picture[:, ys][:, :, xs], atol=1e-9)


def test_warp_by_half_a_pixel_averages_two():
    picture = np.array([[0.0, 10.0, 30.0]])
    flow = np.zeros((1, 3, 2))
    flow[..., 0] = 0.5
    np.testing.assert_allclose(metrics.warp(picture, flow), [[5, 20, 30]])


def test_warp_refuses_a_flow_of_another_size():
    with pytest.raises(ValueError, match="flow is"):
        metrics.warp(np.zeros((3, 4)), np.zeros((4, 3, 2)))


def test_warped_error_follows_the_motion():
    previous = noise(5, 3, 12, 20)
    current = np.roll(previous, 3, axis=-1) + 4  # the scene moves 3 right and brightens by 4
    flow = np.broadcast_to(np.float32([-3, 0]), (12, 20, 2))
    seen = np.ones((12, 20), bool)
    seen[:, :3] = False  # entered at the left
    assert metrics.warped_error(previous, current, flow, seen) == pytest.approx(4)
    assert metrics.warped_error(previous, current, np.zeros((12, 20, 2)), seen) > 40


def test_warped_error_of_nothing_seen_is_nan():
    picture = noise(6, 4, 4)
    assert math.isnan(metrics.warped_error(picture, picture, np.zeros((4, 4, 2)), np.zeros((4, 4), bool)))


def test_visible_drops_pixels_that_leave_and_that_do_not_return():
    flow = np.zeros((6, 8, 2), np.float32)
    flow[..., 0] = 2
    returning = -flow
    returning[:, 5] = 0  # what is at 3 goes to 5 and does not come back
    seen = metrics.visible(flow, returning)
    assert seen[:, [0, 1, 2, 4, 5]].all()
    assert not seen[:, [3, 6, 7]].any()
