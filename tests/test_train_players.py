"""Who moves when: in a player's turn its own parameters and no others, each by the Adam of its group."""
import pytest
import torch
import training
from torch import nn
from training import a_method, run

from streamderain.core.checkpoint import save_tensors
from streamderain.trainers.config import TrainConfig
from streamderain.trainers.loop import Group, Player, Progress, train
from streamderain.trainers.nlcl import PRESETS


@pytest.fixture(autouse=True)
def small():
    with training.small():
        yield


def weights(network):
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def moved(network, before):
    return {name for name, value in network.named_parameters() if not torch.equal(value, before[name])}


def snapshots(method):
    """The weights of all networks when each player's turn begins, in the order of the turns; filled by training."""
    taken = []
    players = method.players

    def watched(player):
        def losses(forwarded, batch):
            taken.append(weights(method.networks))
            return player.losses(forwarded, batch)

        return Player(player.groups, losses, player.first_step)

    type(method).players, before = property(lambda self: tuple(map(watched, players))), type(method).players
    return taken, before


@pytest.fixture
def turns():
    """A function that trains a method one step: before its first turn, before its second, after both."""
    restore = []

    def trained(method, out):
        taken, before = snapshots(method)
        restore.append((type(method), before))
        run(method, out)
        return [*taken, weights(method.networks)]

    yield trained
    for kind, players in reversed(restore):
        kind.players = players


def changed(before, after):
    """First parts of the names of the weights that differ."""
    return {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}


def test_nlcl_moves_the_discriminator_alone_then_all_others(tmp_path, turns):
    first, second, last = turns(a_method("nlcl", tmp_path, **{"train.steps": 1}), tmp_path / "out")
    assert changed(first, second) == {"discriminator"}
    assert changed(second, last) == {"background", "rain", "heads"}


def test_cclgan_moves_the_judges_then_translators_and_heads(tmp_path, turns):
    method = a_method("cclgan", tmp_path, **{"train.steps": 1})
    first, second, last = turns(method, tmp_path / "out")
    assert changed(first, second) == {"judge_clean", "judge_rainy"}
    assert changed(second, last) == {"cycle", "rainy_head", "clean_head", "inter_heads"}


def test_cclgan_leaves_untrained_heads_as_they_were_drawn(tmp_path, turns):
    method = a_method("cclgan", tmp_path, **{"train.steps": 1, "inter.train_heads": False})
    _, second, last = turns(method, tmp_path / "out")
    assert changed(second, last) == {"cycle", "rainy_head", "clean_head"}


def test_rdmc_searches_with_the_architecture_alone(tmp_path, turns):
    method = a_method("rdmc", tmp_path, **{"train.steps": 1, "network.recruitment": "search"})
    first, second, last = turns(method, tmp_path / "out")
    names = {"network.scalars", "network.upsample.alpha"}
    assert {name for name, value in first.items() if not torch.equal(value, second[name])} == names
    after = {name for name, value in second.items() if not torch.equal(value, last[name])}
    assert after and not after & names


def test_a_generator_waits_for_its_first_step(tmp_path):
    method = a_method("nlcl", tmp_path, **{"gan.head_start": 2, "train.steps": 3})
    before, told = weights(method.networks), []

    def on_step(progress: Progress):
        told.append((set(progress.losses), changed(before, weights(method.networks))))

    run(method, tmp_path / "out", on_step=on_step)
    assert told[:2] == [({"discriminator"}, {"discriminator"})] * 2
    assert told[2][1] == {"discriminator", "background", "rain", "heads"}
    assert "layer" in told[2][0]


class Tied(nn.Module):
    """Two numbers that the loss sees alike."""

    def __init__(self):
        super().__init__()
        self.moving, self.still = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))


class Tug:
    """A method that gives one of its two numbers to a player."""

    def __init__(self, groups=1, **options):
        self.networks = self.exported = Tied()
        group = Group([self.networks.moving], 0.1, (0.9, 0.999), **options)
        self.players = (Player((group,) * groups, self.losses),)

    def forward(self, batch, step):
        return self.networks.moving + self.networks.still

    def losses(self, forwarded, batch):
        return {"sum": forwarded * 3}

    def watched(self, forwarded):
        return {}

    def scores(self, model):
        return {"score": 0.0}

    def save(self, path, model, card):
        save_tensors(path, dict(model.state_dict()), card)


def test_a_parameter_in_no_group_never_moves(tmp_path):
    method = Tug()
    train(method, [{}] * 3, TrainConfig(steps=3), tmp_path)
    assert method.networks.still.item() == 0 and method.networks.still.grad is None
    assert method.networks.moving.item() == pytest.approx(-0.3)


def test_decay_of_the_weights_is_decoupled_where_it_says_so(tmp_path):
    results = []
    for decoupled in (True, False):
        method = Tug(weight_decay=0.5, decoupled=decoupled)
        nn.init.constant_(method.networks.moving, 2.0)
        train(method, [{}], TrainConfig(steps=1), tmp_path / str(decoupled))
        results.append(method.networks.moving.item())
    # AdamW shrinks by lr * decay before Adam's step of lr; Adam's own decay joins the gradient, which is normalised
    assert results == pytest.approx([2 * (1 - 0.1 * 0.5) - 0.1, 2 - 0.1])


def adam(parameter, gradients, *, lr, betas, times):
    """A parameter after the steps of several Adams that see the same gradients, the slow way."""
    states = [[torch.zeros_like(parameter), torch.zeros_like(parameter)] for _ in range(times)]
    for step, gradient in enumerate(gradients, 1):
        for moments in states:
            for n, (beta, seen) in enumerate(zip(betas, (gradient, gradient**2), strict=True)):
                moments[n] = beta * moments[n] + (1 - beta) * seen
            mean, square = (each / (1 - beta**step) for each, beta in zip(moments, betas, strict=True))
            parameter = parameter - lr * mean / (square.sqrt() + 1e-8)
    return parameter


def test_the_released_slips_leave_two_heads_and_double_the_third(tmp_path):
    method = a_method("nlcl", tmp_path, **PRESETS["nlcl_released"] | {"train.steps": 3, "optim.lr": 1e-2})
    before = {name: weights(head) for name, head in method.heads.items()}
    gradients = {name: [] for name, _ in method.heads["rain"].named_parameters()}

    def on_step(progress):
        for name, parameter in method.heads["rain"].named_parameters():
            gradients[name].append(parameter.grad.clone())

    run(method, tmp_path / "out", on_step=on_step)
    assert not moved(method.heads["back"], before["back"])
    assert not moved(method.heads["loc"], before["loc"])
    for name, parameter in method.heads["rain"].named_parameters():
        expected = adam(before["rain"][name], gradients[name], lr=1e-2, betas=(0.5, 0.999), times=2)
        assert torch.allclose(parameter, expected, rtol=1e-5, atol=1e-7), name  # torch orders the roundings differently


def test_heads_have_a_rate_of_their_own(tmp_path):
    method = a_method("nlcl", tmp_path, **{"train.steps": 1, "optim.lr": 1e-4, "optim.head_lr": 1e-2})
    before = weights(method.networks)
    run(method, tmp_path / "out")
    steps = {name: (value - before[name]).abs().max().item() for name, value in method.networks.named_parameters()}
    assert max(step for name, step in steps.items() if name.startswith("heads")) == pytest.approx(1e-2, rel=1e-3)
    assert max(step for name, step in steps.items() if not name.startswith("heads")) == pytest.approx(1e-4, rel=1e-3)
