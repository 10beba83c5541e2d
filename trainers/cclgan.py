"""CCLGAN: cycle contrastive adversarial learning for unsupervised deraining (arXiv 2407.11750)."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from streamderain.core.chance import Chance
from streamderain.core.checkpoint import save_generator
from streamderain.core.contrast import PatchNCELoss, ProjectionHead
from streamderain.core.cycle import CyclePictures, CycleTranslator
from streamderain.core.discriminator import PatchDiscriminator
from streamderain.core.encoders import relu_layers
from streamderain.core.generators import ResnetGenerator
from streamderain.core.losses import GANLoss, IdentityLoss
from streamderain.core.patches import PatchSampler, read_features
from streamderain.core.ratio import ContrastiveRatioLoss
from streamderain.core.single_frame import SingleFrameDerainer

from .clips import Clip
from .config import OptimConfig, TrainConfig, above, at_least, multiple_of, not_empty
from .frozen import EncoderFiles, Space, perceptual_space, semantic_space
from .loop import Batch, Group, Player
from .pictures import DataConfig, Pictures, apart
from .validation import Validation

INTRA_LAYERS = relu_layers(16, ("relu1_2", "relu2_2", "relu3_3"))
INTRA_WEIGHTS = (1 / 32, 1 / 16, 1 / 8)
PAIR = 0.2  # weight of the distance between an output and the rebuilt picture of its domain


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """network.*: width and depth of the translators, width of the discriminators."""

    ngf: int = 64
    num_blocks: int = 9
    ndf: int = 64


@dataclass(frozen=True, slots=True)
class GANConfig:
    """gan.*: the adversarial game.

    Attributes:
        mode: "hinge" as published, or "lsgan".
        generator_form: "hinge", CCLGAN's own, silent once D is convinced; "linear" the usual one.
    """

    mode: Literal["hinge", "lsgan"] = "hinge"
    generator_form: Literal["hinge", "linear"] = "hinge"


@dataclass(frozen=True, slots=True)
class LossConfig:
    """loss.*: weights of the terms; adv is that of each side."""

    adv: float = 0.5
    location: float = 2.0
    identity: float = 1.0
    intra: float = 1.0
    inter: float = 0.48


@dataclass(frozen=True, slots=True)
class LCLConfig:
    """lcl.*: who encodes the rebuilt pictures: the translator that takes their domain, or, as the code, the other.

    Attributes:
        cycle_encoders: "own" or "swapped".
    """

    cycle_encoders: Literal["own", "swapped"] = "own"


@dataclass(frozen=True, slots=True)
class IntraConfig:
    """intra.*: the semantic space.

    Attributes:
        encoders: as the code, or clip alone as the paper's summary.
        encoder_norm: "native" normalises the encoders' input as they were trained; "raw" feeds -1..1 as the code does.
    """

    encoders: tuple[Literal["clip", "vgg16"], ...] = ("clip", "vgg16")
    encoder_norm: Literal["native", "raw"] = "native"


@dataclass(frozen=True, slots=True)
class InterConfig:
    """inter.*: the discriminative space.

    Attributes:
        train_heads: train the heads; the code leaves them as they were drawn.
    """

    train_heads: bool = True


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
    """sampler.*: random places of each picture for the location contrast, and for inter-CCL."""

    num_locations: int = 256
    num_inter: int = 64

    def __post_init__(self) -> None:
        at_least("num_locations", self.num_locations, 2)
        at_least("num_inter", self.num_inter, 1)


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """features.*: levels of the translators (location contrast) and of the discriminators (inter-CCL)."""

    gen_layers: tuple[int, ...] = (4, 8, 12)
    disc_layers: tuple[int | Literal["image"], ...] = ("image", 3, 7)

    def __post_init__(self) -> None:
        for name in ("disc_layers", "gen_layers"):
            not_empty(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class CCLGANConfig:
    """The paper's defaults. A step costs six translations; the paper's 400 epochs of 9,432 pictures need a GPU."""

    data: DataConfig = field(default_factory=lambda: DataConfig(preprocess="resize_crop", flip=True))
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=200, decay_epochs=200))
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(head_lr=1e-3))
    gan: GANConfig = field(default_factory=GANConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    lcl: LCLConfig = field(default_factory=LCLConfig)
    intra: IntraConfig = field(default_factory=IntraConfig)
    inter: InterConfig = field(default_factory=InterConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        multiple_of("crop_size", self.data.crop_size, 4)  # the translators halve it twice


@dataclass(frozen=True, slots=True)
class Translations:
    """What both players look at: the two real pictures, the six made ones, the samples' chance."""

    rainy: Tensor
    clean: Tensor
    made: CyclePictures
    chance: Chance


class CCLGAN:
    """Two translators between rainy and clean pictures; contrast closes the cycle where others compare pixels.

    Args:
        config: networks, losses, data.
        rainy: rainy clips; every tenth is kept apart.
        clean: clean clips, not of the same scenes; every tenth is kept apart for the score.
        encoders: of intra-CCL; without CLIP's weights it does without, without VGG-16's the stream generator's encoder
            stands in.
    """

    name = "cclgan"
    config_type: ClassVar[type[Any]] = CCLGANConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "cclgan_released": {
            "lcl.cycle_encoders": "swapped", "intra.encoder_norm": "raw", "inter.train_heads": False,
        },
    }  # fmt: skip

    def __init__(
        self, config: CCLGANConfig, rainy: list[Clip], clean: list[Clip], encoders: EncoderFiles | None = None
    ) -> None:
        torch.manual_seed(config.train.seed)
        self.config, network = config, config.network
        translators = [ResnetGenerator(network.ngf, network.num_blocks) for _ in range(2)]
        self.cycle = CycleTranslator(*translators)
        self.to_clean, self.to_rainy = translators
        self.judge_clean, self.judge_rainy = (PatchDiscriminator(network.ndf) for _ in range(2))
        dim, taps = config.contrast.dim, config.features.gen_layers
        channels = _channels(self.to_clean, taps)
        self.rainy_head, self.clean_head = (ProjectionHead(channels, dim) for _ in range(2))  # F_1, F_2
        numbers = [n for n in config.features.disc_layers if n != "image"]
        judged = self.judge_clean.channels(numbers)
        judged = [3, *judged] if "image" in config.features.disc_layers else judged
        self.inter_heads = nn.ModuleDict({"clean": ProjectionHead(judged, dim), "rainy": ProjectionHead(judged, dim)})
        self.networks = nn.ModuleDict({
            "cycle": self.cycle, "judge_clean": self.judge_clean, "judge_rainy": self.judge_rainy,
            "rainy_head": self.rainy_head, "clean_head": self.clean_head, "inter_heads": self.inter_heads,
        })  # fmt: skip
        self.exported = SingleFrameDerainer(self.to_clean, low=config.data.range[0], output="background")
        seen, unseen = apart(clean)
        self.samples = Pictures(apart(rainy)[0], seen, config.data, seed=config.train.seed)
        self._validation = Validation(unseen, config.data)
        self.spaces = _spaces(config, encoders or EncoderFiles())
        self.adversarial = GANLoss(config.gan.mode, config.gan.generator_form)
        self.identity, self.location = IdentityLoss(), PatchNCELoss(config.contrast.temperature)
        self.intra = {
            space.name: ContrastiveRatioLoss(space.weights, "sum_of_ratios", negative_weights=(1.0, 0.1))
            for space in self.spaces
        }
        self.inter = ContrastiveRatioLoss([1.0] * len(judged), "mean_over_locations", pair=PAIR)
        self.sampler = PatchSampler(patch_size=2)

    @property
    def notes(self) -> dict[str, str]:
        """What a checkpoint should say beside the configuration."""
        return {"contrast_space": " and ".join(space.name for space in self.spaces)}

    @property
    def players(self) -> tuple[Player, ...]:
        """Both discriminators, then both translators with the heads."""
        optim = self.config.optim
        head_lr = optim.lr if optim.head_lr is None else optim.head_lr
        disc_lr = optim.lr if optim.disc_lr is None else optim.disc_lr
        heads = [*self.rainy_head.parameters(), *self.clean_head.parameters()]
        heads += self.inter_heads.parameters() if self.config.inter.train_heads else []
        judges = [*self.judge_clean.parameters(), *self.judge_rainy.parameters()]
        return (
            Player((Group(judges, disc_lr, optim.betas, optim.weight_decay),), self.discriminator_loss),
            Player((
                Group(list(self.cycle.parameters()), optim.lr, optim.betas, optim.weight_decay),
                Group(heads, head_lr, (0.9, 0.999), optim.weight_decay),
            ), self.generator_loss),
        )  # fmt: skip

    def forward(self, batch: Batch, step: int) -> Translations:
        """All six translations."""
        made = self.cycle(batch["rainy"], batch["clean"])
        return Translations(batch["rainy"], batch["clean"], made, Chance(batch["seed"]))

    def discriminator_loss(self, seen: Translations, batch: Batch) -> dict[str, Tensor]:
        """Tell real pictures of each domain from made ones."""
        sides = (
            ("clean", self.judge_clean, seen.clean, seen.made.derained),
            ("rainy", self.judge_rainy, seen.rainy, seen.made.rained),
        )
        return {
            f"discriminator_{name}": self.adversarial.discriminator(*judge(torch.cat((real, made.detach()))).chunk(2))
            for name, judge, real, made in sides
        }

    def generator_loss(self, seen: Translations, batch: Batch) -> dict[str, Tensor]:
        """All terms, weighted."""
        weight, made = self.config.loss, seen.made
        convinced = self.adversarial.generator(self.judge_clean(made.derained))
        convinced = convinced + self.adversarial.generator(self.judge_rainy(made.rained))
        same = 0.5 * (self.identity(made.same_clean, seen.clean) + self.identity(made.same_rainy, seen.rainy))
        terms = {
            "adversarial": weight.adv * convinced,
            "location": weight.location * self.location_contrast(seen),
            "identity": weight.identity * same,
            "inter": weight.inter * self.inter_contrast(seen),
        }
        if self.spaces:
            terms["intra"] = weight.intra * self.intra_contrast(seen)
        return terms

    def location_contrast(self, seen: Translations) -> Tensor:
        """LCL: a place stays that place through each translation; rainy-looking pictures go to G_n, others to G_r."""
        made = seen.made
        own = self.config.lcl.cycle_encoders == "own"
        terms = [
            self._located(made.derained, "clean", seen.rainy, "rainy", seen.chance),
            self._located(made.rained, "rainy", seen.clean, "clean", seen.chance),
            self._located(made.rainy_again, "rainy", made.derained, "clean", seen.chance, swapped=not own),
            self._located(made.clean_again, "clean", made.rained, "rainy", seen.chance, swapped=not own),
        ]
        return torch.stack(terms).mean()

    def intra_contrast(self, seen: Translations) -> Tensor:
        """A rebuilt picture is near its original and far from the other domain, in the encoders' spaces."""
        made = seen.made
        cycles = (
            (made.rainy_again, seen.rainy, seen.clean, made.derained),
            (made.clean_again, seen.clean, seen.rainy, made.rained),
        )
        total = torch.zeros((), device=seen.rainy.device)
        for space in self.spaces:
            for anchor, *others in cycles:
                with torch.no_grad():
                    positive, *negatives = (space.extract(self._shown(picture)) for picture in others)
                total = total + self.intra[space.name]([space.extract(self._shown(anchor))], positive, negatives)
        return total / 2

    def inter_contrast(self, seen: Translations) -> Tensor:
        """Made pictures of a domain are near a real one of it and far from one of the other, as its D sees them."""
        made = seen.made
        sides = (
            ("clean", self.judge_clean, made.derained, made.clean_again, seen.clean, seen.rainy),
            ("rainy", self.judge_rainy, made.rained, made.rainy_again, seen.rainy, seen.clean),
        )
        terms = []
        for name, judge, *pictures in sides:
            first, second, positive, negative = (
                self._embedded(judge, self.inter_heads[name], picture, seen.chance) for picture in pictures
            )
            terms.append(self.inter([first, second], positive, [negative]))
        return torch.stack(terms).sum()

    def watched(self, seen: Translations) -> dict[str, Tensor]:
        """How far the derained pictures are from the rainy ones, in units of a 0..1 picture."""
        return {"change": (seen.made.derained.detach().float() - seen.rainy).abs().mean() / 2}

    def scores(self, model: nn.Module) -> dict[str, float]:
        """PSNR on drawn rain over clean pictures kept apart."""
        return self._validation.scores(model)

    def save(self, path: Path, model: nn.Module, card: dict[str, Any]) -> None:
        """Write G_n."""
        assert isinstance(model, SingleFrameDerainer)
        save_generator(path, model, profile=self.name, card={"method": self.name, **self.notes, **card})

    def _located(
        self, query: Tensor, query_domain: str, key: Tensor, key_domain: str, chance: Chance, *, swapped: bool = False
    ) -> Tensor:
        """PatchNCE between two pictures; "swapped" lets the other translator encode, the heads stay."""
        encoders = {"rainy": self.to_clean, "clean": self.to_rainy}
        if swapped:
            encoders = {"rainy": self.to_rainy, "clean": self.to_clean}
        heads = {"rainy": self.rainy_head, "clean": self.clean_head}
        centres = self.sampler.random(query, self.config.sampler.num_locations, chance)
        taps = self.config.features.gen_layers

        def embedded(picture: Tensor, domain: str) -> list[Tensor]:
            levels = encoders[domain].features(picture, taps)
            return heads[domain]([read_features(level, centres, picture.shape[2:]) for level in levels])

        queries = embedded(query, query_domain)
        with torch.no_grad():
            keys = embedded(key, key_domain)
        return torch.stack([self.location(q, k) for q, k in zip(queries, keys, strict=True)]).mean()

    def _embedded(
        self, judge: PatchDiscriminator, head: nn.Module, picture: Tensor, chance: Chance
    ) -> list[Tensor]:
        """A picture's levels at random places of its own."""
        layers = self.config.features.disc_layers
        levels = judge.features(picture, [n for n in layers if n != "image"])
        levels = [picture, *levels] if "image" in layers else levels
        centres = self.sampler.random(picture, self.config.sampler.num_inter, chance)
        return head([read_features(level, centres, picture.shape[2:]) for level in levels])

    def _shown(self, picture: Tensor) -> Tensor:
        """A picture as the encoders take it: 0..1, or -1..1 for "raw"."""
        return picture.float() if self.config.intra.encoder_norm == "raw" else (picture.float() + 1) / 2


def _spaces(config: CCLGANConfig, files: EncoderFiles) -> list[Space]:
    """The encoders of intra-CCL that there are weights for."""
    wanted, device, native = config.intra.encoders, config.train.device, config.intra.encoder_norm == "native"
    semantic = semantic_space(files, device, native=native) if "clip" in wanted else None
    found = [semantic] if semantic else []
    if "vgg16" in wanted or not found:
        found.append(perceptual_space(files, 16, INTRA_LAYERS, INTRA_WEIGHTS, device, native=native))
    return found


def _channels(translator: ResnetGenerator, taps: tuple[int, ...]) -> list[int]:
    """Channels of the taps, by looking."""
    with torch.no_grad():
        return [tap.shape[1] for tap in translator.features(torch.zeros(1, 3, 32, 32), taps)]
