"""CCLGAN: each term equals one computed apart, who encodes what, and what it does without the encoders' weights."""
from functools import partial

import pytest
import torch
import training
from safetensors.torch import save_file
from torch.nn import functional
from training import a_batch, a_method, clips, run, scrambled, stand_in

from streamderain import Derainer
from streamderain.core import encoder_files, encoders
from streamderain.core.chance import Chance
from streamderain.core.checkpoint import CheckpointError, load_generator
from streamderain.core.contrast import unit
from streamderain.core.cycle import CyclePictures
from streamderain.core.encoders import CLIPImageEncoder, StreamEncoder, VGGEncoder
from streamderain.core.patches import read_features
from streamderain.trainers import cclgan
from streamderain.trainers.cclgan import CCLGAN, Translations
from streamderain.trainers.frozen import EncoderFiles
from streamderain.trainers.loop import BEST

TERMS = {"adversarial", "location", "identity", "inter", "intra"}
TinyCLIP = partial(CLIPImageEncoder, image_size=8, patch=4, width=12, layers=2, heads=3, dim=5)


@pytest.fixture(autouse=True)
def small():
    with training.small():
        yield


def started(method, **options):
    """A batch and what the method makes of it."""
    batch = a_batch(method, **options)
    return batch, method.forward(batch, 0)


def a_cycle(method, batch, **pictures):
    """Translations in which the pictures are given, the others noise."""
    torch.manual_seed(9)
    names = ("derained", "rained", "rainy_again", "clean_again", "same_clean", "same_rainy")
    made = CyclePictures(**{name: pictures.get(name, torch.rand_like(batch["rainy"]) * 2 - 1) for name in names})
    return Translations(batch["rainy"], batch["clean"], made, Chance(batch["seed"]))


def test_forward_makes_six_pictures(tmp_path):
    method = a_method("cclgan", tmp_path)
    batch, seen = started(method)
    made, to_clean, to_rainy = seen.made, method.to_clean, method.to_rainy
    expected = {
        "derained": to_clean(batch["rainy"]), "rained": to_rainy(batch["clean"]),
        "rainy_again": to_rainy(made.derained), "clean_again": to_clean(made.rained),
        "same_clean": to_clean(batch["clean"]), "same_rainy": to_rainy(batch["rainy"]),
    }  # fmt: skip
    for name, picture in expected.items():
        assert torch.allclose(getattr(made, name), picture, atol=1e-5), name


def test_names_and_types_of_the_terms(tmp_path):
    method = a_method("cclgan", tmp_path)
    batch, seen = started(method)
    judged, made = method.discriminator_loss(seen, batch), method.generator_loss(seen, batch)
    assert (judged.keys(), made.keys()) == ({"discriminator_clean", "discriminator_rainy"}, TERMS)
    for term in (*judged.values(), *made.values(), *method.watched(seen).values()):
        assert term.shape == () and term.dtype == torch.float32 and torch.isfinite(term)


def test_plain_terms_by_hand(tmp_path):
    method = a_method("cclgan", tmp_path, **{"loss.adv": 2.0, "loss.identity": 3.0})
    batch, seen = started(method)
    found, judged, made = method.generator_loss(seen, batch), method.discriminator_loss(seen, batch), seen.made
    fakes = method.judge_clean(made.derained), method.judge_rainy(made.rained)
    reals = method.judge_clean(batch["clean"]), method.judge_rainy(batch["rainy"])
    assert found["adversarial"].item() == pytest.approx(2 * sum((1 - f).relu().mean() for f in fakes).item(), rel=1e-4)
    same = (made.same_clean - batch["clean"]).abs().mean() + (made.same_rainy - batch["rainy"]).abs().mean()
    assert found["identity"].item() == pytest.approx(3 * 0.5 * same.item(), rel=1e-5)
    for term, real, fake in zip(judged.values(), reals, fakes, strict=True):
        expected = 0.5 * ((1 - real).relu().mean() + (1 + fake).relu().mean())
        assert term.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_linear_form_of_the_generators_side(tmp_path):
    method = a_method("cclgan", tmp_path, **{"gan.generator_form": "linear"})
    batch, seen = started(method)
    expected = -0.5 * (method.judge_clean(seen.made.derained).mean() + method.judge_rainy(seen.made.rained).mean())
    assert method.generator_loss(seen, batch)["adversarial"].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_terms_are_weighted(tmp_path):
    weights = {"location": 3.0, "identity": 4.0, "intra": 5.0, "inter": 6.0}
    plain, heavy = (
        a_method("cclgan", tmp_path, **{f"loss.{name}": weight if heavy else 1.0 for name, weight in weights.items()})
        for heavy in (False, True)
    )
    one, other = (each.generator_loss(*reversed(started(each))) for each in (plain, heavy))
    for name, weight in weights.items():
        assert other[name].item() == pytest.approx(weight * one[name].item(), rel=1e-5)


# --- location ---
def location_by_hand(method, batch, made, swapped):
    """The four terms, image by image: (query, its encoder, its head, key, its encoder, its head)."""
    gn, gr, f1, f2 = method.to_clean, method.to_rainy, method.rainy_head, method.clean_head
    rules = [(made.derained, gr, f2, batch["rainy"], gn, f1), (made.rained, gn, f1, batch["clean"], gr, f2)]
    if swapped:
        rules += [(made.rainy_again, gr, f1, made.derained, gn, f2), (made.clean_again, gn, f2, made.rained, gr, f1)]
    else:
        rules += [(made.rainy_again, gn, f1, made.derained, gr, f2), (made.clean_again, gr, f2, made.rained, gn, f1)]
    chance, terms = Chance(batch["seed"]), []
    for query, query_net, query_head, key, key_net, key_head in rules:
        centres = method.sampler.random(query, 16, chance)
        for level, layer in enumerate((4, 8, 12)):
            for n in range(len(query)):
                q, k = (
                    unit(head.levels[level](read_features(net.features(x, (layer,))[0], centres, (32, 32))[n]))
                    for x, net, head in ((query, query_net, query_head), (key, key_net, key_head))
                )
                terms.append(functional.cross_entropy(q @ k.T / 0.07, torch.arange(16)))
    return torch.stack(terms).mean().item()


@pytest.mark.parametrize("kind", ["own", "swapped"])
def test_location_contrast_by_hand(tmp_path, kind):
    method = scrambled(a_method("cclgan", tmp_path, **{"lcl.cycle_encoders": kind}))
    batch, seen = started(method)
    found = method.location_contrast(seen).item()
    assert found == pytest.approx(location_by_hand(method, batch, seen.made, kind == "swapped"), rel=1e-3)
    assert found != pytest.approx(location_by_hand(method, batch, seen.made, kind == "own"), rel=1e-3)


def test_keys_of_the_location_contrast_are_held_still(tmp_path):
    method = a_method("cclgan", tmp_path)
    batch, seen = started(method)
    derained = seen.made.derained.detach().requires_grad_()
    again = a_cycle(method, batch, derained=derained)
    method.location_contrast(again).backward()
    alone = derained.grad.clone()  # as the query of the first term; as the key of the third it gets nothing
    derained.grad = None
    again = a_cycle(method, batch, derained=derained)
    (method._located(derained, "clean", batch["rainy"], "rainy", again.chance) / 4).backward()
    assert torch.allclose(alone, derained.grad, rtol=1e-4, atol=1e-7)


# --- intra ---
def test_intra_contrast_by_hand(tmp_path):
    method = a_method("cclgan", tmp_path)
    batch, seen = started(method)
    encoder, made = StreamEncoder(load_generator(stand_in(tmp_path))[0]), seen.made

    def rho(a, p, n, m, b, level):
        e = [encoder.features((x[b : b + 1] + 1) / 2, (level,))[0] for x in (a, p, n, m)]
        d = [(e[0] - other).abs().mean() for other in e[1:]]
        return d[0] / (d[1] + 0.1 * d[2] + 1e-7)

    expected = 0
    for w, level in zip((1 / 32, 1 / 16, 1 / 8), range(3), strict=True):
        for b in range(2):
            one = rho(made.rainy_again, batch["rainy"], batch["clean"], made.derained, b, level)
            other = rho(made.clean_again, batch["clean"], batch["rainy"], made.rained, b, level)
            expected += w * (one + other).item() / 2 / 2
    assert method.intra_contrast(seen).item() == pytest.approx(expected, rel=1e-3)


def test_a_closed_cycle_costs_nothing(tmp_path):
    method = a_method("cclgan", tmp_path)
    batch = a_batch(method)
    closed = a_cycle(method, batch, rainy_again=batch["rainy"], clean_again=batch["clean"],
                     same_clean=batch["clean"], same_rainy=batch["rainy"])  # fmt: skip
    assert method.intra_contrast(closed).item() == 0
    assert method.generator_loss(closed, batch)["identity"].item() == 0


def test_intra_contrast_moves_the_rebuilt_pictures_only(tmp_path):
    method = a_method("cclgan", tmp_path)
    batch = a_batch(method)
    names = ("derained", "rained", "rainy_again", "clean_again")
    leaves = {name: torch.rand_like(batch["rainy"], requires_grad=True) for name in names}
    method.intra_contrast(a_cycle(method, batch, **leaves)).backward()
    assert {name for name, leaf in leaves.items() if leaf.grad is not None} == {"rainy_again", "clean_again"}


# --- inter ---
def test_inter_contrast_by_hand(tmp_path):
    method = scrambled(a_method("cclgan", tmp_path))
    batch, seen = started(method)
    made, chance, total = seen.made, Chance(batch["seed"]), 0
    for judge, name, *four in (
        (method.judge_clean, "clean", made.derained, made.clean_again, batch["clean"], batch["rainy"]),
        (method.judge_rainy, "rainy", made.rained, made.rainy_again, batch["rainy"], batch["clean"]),
    ):
        vectors = []
        for picture in four:
            centres = method.sampler.random(picture, 8, chance)
            levels = [picture, *judge.features(picture, (3, 7))]
            vectors.append(method.inter_heads[name]([read_features(each, centres, (32, 32)) for each in levels]))
        for out, again, own, other in zip(*vectors, strict=True):
            def d(a, b):
                return (a - b).abs().mean(-1)

            near = d(out, own) + d(again, own) + 0.2 * d(out, again)
            total += (near / (d(out, other) + d(again, other) + 1e-7)).mean().item() / 3
    assert method.inter_contrast(seen).item() == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize("trained", [True, False])
def test_whose_heads_are_trained(tmp_path, trained):
    method = a_method("cclgan", tmp_path, **{"inter.train_heads": trained})
    translators, heads = method.players[1].groups
    moving = {id(p) for p in heads.parameters}
    assert all((id(p) in moving) == trained for p in method.inter_heads.parameters())
    assert all(id(p) in moving for head in (method.rainy_head, method.clean_head) for p in head.parameters())
    assert (translators.lr, translators.betas, heads.lr, heads.betas) == (2e-4, (0.5, 0.999), 1e-3, (0.9, 0.999))


@pytest.mark.parametrize("layers, channels", [(("image", 3, 7), [3, 8, 16]), ((3,), [8])])
def test_levels_of_the_inter_heads(tmp_path, layers, channels):
    method = a_method("cclgan", tmp_path, **{"features.disc_layers": layers})
    assert [level[0].in_features for level in method.inter_heads["clean"].levels] == channels
    assert torch.isfinite(method.inter_contrast(started(method)[1]))


def test_a_batch_is_the_mean_of_its_samples(tmp_path):
    method = a_method("cclgan", tmp_path)
    whole = method.generator_loss(*reversed(started(method)))
    parts = [method.generator_loss(*reversed(started(method, size=1, first=n))) for n in range(2)]
    for term, value in whole.items():
        mean = sum(part[term].item() for part in parts) / 2
        assert value.item() == pytest.approx(mean, rel=1e-3)  # convolutions of another batch size round otherwise


# --- encoders ---
@pytest.fixture
def files(tmp_path, monkeypatch):
    """Weights of a VGG of few channels and of a tiny CLIP."""
    monkeypatch.setattr(encoders, "WIDTHS", (2, 3, 4, 5, 6))
    monkeypatch.setattr(encoder_files, "CLIPImageEncoder", TinyCLIP)
    torch.manual_seed(0)
    vgg, clip = VGGEncoder(16), TinyCLIP()
    save_file({f"features.{name}": value for name, value in vgg.layers.state_dict().items()}, tmp_path / "vgg")
    save_file({f"visual.{name}": value for name, value in clip.state_dict().items()}, tmp_path / "clip")
    return {"vgg": tmp_path / "vgg", "clip": tmp_path / "clip", "stream": stand_in(tmp_path)}


@pytest.mark.parametrize("there, wanted, said", [
    (("vgg", "clip"), ("clip", "vgg16"), "clip and vgg16"),
    (("vgg", "clip"), ("clip",), "clip"),
    (("vgg", "clip"), ("vgg16",), "vgg16"),
    (("vgg",), ("clip", "vgg16"), "vgg16"),
    (("clip", "stream"), ("clip", "vgg16"), "clip and stream encoder for vgg16"),
    (("stream",), ("clip", "vgg16"), "stream encoder for vgg16"),
    (("stream",), ("clip",), "stream encoder for vgg16"),
])
@pytest.mark.parametrize("norm", ["native", "raw"])
def test_which_encoders_measure(tmp_path, files, there, wanted, said, norm):
    changes = {"intra.encoders": wanted, "intra.encoder_norm": norm}
    given = EncoderFiles(**{name: files[name] for name in there})
    method = CCLGAN(a_method("cclgan", tmp_path, **changes).config, clips(seed=7), clips(), encoders=given)
    assert method.notes == {"contrast_space": said}
    assert torch.isfinite(method.intra_contrast(started(method)[1]))
    method.save(tmp_path / "a.safetensors", method.exported, {"steps": 1})
    assert load_generator(tmp_path / "a.safetensors")[1]["card"] == {
        "method": "cclgan", "contrast_space": said, "steps": 1
    }


def test_raw_pictures_go_to_the_encoders_as_they_are(tmp_path):
    raw, native = (a_method("cclgan", tmp_path, **{"intra.encoder_norm": norm}) for norm in ("raw", "native"))
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    assert torch.equal(raw._shown(x), x)
    assert torch.equal(native._shown(x), (x + 1) / 2)


def test_no_encoder_at_all(tmp_path):
    config = a_method("cclgan", tmp_path).config
    with pytest.raises(CheckpointError, match="there are no weights of vgg16; give --vgg-weights FILE"):
        CCLGAN(config, clips(seed=7), clips())


def test_the_published_layers():
    assert cclgan.INTRA_LAYERS == (3, 8, 15)
    assert cclgan.INTRA_WEIGHTS == (1 / 32, 1 / 16, 1 / 8)


def test_a_saved_file_derains(tmp_path):
    method = a_method("cclgan", tmp_path)
    run(method, tmp_path / "out")
    picture = clips()[0].frames[0]
    assert Derainer(device="cpu", model=tmp_path / "out" / BEST)(picture).shape == picture.shape
    assert load_generator(tmp_path / "out" / BEST)[0].family == "resnet"
