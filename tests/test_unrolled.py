"""A sequence under the network's own answers."""
import numpy as np
import pytest
import torch
import training
from training import clips

from streamderain.core.stream import StreamConfig, StreamGenerator
from streamderain.trainers.rendered import CASES, RenderedConfig, RenderedRain
from streamderain.trainers.unrolled import moved, unrolled


@pytest.fixture(autouse=True)
def small():
    with training.small():
        yield


def network():
    torch.manual_seed(1)
    model = StreamGenerator(StreamConfig(widths=(6, 6, 6), blocks=(0, 0, 0, 0, 0), recurrent=True)).eval()
    torch.nn.init.normal_(model.tail.weight, std=0.05)
    return model


def sample(case, seed=0, size=64):
    shares = tuple(float(name == case) for name in CASES)
    config = RenderedConfig(
        crop_size=size, frames=4, search_radius=9, compressed=0, noisy=0, sharpened=0, flickering=0, case_shares=shares
    )
    photo = np.random.default_rng(2).integers(0, 255, (40, 40, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    made = RenderedRain([*clips(), training.Clip("photo", photo[None])], config, seed=seed)[0]
    assert bool((made["tones"] == torch.arange(256)).all())
    return made


def test_pictures_are_gathered_pixel_by_pixel():
    pictures, source = torch.rand(2, 3, 4, 5), torch.randint(0, 20, (2, 4, 5))
    found = moved(pictures, source)
    for b in range(2):
        for y in range(4):
            for x in range(5):
                from_y, from_x = divmod(int(source[b, y, x]), 5)
                assert torch.equal(found[b, :, y, x], pictures[b, :, from_y, from_x])


def test_the_first_companion_is_the_derained_frame_before_with_its_doubt():
    made, model = sample("live"), network()
    with torch.no_grad():
        seen, rain = unrolled(model, made["input"][None], made["before"][None], made["tones"][None])
    assert torch.equal(seen[0, 0], made["input"][0])
    assert (seen[0, 0, 11] == 1).all() and rain[0, :, 3].std() > 0.01
    for t in range(1, 4):
        derained = (made["input"][t - 1, :3] - rain[0, t - 1, :3]).clamp(0, 1)
        left = torch.cat([derained, rain[0, t - 1, 3:].clamp(0, 1)])
        shown = left.flatten(1)[:, made["before"][t].flatten()].view(4, 64, 64)
        assert torch.allclose(seen[0, t, 3:6], shown[:3] - made["input"][t, :3], atol=1e-6)
        assert torch.equal(seen[0, t, 11], shown[3])
        assert torch.equal(seen[0, t, 6:11], made["input"][t, 6:11])
        assert torch.equal(seen[0, t, :3], made["input"][t, :3])


def test_photos_are_seen_as_they_are():
    made, model = sample("photo"), network()
    with torch.no_grad():
        seen, rain = unrolled(model, made["input"][None], made["before"][None], made["tones"][None])
        assert torch.equal(seen[0], made["input"])
        torch.testing.assert_close(rain[0], model(made["input"]), rtol=1e-4, atol=1e-5)


def test_the_gradient_reaches_back_through_the_frames():
    made = sample("live")
    inputs = made["input"][None].clone().requires_grad_()
    unrolled(network(), inputs, made["before"][None], made["tones"][None])[1][0, -1].square().mean().backward()
    assert all(bool(inputs.grad[0, t].any()) for t in range(4))
    assert not inputs.grad[0, 2, 3:6].any()  # what was there before it was replaced counts for nothing


def test_the_frame_before_is_seen_in_the_light_of_the_frame():
    made, model = sample("live"), network()
    made["tones"][2] = torch.arange(256).sub(9).clamp(0).to(torch.uint8)  # nine codes darker
    with torch.no_grad():
        seen, rain = unrolled(model, made["input"][None], made["before"][None], made["tones"][None])
    derained = (made["input"][1, :3] - rain[0, 1, :3]).clamp(0, 1)
    shown = derained.flatten(1)[:, made["before"][2].flatten()].view(3, 64, 64)
    darker = seen[0, 2, 3:6] + made["input"][2, :3]
    bright = shown > 10 / 255
    assert bright.float().mean() > 0.9
    torch.testing.assert_close(darker[bright], shown[bright] - 9 / 255, rtol=0, atol=1e-6)
