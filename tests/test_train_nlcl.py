"""NLCL and its asymmetric sister: each term equals one computed apart, every way to sample runs, and what it saves."""
import pytest
import torch
import training
from torch.nn import functional
from training import a_batch, a_method, clips, run

from streamderain import Derainer
from streamderain.core.chance import Chance
from streamderain.core.checkpoint import load_generator
from streamderain.core.contrast import AsymmetricContrastiveLoss, LayerContrastiveLoss, unit
from streamderain.core.patches import read_features
from streamderain.trainers.loop import BEST, LAST
from streamderain.trainers.nlcl import PRESETS

TERMS = {"adversarial", "location", "layer", "consistency", "sparsity"}


@pytest.fixture(autouse=True)
def small():
    with training.small():
        yield


def started(method, **options):
    """A batch and what the method makes of it."""
    batch = a_batch(method, **options)
    return batch, method.forward(batch, 0)


@pytest.mark.parametrize("name", ["nlcl", "nlcl_asym"])
def test_what_forward_gives(tmp_path, name):
    method = a_method(name, tmp_path)
    batch, split = started(method)
    assert torch.equal(split.rainy, batch["rainy"])
    assert split.background.shape == split.rain.shape == (2, 3, 32, 32)
    assert split.background.dtype == split.rain.dtype == torch.float32
    assert torch.equal(split.pictures, torch.cat((batch["rainy"], batch["clean"])))
    assert torch.equal(split.mapped[:2], split.background)
    for key, tap in zip(split.keys, method.background.features(split.pictures, (0, 1)), strict=True):
        assert not key.requires_grad
        assert torch.allclose(key, tap, atol=1e-5)  # another memory format, so other roundings
    assert torch.allclose(split.rain, method.rain(batch["rainy"]), atol=1e-5)


@pytest.mark.parametrize("name", ["nlcl", "nlcl_asym"])
def test_names_and_types_of_the_terms(tmp_path, name):
    method = a_method(name, tmp_path)
    batch, split = started(method)
    judged, made = method.discriminator_loss(split, batch), method.generator_loss(split, batch)
    assert (judged.keys(), made.keys()) == ({"discriminator"}, TERMS)
    for term in (*judged.values(), *made.values(), *method.watched(split).values()):
        assert term.shape == () and term.dtype == torch.float32 and torch.isfinite(term)
    assert all(term >= 0 for term in made.values())


def test_plain_terms_by_hand(tmp_path):
    changes = {"loss.adv": 3.0, "loss.consistency": 5.0, "loss.sparsity": 7.0}
    method = a_method("nlcl", tmp_path, **changes)
    batch, split = started(method)
    made = method.generator_loss(split, batch)
    logits = method.discriminator(split.background)
    assert made["adversarial"].item() == pytest.approx(3 * (logits - 1).square().mean().item(), rel=1e-4)
    missing = split.background + split.rain - batch["rainy"]
    assert made["consistency"].item() == pytest.approx(5 * missing.square().mean().item(), rel=1e-5)
    assert made["sparsity"].item() == pytest.approx(7 * split.rain.abs().mean().item(), rel=1e-5)
    real, fake = method.discriminator(batch["clean"]), method.discriminator(split.background)
    expected = 0.5 * ((real - 1).square().mean() + fake.square().mean())
    assert method.discriminator_loss(split, batch)["discriminator"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_sparsity_may_be_on_the_residual(tmp_path):
    method = a_method("nlcl", tmp_path, **{"loss.sparsity_on": "residual", "loss.sparsity": 1.0})
    batch, split = started(method)
    expected = (batch["rainy"] - split.background).abs().mean()
    assert method.generator_loss(split, batch)["sparsity"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("sparsity_on, reached, spared", [("rain", "rain", "background"),
                                                          ("residual", "background", "rain")])
def test_whom_sparsity_reaches(tmp_path, sparsity_on, reached, spared):
    method = a_method("nlcl", tmp_path, **{"loss.sparsity_on": sparsity_on})
    batch, split = started(method)
    method.generator_loss(split, batch)["sparsity"].backward()
    assert all(p.grad is not None for p in getattr(method, reached).parameters())
    assert all(p.grad is None for p in getattr(method, spared).parameters())


def test_the_terms_are_weighted(tmp_path):
    weights = {"adv": 2.0, "location": 3.0, "layer": 4.0, "consistency": 5.0, "sparsity": 6.0}
    ones = {f"loss.{name}": 1.0 for name in weights}
    heavier = {f"loss.{name}": weight for name, weight in weights.items()}
    plain, heavy = a_method("nlcl", tmp_path, **ones), a_method("nlcl", tmp_path, **heavier)
    made, weighted = (method.generator_loss(*reversed(started(method))) for method in (plain, heavy))
    for name, weight in zip(("adversarial", *list(weights)[1:]), weights.values(), strict=True):
        assert weighted[name].item() == pytest.approx(weight * made[name].item(), rel=1e-5)


def test_random_location_contrast_by_hand(tmp_path):
    method = a_method("nlcl", tmp_path, **{"sampler.loc_sampling": "random"})
    batch, split = started(method)
    expected = []
    chance = Chance(batch["seed"])
    centres = torch.cat([method.sampler.random(part, 8, chance) for part in (batch["rainy"], batch["clean"])])
    taps = method.background.features(split.mapped, (0, 1))
    for level, (tap, key) in enumerate(zip(taps, split.keys, strict=True)):
        embed = method.heads["loc"].levels[level]
        for n in range(4):
            q, k = (unit(embed(each[n][:, centres[n, :, 0], centres[n, :, 1]].T))
                    for each in (tap, key))  # fmt: skip
            expected.append(functional.cross_entropy(q @ k.T / 0.07, torch.arange(8)))
    assert method.location_contrast(split).item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_reverse_non_local_location_contrast_by_hand(tmp_path):
    method = a_method("nlcl", tmp_path, **{"loss.identity_nce": False})
    batch, split = started(method)
    chance = Chance(batch["seed"])
    centres, places = method.sampler.random(split.pictures, 8, chance), method.sampler.random(split.pictures, 8, chance)
    distance = torch.cdist(*(method.sampler.cut(split.pictures, each).flatten(2) for each in (centres, places)))
    taps = method.background.features(split.mapped, (0, 1))
    expected = []
    for tap, key, embed in zip(taps, split.keys, method.heads["loc"].levels, strict=True):
        q, k, p = (unit(embed(read_features(each, at, (32, 32))))
                   for each, at in ((tap, centres), (key, centres), (key, places)))  # fmt: skip
        for b in range(2):
            for s in range(8):
                farthest = distance[b, s].topk(4).indices
                row = torch.cat(((q[b, s] * k[b, s]).sum()[None], p[b, farthest] @ q[b, s])) / 0.07
                expected.append(-row.log_softmax(0)[0])
    assert method.location_contrast(split).item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


def test_layer_contrast_by_hand(tmp_path):
    method = a_method("nlcl", tmp_path, **{"features.disc_layers": ("image", 3)})
    batch, split = started(method)
    chance = Chance(batch["seed"])
    vectors = {}
    for name, layer, k in (("back", split.background, 4), ("rain", split.rain, 8)):
        centres = method.sampler.nonlocal_(layer, k, method.sampler.anchors(layer, 1, chance))[:, 0]
        levels = [layer, *method.discriminator.features(layer, (3,))]
        vectors[name] = method.heads[name]([read_features(level, centres, (32, 32)) for level in levels])
    expected = [
        LayerContrastiveLoss(0.07)(image, rain) for image, rain in zip(vectors["back"], vectors["rain"], strict=True)
    ]
    found = method.layer_contrast(split, method._judged(split)[:-1])
    assert found.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)


@pytest.mark.parametrize("mode", ["reverse_nonlocal", "nonlocal", "random"])
@pytest.mark.parametrize("identity", [True, False])
def test_every_way_to_sample_moves_the_generator_and_its_head(tmp_path, mode, identity):
    method = a_method("nlcl", tmp_path, **{"sampler.loc_sampling": mode, "loss.identity_nce": identity})
    _, split = started(method)
    assert len(split.pictures) == (4 if identity else 2)
    method.location_contrast(split).backward()
    assert all(torch.isfinite(p.grad).all() for p in method.heads["loc"].parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in method.background.parameters())
    assert all(p.grad is None for p in (*method.rain.parameters(), *method.discriminator.parameters()))


def test_keys_are_held_still(tmp_path):
    method = a_method("nlcl", tmp_path)
    _, split = started(method)
    assert split.mapped.requires_grad and not any(key.requires_grad for key in split.keys)
    with torch.no_grad():
        for key in split.keys:
            key.requires_grad_()
    method.location_contrast(split).backward()
    assert all(key.grad is None for key in split.keys)  # nor do the loss and the head pass anything on to them


def test_several_anchors(tmp_path):
    method = a_method("nlcl", tmp_path, **{"sampler.num_anchors": 3})
    batch, split = started(method)
    assert torch.isfinite(method.generator_loss(split, batch)["layer"])


@pytest.mark.parametrize("name", ["nlcl", "nlcl_asym"])
def test_a_batch_is_the_mean_of_its_samples(tmp_path, name):
    method = a_method(name, tmp_path)
    whole = method.generator_loss(*reversed(started(method)))
    parts = [method.generator_loss(*reversed(started(method, size=1, first=n))) for n in range(2)]
    for term, value in whole.items():
        mean = sum(part[term].item() for part in parts) / 2
        assert value.item() == pytest.approx(mean, rel=1e-4)  # convolutions of another batch size round otherwise


@pytest.mark.parametrize("asymmetry, expected", [
    ("aggregation", (0.07, 0.07, "inside", "outside")), ("temperature", (0.14, 0.07, "outside", "outside")),
])
def test_which_asymmetric_loss(tmp_path, asymmetry, expected):
    loss = a_method("nlcl_asym", tmp_path, **{"contrast.asymmetry": asymmetry}).layer
    assert isinstance(loss, AsymmetricContrastiveLoss)
    assert (loss.tau_image, loss.tau_rain, loss.aggregation_image, loss.aggregation_rain) == expected


def test_without_asymmetry_it_is_nlcl(tmp_path):
    method, plain = a_method("nlcl_asym", tmp_path, **{"contrast.asymmetry": "none"}), a_method("nlcl", tmp_path)
    assert isinstance(method.layer, LayerContrastiveLoss)
    one, other = (each.generator_loss(*reversed(started(each))) for each in (method, plain))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_image_may_be_a_level(tmp_path):
    method = a_method("nlcl", tmp_path, **PRESETS["nlcl_released"])
    batch, split = started(method)
    assert torch.isfinite(method.generator_loss(split, batch)["layer"])
    assert [level[0].in_features for level in method.heads["back"].levels] == [3, 4, 8, 16]


def test_a_start_at_the_identity(tmp_path):
    method = a_method("nlcl", tmp_path, **PRESETS["colour_true"])
    batch, split = started(method)
    assert torch.equal(split.background, batch["rainy"])
    assert not split.rain.any()


# --- what is exported ---
@pytest.mark.parametrize("output, network", [("background", "background"), ("residual", "rain")])
def test_what_is_exported(tmp_path, output, network):
    method = a_method("nlcl", tmp_path, **{"network.output": output})
    run(method, tmp_path / "out")
    model, metadata = load_generator(tmp_path / "out" / LAST)
    assert metadata["card"]["method"] == "nlcl"
    assert model.config_dict()["output"] == ("rain" if output == "residual" else "background")
    for name, value in getattr(method, network).state_dict().items():
        assert torch.equal(model.network.state_dict()[name], value)
    x = torch.rand(1, 3, 32, 32)
    layer = getattr(method, network).eval()(2 * x - 1)
    expected = layer / 2 if output == "residual" else x - ((layer + 1) / 2).clamp(0, 1)
    with torch.no_grad():
        assert torch.allclose(model(x), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["nlcl", "nlcl_asym"])
def test_a_saved_file_derains(tmp_path, name):
    run(a_method(name, tmp_path), tmp_path / "out")
    picture = clips()[0].frames[0]
    derained = Derainer(device="cpu", model=tmp_path / "out" / BEST)(picture)
    assert derained.shape == picture.shape and derained.dtype == picture.dtype
