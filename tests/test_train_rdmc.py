"""RDMC: its terms by hand, the encoder that stands in, the halves of the search."""
import pytest
import torch
import training
from training import a_batch, a_method, clips, pairs, run, scrambled, stand_in

from streamderain import Derainer
from streamderain.core.checkpoint import CheckpointError, load_generator
from streamderain.core.encoders import StreamEncoder
from streamderain.core.losses import SSIMLoss
from streamderain.trainers import method_class
from streamderain.trainers.clips import Clip
from streamderain.trainers.frozen import EncoderFiles, Space
from streamderain.trainers.loop import BEST, LAST
from streamderain.trainers.rdmc import CONTRAST_LAYERS, CONTRAST_WEIGHTS


@pytest.fixture(autouse=True)
def small():
    with training.small():
        yield


def terms(method, batch):
    return method.generator_loss(method.forward(batch, 0), batch)


def test_names_and_types_of_the_terms(tmp_path):
    method = a_method("rdmc", tmp_path)
    batch = a_batch(method)
    found = terms(method, batch)
    assert found.keys() == {"mse", "ssim", "contrast"}
    for term in (*found.values(), *method.watched(None).values()):
        assert term.shape == () and term.dtype == torch.float32 and torch.isfinite(term)


def test_without_weight_the_contrast_is_not_computed(tmp_path):
    method = a_method("rdmc", tmp_path, **{"loss.contrast": 0})
    method.space = Space("none", CONTRAST_WEIGHTS[-3:], lambda x: pytest.fail("the encoder ran"))
    assert terms(method, a_batch(method)).keys() == {"mse", "ssim"}


def test_terms_by_hand(tmp_path):
    method = a_method("rdmc", tmp_path, **{"loss.mse": 2.0, "loss.ssim": 3.0, "loss.contrast": 5.0})
    batch = a_batch(method)
    found = terms(method, batch)
    with torch.no_grad():
        background = method.network(batch["rainy"])
        encoder = StreamEncoder(load_generator(stand_in(tmp_path))[0])
        a, p, n = (encoder.features(x, (0, 1, 2)) for x in (background, batch["clean"], batch["rainy"]))
    assert found["mse"].item() == pytest.approx(2 * (background - batch["clean"]).square().mean().item(), rel=1e-3)
    near, far = (
        sum(w * (x - y).abs().mean() for w, x, y in zip((1 / 8, 1 / 4, 1), a, other, strict=True)) for other in (p, n)
    )
    assert found["contrast"].item() == pytest.approx(5 * (near / far).item(), rel=1e-3)
    assert found["ssim"].item() == pytest.approx(3 * SSIMLoss(1.0)(background, batch["clean"]).item(), rel=1e-3)


def test_a_perfect_answer_leaves_nothing(tmp_path):
    method = a_method("rdmc", tmp_path)
    batch = a_batch(method)
    assert method.contrast(batch["clean"], batch["clean"], batch["rainy"]).item() == 0
    assert method.ssim(batch["clean"], batch["clean"]).item() == pytest.approx(0, abs=1e-6)


def test_the_contrast_reaches_the_network(tmp_path):
    """The public code detaches the side where the network's output stands, so its term moves nothing."""
    method = a_method("rdmc", tmp_path)
    batch = a_batch(method)
    terms(method, batch)["contrast"].backward()
    grads = [p.grad for p in method.network.out.parameters()]
    assert all(grad is not None and grad.abs().max() > 0 for grad in grads)


def test_the_contrast_pulls_towards_the_clean_picture(tmp_path):
    method = a_method("rdmc", tmp_path)
    batch = a_batch(method)
    between = (batch["rainy"] + batch["clean"]) / 2
    at = [method.contrast(x, batch["clean"], batch["rainy"]).item() for x in (batch["clean"], between, batch["rainy"])]
    assert at[0] < at[1] < at[2]
    assert torch.isfinite(torch.tensor(at[2]))  # nothing between anchor and negative


def test_negatives_of_the_batch(tmp_path):
    own, batchwise = (
        a_method("rdmc", tmp_path, **{"loss.ctr_negatives": kind, "train.batch_size": 3}) for kind in ("self", "batch")
    )
    batch = a_batch(own, size=3)
    anchor = torch.rand_like(batch["clean"])
    encoder = own.space.extract
    a, p, n = (encoder(x) for x in (anchor, batch["clean"], batch["rainy"]))
    far = 0
    for w, x, y in zip(own.space.weights, a, n, strict=True):
        far += w * sum((x[i] - y[j]).abs().mean() for i in range(3) for j in range(3)) / 9
    near = sum(w * (x - y).abs().mean() for w, x, y in zip(own.space.weights, a, p, strict=True))
    expected = pytest.approx((near / far).item(), rel=1e-4)
    assert batchwise.contrast(anchor, batch["clean"], batch["rainy"]).item() == expected
    assert own.contrast(anchor, batch["clean"], batch["rainy"]).item() != expected


def test_a_batch_of_one_has_its_own_rainy_picture_only(tmp_path):
    one, other = (
        a_method("rdmc", tmp_path, **{"loss.ctr_negatives": kind, "train.batch_size": 1}) for kind in ("self", "batch")
    )
    batch, anchor = a_batch(one, size=1), torch.rand(1, 3, 32, 32)
    found = [each.contrast(anchor, batch["clean"], batch["rainy"]) for each in (one, other)]
    assert torch.equal(*found)


def test_layers_by_two_ways_to_count(tmp_path):
    assert CONTRAST_LAYERS == {"conv_count": (1, 6, 11, 20, 29), "module_count": (1, 3, 4, 8, 12)}
    assert CONTRAST_WEIGHTS == (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)


def test_signed_range_is_shown_to_the_encoder_as_unit_range(tmp_path):
    unit, signed = (a_method("rdmc", tmp_path, **{"data.range": span}) for span in ((0, 1), (-1, 1)))
    a, p, n = (torch.rand(2, 3, 32, 32) for _ in range(3))
    found = [unit.contrast(a, p, n), signed.contrast(2 * a - 1, 2 * p - 1, 2 * n - 1)]
    assert found[0].item() == pytest.approx(found[1].item(), rel=1e-4)
    assert signed.exported.low == -1 and signed.ssim.c1 == pytest.approx(4 * unit.ssim.c1)


def test_the_encoder_that_stood_in_is_on_the_card(tmp_path):
    method = a_method("rdmc", tmp_path)
    run(method, tmp_path / "out")
    card = load_generator(tmp_path / "out" / BEST)[1]["card"]
    assert card["contrast_space"] == method.notes["contrast_space"] == "stream encoder for vgg19"


def test_no_encoder_at_all(tmp_path):
    kind = method_class("rdmc")
    with pytest.raises(CheckpointError, match="there are no weights of vgg19; give --vgg-weights FILE"):
        kind(a_method("rdmc", tmp_path).config, pairs(), [], encoders=EncoderFiles())


def test_unpaired_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rdmc learns from pairs: set data\.pairing to paired or rendered"):
        a_method("rdmc", tmp_path, **{"data.pairing": "unpaired"})


def test_rain_may_be_drawn(tmp_path):
    method = a_method("rdmc", tmp_path, **{"data.pairing": "rendered"})
    assert method.samples.clean and not method.samples.rainy
    assert run(method, tmp_path / "out") > 0


# --- search ---
def test_search_sees_the_other_half_of_the_data(tmp_path):
    method = a_method("rdmc", tmp_path, **{"network.recruitment": "search"})
    first, second = ({clip.name for clip in part.rainy} for part in (method.samples.first, method.samples.second))
    assert not first & second
    assert first | second == {f"clip {n}" for n in range(12)} - {"clip 0", "clip 10"}
    assert method.samples.epoch_length == method.samples.first.epoch_length
    batch = a_batch(method)
    assert batch.keys() == {"rainy", "clean", "seed", "search_rainy", "search_clean", "search_seed"}
    assert not torch.equal(batch["rainy"], batch["search_rainy"])


def test_search_measures_its_half_as_the_network_measures_its_own(tmp_path):
    method = a_method("rdmc", tmp_path, **{"network.recruitment": "search"})
    method.networks.eval()  # else the running statistics of the batch norms move in between
    batch = a_batch(method)
    swapped = {name.removeprefix("search_"): value for name, value in batch.items() if name.startswith("search_")}
    own, other = method.generator_loss(None, swapped), method.search_loss(None, batch)
    assert {f"search_{name}": value.item() for name, value in own.items()} == {k: v.item() for k, v in other.items()}


def test_the_architecture_has_an_adam_of_its_own(tmp_path):
    network, architecture = a_method("rdmc", tmp_path).players[0].groups
    assert sum(p.numel() for p in architecture.parameters) == 10
    assert (architecture.lr, architecture.betas, architecture.weight_decay) == (3e-4, (0.5, 0.999), 1e-3)
    assert not architecture.decoupled
    assert (network.lr, network.betas, network.weight_decay) == (1e-3, (0.9, 0.999), 0)
    assert not {id(p) for p in architecture.parameters} & {id(p) for p in network.parameters}


@pytest.mark.parametrize("recruitment", ["learned", "search", "gated"])
def test_saved_recruitment_comes_back(tmp_path, recruitment):
    method = a_method("rdmc", tmp_path, **{"network.recruitment": recruitment})
    scrambled(method)
    method.save(tmp_path / "a.safetensors", method.exported, {})
    model, _ = load_generator(tmp_path / "a.safetensors")
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model(x), method.exported.eval()(x), atol=1e-5)
    assert torch.equal(model.network.scalars, method.network.scalars)


def test_a_saved_file_derains(tmp_path):
    run(a_method("rdmc", tmp_path), tmp_path / "out")
    picture = clips()[0].frames[0]
    for kept in (BEST, LAST):
        assert Derainer(device="cpu", model=tmp_path / "out" / kept)(picture).shape == picture.shape


def test_one_clip_cannot_be_halved(tmp_path):
    method = a_method("rdmc", tmp_path, **{"network.recruitment": "search"})
    with pytest.raises(ValueError, match="there are no pictures to train on"):
        method_class("rdmc")(method.config, [Clip("a", pairs()[0].frames)], [], EncoderFiles(stream=stand_in(tmp_path)))
