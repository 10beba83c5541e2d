"""NLCL: unsupervised deraining where contrastive learning meets self-similarity (Ye et al., CVPR 2022)."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamderain.core.chance import Chance
from streamderain.core.checkpoint import save_generator
from streamderain.core.contrast import LayerContrastiveLoss, PatchNCELoss, ProjectionHead
from streamderain.core.discriminator import PatchDiscriminator
from streamderain.core.generators import Norm, ResidualGenerator, Skip, start_at_zero
from streamderain.core.losses import ConsistencyLoss, GANLoss, SparsityLoss
from streamderain.core.patches import PatchSampler, read_features
from streamderain.core.single_frame import SingleFrameDerainer

from .clips import Clip
from .config import OptimConfig, TrainConfig, above, at_least, not_empty
from .loop import Batch, Group, Player
from .pictures import DataConfig, Pictures, apart
from .validation import Validation

HEADS = ("loc", "back", "rain")
DETAIL = 15  # pixels, odd; wider than a streak
Tap = int | Literal["image"]


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """network.*: sizes of the networks, and what is done beyond the release.

    Attributes:
        channels, num_blocks: of both generators.
        norm: "instance" as released; "none" keeps the picture's brightness.
        skip: see core.generators; unless "none", both generators start from no rain. Not in the release.
        ndf, num_layers: width and halvings of the discriminator.
        disc_norm, disc_init: its norm and its first weights, see core.discriminator.
        output: what is exported: "background" (G_B, the paper's output), or "residual" (the picture less G_R's layer).
    """

    channels: int = 32
    num_blocks: int = 16
    norm: Norm = "instance"
    skip: Skip = "none"
    ndf: int = 64
    num_layers: int = 3
    disc_norm: Norm = "instance"
    disc_init: Literal["xavier", "kaiming"] = "xavier"
    output: Literal["background", "residual"] = "background"


@dataclass(frozen=True, slots=True)
class GANConfig:
    """gan.*: the adversarial game.

    Attributes:
        mode: "lsgan" as published, or "hinge".
        head_start: steps in which the discriminator alone moves. A generator that starts as the identity
            (network.skip) needs a judge that already knows rain; not in the release.
        view: "picture" as released; "detail" shows the discriminator fine structure alone, without colour and
            brightness: else these, which differ between any two collections of pictures, are what it learns to tell
            apart, and what the generator learns to change.
    """

    mode: Literal["lsgan", "hinge"] = "lsgan"
    head_start: int = 0
    view: Literal["picture", "detail"] = "picture"

    def __post_init__(self) -> None:
        at_least("head_start", self.head_start, 0)


@dataclass(frozen=True, slots=True)
class LossConfig:
    """loss.*: weights of the terms, and their ambiguities (docs/methods.md).

    Attributes:
        adv, location, layer, consistency, sparsity: weights.
        sparsity_on: "rain" punishes G_R's layer (the figure), "residual" O - B (the code).
        identity_nce: location contrast for clean pictures too.
    """

    adv: float = 1.0
    location: float = 1.0
    layer: float = 1.0
    consistency: float = 1.0
    sparsity: float = 0.1
    sparsity_on: Literal["rain", "residual"] = "rain"
    identity_nce: bool = True


@dataclass(frozen=True, slots=True)
class ContrastConfig:
    """contrast.*: temperature and size of the embeddings."""

    temperature: float = 0.07
    dim: int = 256

    def __post_init__(self) -> None:
        above("temperature", self.temperature, 0)
        at_least("dim", self.dim, 1)


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """sampler.*: which patches are compared.

    Attributes:
        patch_size, search_size, stride, min_distance: see core.patches.PatchSampler.
        num_anchors: searches in each picture.
        num_pos: patches of the background for each anchor.
        num_neg: patches of the rain layer.
        num_locations: queries of the location contrast.
        num_loc_neg: with reverse_nonlocal, negatives of each query.
        loc_sampling: "reverse_nonlocal": negatives are patches least alike (the figure); "nonlocal": neighbours of an
            anchor in the generator's first features (the code); "random": as in CUT.
    """

    patch_size: int = 16
    search_size: int = 40
    stride: int = 1
    min_distance: int = 0
    num_anchors: int = 1
    num_pos: int = 8
    num_neg: int = 128
    num_locations: int = 256
    num_loc_neg: int = 128
    loc_sampling: Literal["reverse_nonlocal", "nonlocal", "random"] = "reverse_nonlocal"

    def __post_init__(self) -> None:
        for name in ("num_anchors", "num_loc_neg"):
            at_least(name, getattr(self, name), 1)
        for name in ("num_pos", "num_neg", "num_locations"):
            at_least(name, getattr(self, name), 2)


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """features.*: levels of the contrast, module numbers; "image" is the picture itself.

    Attributes:
        disc_layers: of the discriminator, for the layer contrast.
        gen_layers: of G_B, for the location contrast.
    """

    disc_layers: tuple[Tap, ...] = (0, 3, 7, 11)
    gen_layers: tuple[int, ...] = (0, 2, 4, 8, 12)

    def __post_init__(self) -> None:
        for name in ("disc_layers", "gen_layers"):
            not_empty(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """heads.*: which projection heads stay as they were drawn, and which move twice a step (the release's slips)."""

    frozen: tuple[Literal["loc", "back", "rain"], ...] = ()
    doubled: tuple[Literal["loc", "back", "rain"], ...] = ()


@dataclass(frozen=True, slots=True)
class NLCLConfig:
    """The paper's defaults. On pictures of 256x256 a step takes seconds on a CPU; the paper's 210 epochs need a GPU."""

    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    gan: GANConfig = field(default_factory=GANConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    heads: HeadConfig = field(default_factory=HeadConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


PRESETS: dict[str, dict[str, Any]] = {
    "nlcl_released": {
        "sampler.loc_sampling": "nonlocal",
        "features.disc_layers": ("image", 0, 3, 7),
        "loss.sparsity_on": "residual",
        "loss.identity_nce": True,
        "heads.frozen": ("back", "loc"),
        "heads.doubled": ("rain",),
    },
    "colour_true": {
        "network.norm": "none",
        "network.skip": "add",
        "loss.sparsity_on": "residual",
        "train.ema": 0.999,
    },
}


@dataclass(frozen=True, slots=True)
class Decomposition:
    """What both players look at, each picture (B, 3, H, W), -1..1.

    Attributes:
        rainy: O.
        background: G_B(O).
        rain: G_R(O), in units of the -1..1 range: twice the layer of a 0..1 picture.
        pictures: the rainy and, with identity_nce, the clean pictures, along the batch.
        mapped: G_B of them.
        keys: G_B's taps of them, detached.
        chance: of the samples.
    """

    rainy: Tensor
    background: Tensor
    rain: Tensor
    pictures: Tensor
    mapped: Tensor
    keys: list[Tensor]
    chance: Chance


class NLCL:
    """Two generators split a rainy picture, O = B + R; patches that are alike within a layer hold the layers apart.

    Args:
        config: networks, losses, data.
        rainy: rainy clips; every tenth is kept apart.
        clean: clean clips, not of the same scenes; every tenth is kept apart for the score.
    """

    name = "nlcl"
    config_type: ClassVar[type[Any]] = NLCLConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS

    def __init__(self, config: Any, rainy: list[Clip], clean: list[Clip]) -> None:
        torch.manual_seed(config.train.seed)
        self.config, network = config, config.network
        sizes = {"channels": network.channels, "num_blocks": network.num_blocks, "norm": network.norm}
        background, rain = ResidualGenerator(**sizes, skip=network.skip), ResidualGenerator(**sizes)
        if network.skip != "none":
            start_at_zero(rain.layers[-1])
        discriminator = PatchDiscriminator(
            network.ndf, network.num_layers, norm=network.disc_norm, init=network.disc_init
        )
        self._levels = tuple(config.features.disc_layers)
        disc = discriminator.channels([n for n in self._levels if n != "image"])
        disc = [3, *disc] if "image" in self._levels else disc
        heads = {"loc": [network.channels] * len(config.features.gen_layers), "back": disc, "rain": disc}
        self.heads = {name: ProjectionHead(levels, config.contrast.dim) for name, levels in heads.items()}
        self.background, self.rain, self.discriminator = background, rain, discriminator
        self.networks = nn.ModuleDict({
            "background": background, "rain": rain, "discriminator": discriminator,
            "heads": nn.ModuleDict({f"{name}_head": head for name, head in self.heads.items()}),
        })  # fmt: skip
        self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        kept: dict[str, tuple[ResidualGenerator, Literal["background", "rain"]]] = {
            "background": (background, "background"), "residual": (rain, "rain"),
        }  # fmt: skip
        generator, output = kept[network.output]
        self.exported = SingleFrameDerainer(generator, low=float(config.data.range[0]), output=output)
        seen, unseen = apart(clean)
        self.samples = Pictures(apart(rainy)[0], seen, config.data, seed=config.train.seed)
        self._validation = Validation(unseen, config.data)
        self.adversarial, self.consistency = GANLoss(config.gan.mode), ConsistencyLoss()
        self.sparsity, self.location = SparsityLoss(), PatchNCELoss(config.contrast.temperature)
        self.layer = self.layer_loss()
        s = config.sampler
        self.sampler = PatchSampler(s.patch_size, s.search_size, s.stride, s.min_distance)

    def layer_loss(self) -> nn.Module:
        """The contrast between the layers: what NLCL's extension exchanges."""
        return LayerContrastiveLoss(self.config.contrast.temperature)

    @property
    def players(self) -> tuple[Player, ...]:
        """The discriminator, then generators and heads, each network with an Adam of its own."""
        optim, heads = self.config.optim, self.config.heads
        head_lr = optim.lr if optim.head_lr is None else optim.head_lr
        moving = [name for name in HEADS if name not in heads.frozen]
        groups = [
            _group(self.background, optim.lr, optim), _group(self.rain, optim.lr, optim),
            *(_group(self.heads[name], head_lr, optim) for name in chain(moving, heads.doubled)),
        ]  # fmt: skip
        disc_lr = optim.lr if optim.disc_lr is None else optim.disc_lr
        judge = Player((_group(self.discriminator, disc_lr, optim),), self.discriminator_loss)
        return judge, Player(tuple(groups), self.generator_loss, self.config.gan.head_start)

    def forward(self, batch: Batch, step: int) -> Decomposition:
        """Split the rainy pictures; one pass of G_B gives output and taps of rainy and clean ones."""
        rainy = batch["rainy"]
        pictures = torch.cat((rainy, batch["clean"])) if self.config.loss.identity_nce else rainy
        layers = (*self.config.features.gen_layers, len(self.background.layers) - 1)
        *taps, mapped = self.background.features(_last(pictures), layers)
        mapped, rain = mapped.float(), self.rain(_last(rainy)).float()
        keys = [tap.detach() for tap in taps]
        return Decomposition(rainy, mapped[: len(rainy)], rain, pictures, mapped, keys, Chance(batch["seed"]))

    def discriminator_loss(self, split: Decomposition, batch: Batch) -> dict[str, Tensor]:
        """Tell clean pictures from backgrounds."""
        shown = self._shown(torch.cat((batch["clean"], split.background.detach())))
        real, fake = self.discriminator(shown).chunk(2)
        return {"discriminator": self.adversarial.discriminator(real, fake)}

    def generator_loss(self, split: Decomposition, batch: Batch) -> dict[str, Tensor]:
        """All terms of the decomposition, weighted."""
        weight = self.config.loss
        judged = self._judged(split)
        logits = judged.pop().chunk(2)[0]
        residual = split.rainy - split.background
        return {
            "adversarial": weight.adv * self.adversarial.generator(logits),
            "location": weight.location * self.location_contrast(split),
            "layer": weight.layer * self.layer_contrast(split, judged),
            "consistency": weight.consistency * self.consistency(split.background, split.rain, split.rainy),
            "sparsity": weight.sparsity * self.sparsity(split.rain if weight.sparsity_on == "rain" else residual),
        }

    def location_contrast(self, split: Decomposition) -> Tensor:
        """Each place of the output is that place of the input; the same for clean pictures mapped to themselves."""
        s, size = self.config.sampler, split.pictures.shape[2:]
        queries = self.background.features(_last(split.mapped), self.config.features.gen_layers)
        negative = pool = None
        if s.loc_sampling == "nonlocal":
            anchors = self._drawn(self.sampler.anchors, split, 1)
            centres = self.sampler.nonlocal_(split.keys[0], s.num_locations, anchors)[:, 0]
        else:
            centres = self._drawn(self.sampler.random, split, s.num_locations)
        if s.loc_sampling == "reverse_nonlocal":
            places = self._drawn(self.sampler.random, split, s.num_locations)
            negative = self.sampler.reverse_nonlocal(split.pictures, centres, places, s.num_loc_neg)
            pool = self.heads["loc"]([read_features(level, places, size) for level in split.keys])
        query = self.heads["loc"]([read_features(level, centres, size) for level in queries])
        key = self.heads["loc"]([read_features(level, centres, size) for level in split.keys])
        levels = zip(query, key, pool or [None] * len(key), strict=True)
        return torch.stack([self.location(q, k, p, negative) for q, k, p in levels]).mean()

    def layer_contrast(self, split: Decomposition, judged: list[Tensor]) -> Tensor:
        """Like patches of the background together, like patches of the rain together, both apart, on every level."""
        s, B = self.config.sampler, len(split.rainy)
        vectors = []
        halves = [[level[:B] for level in judged], [level[B:] for level in judged]]
        for layer, k, head, levels in (
            (split.background, s.num_pos, "back", halves[0]), (split.rain, s.num_neg, "rain", halves[1]),
        ):  # fmt: skip
            anchors = self.sampler.anchors(layer, s.num_anchors, split.chance)
            centres = self.sampler.nonlocal_(layer, k, anchors).flatten(1, 2)  # (B, A k, 2)
            read = self.heads[head]([read_features(level, centres, layer.shape[2:]) for level in levels])
            vectors.append([each.unflatten(1, (-1, k)).flatten(0, 1) for each in read])  # (B A, k, D)
        terms = [self.layer(image, rain) for image, rain in zip(*vectors, strict=True)]
        return torch.stack(terms).mean()

    def watched(self, split: Decomposition) -> dict[str, Tensor]:
        """Mean and minimum of the rain layer, which nothing forces to be positive, in units of a 0..1 picture."""
        rain = split.rain.detach() / 2
        return {"rain_mean": rain.mean(), "rain_min": rain.min()}

    def scores(self, model: nn.Module) -> dict[str, float]:
        """PSNR on drawn rain over clean pictures kept apart."""
        return self._validation.scores(model)

    def save(self, path: Path, model: nn.Module, card: dict[str, Any]) -> None:
        """Write the exported generator."""
        assert isinstance(model, SingleFrameDerainer)
        save_generator(path, model, profile=self.name, card={"method": self.name, **card})

    def _judged(self, split: Decomposition) -> list[Tensor]:
        """The discriminator's levels for backgrounds and rain layers along the batch, then its logits."""
        both = torch.cat((split.background, split.rain))
        numbers = [n for n in self._levels if n != "image"]
        taps = self.discriminator.features(self._shown(both), (*numbers, self.discriminator.logits_layer))
        return [both, *taps] if "image" in self._levels else taps

    def _shown(self, pictures: Tensor) -> Tensor:
        """What the discriminator sees of pictures."""
        return _last(detail(pictures) if self.config.gan.view == "detail" else pictures)

    @staticmethod
    def _drawn(draw: Callable[[Tensor, int, Chance], Tensor], split: Decomposition, count: int) -> Tensor:
        """Centres in all pictures: the clean ones share the chance of the rainy ones of their sample."""
        return torch.cat([draw(part, count, split.chance) for part in split.pictures.split(len(split.chance))])


def detail(pictures: Tensor) -> Tensor:
    """Grey fine structure, (B, 3, H, W) with three equal channels: four times what a mean over 15x15 pixels leaves."""
    grey = pictures.mean(1, keepdim=True)
    reach = DETAIL // 2
    smooth = functional.avg_pool2d(functional.pad(grey, (reach,) * 4, mode="reflect"), DETAIL, 1)
    return (4 * (grey - smooth)).expand(-1, 3, -1, -1)


def _group(network: nn.Module, lr: float, optim: OptimConfig) -> Group:
    return Group(list(network.parameters()), lr, optim.betas, optim.weight_decay)


def _last(pictures: Tensor) -> Tensor:
    """Channels last: what convolutions without a norm run fastest in."""
    return pictures.contiguous(memory_format=torch.channels_last)
