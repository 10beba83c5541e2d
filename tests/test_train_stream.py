"""The training behind the shipped weights: what its loss counts, and what it may start from."""
from dataclasses import replace

import pytest
import torch
import training
from training import a_method, clips, run

from streamderain import Derainer
from streamderain.core.checkpoint import CheckpointError, digest, load_tensors, save_generator
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.core.stream import PROFILES, StreamConfig, StreamGenerator
from streamderain.trainers import stream
from streamderain.trainers.loop import BEST, LAST
from streamderain.trainers.rendered import RenderedConfig
from streamderain.trainers.stream import StreamTraining, StreamTrainingConfig


@pytest.fixture(autouse=True)
def small():
    with training.small():
        yield


def a_training(start="", profile="tiny", teacher="", **loss):
    config = StreamTrainingConfig()
    return StreamTraining(
        replace(
            config, data=RenderedConfig(crop_size=32, search_radius=5), loss=replace(config.loss, **loss),
            network=replace(config.network, profile=profile, start=str(start), teacher=str(teacher)),
        ),
        [], clips(),
    )  # fmt: skip


def a_still(inputs, rain):
    """A batch in which no frame has a known one before it."""
    before, tones = torch.full((*inputs.shape[:2], *inputs.shape[3:]), -1), torch.arange(256, dtype=torch.uint8)
    return {"input": inputs, "rain": rain, "before": before, "tones": tones.expand(*inputs.shape[:2], 3, -1)}


def terms_of(method, answers, batch, step=400):
    """The loss of answers that aim at the truth alone."""
    return method.generator_loss((answers, batch["rain"], step), batch)


def sure(rain):
    """Answers (B, T, 4, H, W) without a doubt."""
    return torch.cat([rain, torch.zeros_like(rain[:, :, :1])], 2)


def a_start(folder, config):
    torch.manual_seed(5)
    network = StreamGenerator(config)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    save_generator(folder / "start.safetensors", network, profile="tiny", card={})
    return folder / "start.safetensors", network


def test_loss_terms_match_a_hand_count():
    # one pixel of one channel is off by 0.2: 1 value of 3 x 32 x 32, and two differences of it in each direction
    batch = a_still(torch.full((1, 1, 12, 32, 32), 0.5), torch.zeros(1, 1, 3, 32, 32))
    estimate = torch.zeros(1, 1, 4, 32, 32)
    estimate[0, 0, 1, 16, 16] = 0.2
    terms = terms_of(a_training(squared=6.0, edges=0.25, ssim=0.3), estimate, batch)
    values, differences = 3 * 32 * 32, 3 * 31 * 32
    assert terms["charbonnier"].item() == pytest.approx((0.2 + (values - 1) * 1e-3) / values, rel=1e-3)
    assert terms["squared"].item() == pytest.approx(6 * 0.04 / values, rel=1e-5)
    assert terms["edges"].item() == pytest.approx(0.25 * 2 * 0.4 / differences, rel=1e-5)
    assert 0 < terms["ssim"].item() < 0.3
    assert terms["steady"].item() == 0


def test_an_error_that_stays_is_steady_and_one_that_moves_with_the_scene_too():
    # of the second frame every pixel shows the one to its left in the first, but the first column, which has no place
    before = torch.full((1, 2, 32, 32), -1)
    before[0, 1, :, 1:] = torch.arange(32)[:, None] * 32 + torch.arange(31)
    batch = {**a_still(torch.rand(1, 2, 12, 32, 32), torch.zeros(1, 2, 3, 32, 32)), "before": before}
    estimate = torch.zeros(1, 2, 4, 32, 32)
    estimate[0, 0, 1, 16, 16] = estimate[0, 1, 1, 16, 17] = 0.2
    at = a_training(steady=0.5)
    assert terms_of(at, estimate, batch)["steady"].item() == 0
    estimate[0, 1, 2, 3, 0] = 0.3  # where nothing is known
    assert terms_of(at, estimate, batch)["steady"].item() == 0
    estimate[0, 1, 2, 3, 4] = 0.3
    expected = 0.5 * 0.3 / (3 * 32 * 32)
    assert terms_of(at, estimate, batch)["steady"].item() == pytest.approx(expected, rel=1e-5)


def test_a_doubt_is_as_large_as_the_root_of_the_error():
    batch = a_still(torch.rand(1, 1, 12, 32, 32), torch.zeros(1, 1, 3, 32, 32))
    answers = torch.zeros(1, 1, 4, 32, 32, requires_grad=True)
    at, level = a_training(doubt=0.5), 1 / 255
    with torch.no_grad():
        answers[0, 0, :3, 5, 6] = torch.tensor([4.0, 10, -10]) * level  # a mean of 8 of the 32 that are full doubt
        answers[0, 0, 3, 5, 6] = 0.5
        answers[0, 0, :3, 7, 8] = 70 * level
        answers[0, 0, 3, 9, 9] = -0.2
    (term := terms_of(at, answers, batch)["doubt"]).backward()
    assert term.item() == pytest.approx(0.5 * (1 + 0.04) / 32**2, rel=1e-5)
    assert not answers.grad[:, :, :3].any()  # a doubt is no excuse: the layer does not go after it


def test_ssim_looks_at_the_luma_of_what_is_left():
    torch.manual_seed(0)
    batch = a_still(torch.rand(2, 1, 12, 32, 32), torch.rand(2, 1, 3, 32, 32) / 4)
    at = a_training(ssim=1.0)
    assert terms_of(at, sure(batch["rain"]), batch)["ssim"].item() == pytest.approx(0, abs=1e-6)
    weights = torch.tensor([0.299, 0.587, 0.114])
    luma = [torch.einsum("bchw,c->bhw", x[:, 0, :3], weights)[:, None] for x in (batch["input"], batch["rain"])]
    expected = at.ssim(luma[0], luma[0] - luma[1])
    found = terms_of(at, sure(torch.zeros_like(batch["rain"])), batch)["ssim"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_first_steps_are_squared_alone():
    batch = a_still(torch.zeros(1, 1, 12, 32, 32), torch.full((1, 1, 3, 32, 32), 0.1))
    terms = terms_of(a_training(squared_steps=3), torch.zeros(1, 1, 4, 32, 32), batch, step=2)
    assert {name: round(term.item(), 6) for name, term in terms.items()} == {"squared": 0.1}


def test_a_start_is_taken_over_and_named_by_its_digest(tmp_path):
    path, network = a_start(tmp_path, training.SMALL)
    begun = a_training(path)
    seen = torch.rand(1, 12, 32, 32)
    torch.testing.assert_close(begun.exported(seen), network(seen), rtol=1e-4, atol=1e-6)
    begun.save(tmp_path / "out.safetensors", begun.exported, {"steps": 1, "config": {"network.start": str(path)}})
    _, metadata = load_tensors(tmp_path / "out.safetensors")
    assert metadata["card"] == {
        "method": "stream", "steps": 1, "start_sha256": digest(path), "config": {"network.start": "start.safetensors"},
    }  # fmt: skip


def test_a_smaller_start_grows(tmp_path, monkeypatch):
    monkeypatch.setitem(PROFILES, "realtime", StreamConfig(widths=(6, 5, 8), blocks=(1, 0, 1, 0, 2)))
    path, network = a_start(tmp_path, training.SMALL)
    seen = torch.rand(1, 12, 32, 32)
    torch.testing.assert_close(a_training(path, "realtime").exported(seen), network(seen), rtol=1e-4, atol=1e-5)


def test_a_teacher_says_a_part_of_what_is_aimed_at(tmp_path):
    path, teacher = a_start(tmp_path, training.SMALL)
    rain = torch.rand(1, 2, 3, 32, 32) / 4
    batch = a_still(torch.rand(1, 2, 12, 32, 32), rain)
    method = a_training(teacher=path, taught=0.25)
    answers, aim, _ = method.forward(batch, 400)
    with torch.no_grad():
        said = torch.stack([teacher(x)[:, :3] for x in batch["input"].unbind(1)], 1)  # no frame knows one before it
    torch.testing.assert_close(aim, 0.75 * rain + 0.25 * said, rtol=1e-4, atol=1e-6)
    assert terms_of(method, sure(rain), batch)["squared"].item() == 0
    terms = method.generator_loss((sure(rain), aim, 400), batch)
    expected = method.config.loss.squared * (0.25 * (said - rain)).square().mean()
    assert terms["squared"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert terms["doubt"].item() == terms["steady"].item() == 0  # both are about the truth
    assert answers.requires_grad
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    assert len(list(method.networks.parameters())) == len(list(a_training().networks.parameters()))


def test_a_teacher_is_named_by_its_digest(tmp_path):
    path, _ = a_start(tmp_path, training.SMALL)
    method = a_training(teacher=path)
    method.save(tmp_path / "out.safetensors", method.exported, {"config": {"network.teacher": str(path)}})
    card = load_tensors(tmp_path / "out.safetensors")[1]["card"]
    assert card == {
        "method": "stream", "teacher_sha256": digest(path), "config": {"network.teacher": "start.safetensors"},
    }  # fmt: skip


def test_a_start_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors is not a file"):
        a_training(tmp_path / "nothing.safetensors")
    other = tmp_path / "nlcl.safetensors"
    published = SingleFrameDerainer(ResidualGenerator(4, 0), low=-1, output="rain")
    save_generator(other, published, profile="nlcl", card={})
    with pytest.raises(ValueError, match=r"nlcl\.safetensors is no stream generator"):
        a_training(other)


def test_large_weights_are_stored_in_half(tmp_path, monkeypatch):
    monkeypatch.setitem(PROFILES, "quality", training.SMALL)
    for profile, kept in (("tiny", torch.float32), ("quality", torch.float16)):
        made = a_training(profile=profile)
        made.save(tmp_path / "out.safetensors", made.exported, {})
        assert {tensor.dtype for tensor in load_tensors(tmp_path / "out.safetensors")[0].values()} == {kept}


def test_the_halved_profile_is_the_one_that_needs_it():
    counts = {name: sum(p.numel() for p in StreamGenerator(config).parameters()) for name, config in PROFILES.items()}
    assert [name for name, count in counts.items() if 4 * count > 10e6] == list(stream.HALVED)


def test_validation_never_sees_training_clips(tmp_path):
    method = a_method("stream", tmp_path)
    apart = {clip.name for clip in method.validation.photos + method.validation.videos}
    seen = {clip.name for clip in method.samples.photos + method.samples.videos}
    assert apart == {"clip 0", "clip 10"}
    assert seen == {clip.name for clip in clips()} - apart


def test_losses_of_a_network_that_sees_no_rain(tmp_path):
    method = a_method("stream", tmp_path, **{"loss.squared_steps": 5, "loss.edges": 0.5})
    rain = torch.rand(2, 2, 3, 16, 16)
    batch = {"input": torch.rand(2, 2, 12, 16, 16), "rain": rain, "before": torch.full((2, 2, 16, 16), -1)}
    batch["tones"] = torch.arange(256, dtype=torch.uint8).expand(2, 2, 3, -1)
    early, late = (method.generator_loss(method.forward(batch, step), batch) for step in (4, 5))
    assert early.keys() == {"squared"}
    assert early["squared"].item() == pytest.approx(10 * rain.square().mean().item())
    assert late["charbonnier"].item() == pytest.approx((rain.square() + 1e-6).sqrt().mean().item())
    slopes = (rain[..., 1:, :] - rain[..., :-1, :]).abs().mean() + (rain[..., 1:] - rain[..., :-1]).abs().mean()
    assert late["edges"].item() == pytest.approx(0.5 * slopes.item(), rel=1e-5)


def test_score_is_the_psnr_of_the_background(tmp_path):
    method = a_method("stream", tmp_path)
    rains, before = (torch.full((2, 3, 16, 16), 0.1), torch.zeros(2, 3, 16, 16)), torch.full((2, 16, 16), -1)
    known = {"before": before, "tones": torch.arange(256, dtype=torch.uint8).expand(2, 3, -1)}
    method._kept = [{"input": torch.rand(2, 12, 16, 16), "rain": rain, **known} for rain in rains]
    found = method.scores(method.networks)
    assert found == {"score": pytest.approx(40, abs=1e-4), "input": pytest.approx(40, abs=1e-4)}  # 60 is the most


def test_unknown_profile(tmp_path):
    with pytest.raises(ValueError, match=r"network\.profile is 'huge'; it must be tiny or realtime or quality"):
        a_method("stream", tmp_path, **{"network.profile": "huge"})


def test_a_saved_file_derains(tmp_path):
    run(a_method("stream", tmp_path), tmp_path / "out")
    picture = clips()[0].frames[0]
    for kept in (BEST, LAST):
        assert Derainer(device="cpu", model=tmp_path / "out" / kept)(picture).shape == picture.shape
