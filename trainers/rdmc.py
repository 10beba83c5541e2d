"""RDMC: recursive dynamic multi-scale network with a contrastive prior (arXiv 2305.18092)."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from streamderain.core.checkpoint import save_generator
from streamderain.core.encoders import relu_layers
from streamderain.core.generators import start_at_zero
from streamderain.core.losses import SSIMLoss
from streamderain.core.multiscale import Recruitment, RecursiveMultiScaleNet
from streamderain.core.ratio import ContrastiveRatioLoss
from streamderain.core.single_frame import SingleFrameDerainer

from .clips import Clip
from .config import OptimConfig, TrainConfig, multiple_of
from .frozen import EncoderFiles, perceptual_space
from .loop import Batch, Group, Player
from .pictures import DataConfig, Pictures, apart
from .validation import Validation

CONTRAST_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
CONTRAST_LAYERS = {
    "conv_count": relu_layers(19, ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")),
    "module_count": (1, 3, 4, 8, 12),  # what counting modules amounts to where the activations work in place
}


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """network.*: see core.multiscale.

    Attributes:
        stages, widths, dilations, mask: of the network.
        zero_start: let every stage begin as the identity, which a short training needs; not in the code.
        recruitment: "search" trains the path weights as "learned" does, but in turns and on the other half of the data.
    """

    stages: int = 3
    widths: tuple[int, ...] = (32, 64, 128, 256, 256)
    dilations: tuple[int, ...] = (1, 2, 3)
    recruitment: Literal["learned", "search", "mask", "gated"] = "learned"
    mask: tuple[int, ...] | None = None
    zero_start: bool = False


@dataclass(frozen=True, slots=True)
class LossConfig:
    """loss.*: weights of the terms.

    Attributes:
        mse, ssim, contrast: weights.
        ctr_layers: VGG-19's layers by their count of convolutions, or of modules as the public code does.
        ctr_negatives: the sample's own rainy picture, or all of the batch.
    """

    mse: float = 0.1
    ssim: float = 1.0
    contrast: float = 0.1
    ctr_layers: Literal["conv_count", "module_count"] = "conv_count"
    ctr_negatives: Literal["self", "batch"] = "self"


@dataclass(frozen=True, slots=True)
class SearchOptimConfig(OptimConfig):
    """optim.*: Adam, with another rate for the ten architecture scalars.

    Attributes:
        arch_lr: of the scalars; their betas are 0.5, 0.999 and their weight decay 1e-3.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    arch_lr: float = 3e-4


@dataclass(frozen=True, slots=True)
class RDMCConfig:
    """The defaults of the public code. Its 150 epochs on 1,254 heavy pairs are a day on one GPU."""

    data: DataConfig = field(
        default_factory=lambda: DataConfig(pairing="paired", range=(0, 1), crop_size=128, preprocess="grid")
    )
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            batch_size=8, epochs=150, decay_epochs=0, schedule="steps", milestones=(30, 50, 80)
        )
    )
    optim: SearchOptimConfig = field(default_factory=SearchOptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        multiple_of("crop_size", self.data.crop_size, 16)  # the network halves it four times


class RDMC:
    """Learns from pairs: near the clean picture, far from the rainy one, in the pixels and in an encoder's space.

    Args:
        config: network, losses, data.
        rainy: with data.pairing "paired" clips of two frames, rainy and clean; else unused.
        clean: with "rendered" clean clips that drawn rain is laid over; else unused. Every tenth clip is kept apart.
        encoders: of the contrast; without VGG-19's weights the stream generator's encoder stands in.
    """

    name = "rdmc"
    config_type: ClassVar[type[Any]] = RDMCConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "rdmc_released": {  # no path is on, and the contrast has no gradient, so that it might as well not be there
            "network.recruitment": "mask", "network.mask": (0,) * 8, "loss.ctr_layers": "module_count",
            "loss.contrast": 0.0,
        },
    }  # fmt: skip

    def __init__(
        self, config: RDMCConfig, rainy: list[Clip], clean: list[Clip], encoders: EncoderFiles | None = None
    ) -> None:
        if config.data.pairing == "unpaired":
            raise ValueError("rdmc learns from pairs: set data.pairing to paired or rendered")
        torch.manual_seed(config.train.seed)
        self.config, network = config, config.network
        recruitment: Recruitment = "learned" if network.recruitment == "search" else network.recruitment
        self.network = RecursiveMultiScaleNet(
            network.stages, network.widths, network.dilations, recruitment, network.mask
        )
        if network.zero_start:
            start_at_zero(self.network.out)
        self.networks = self.exported = SingleFrameDerainer(self.network, low=config.data.range[0], output="background")
        self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        seen, unseen = apart(rainy if config.data.pairing == "paired" else clean)
        self.samples = _samples(config, seen)
        self._validation = Validation(unseen, config.data)
        self.ssim = SSIMLoss(1 - config.data.range[0]).to(config.train.device)
        layers = CONTRAST_LAYERS[config.loss.ctr_layers]
        self.space = perceptual_space(
            encoders or EncoderFiles(), 19, layers, CONTRAST_WEIGHTS, config.train.device, native=False
        )
        others = config.train.batch_size if config.loss.ctr_negatives == "batch" else 1
        self.ratio = ContrastiveRatioLoss(
            self.space.weights, "ratio_of_sums", negative_weights=[1 / others] * others
        )

    @property
    def notes(self) -> dict[str, str]:
        """What a checkpoint should say beside the configuration."""
        return {"contrast_space": self.space.name}

    @property
    def players(self) -> tuple[Player, ...]:
        """The network; with "search" the architecture moves first, on the other half of the data."""
        optim, scalars = self.config.optim, self.network.architecture()
        own = {id(scalar) for scalar in scalars}
        weights = [parameter for parameter in self.network.parameters() if id(parameter) not in own]
        network = Group(weights, optim.lr, optim.betas, optim.weight_decay)
        architecture = Group(scalars, optim.arch_lr, (0.5, 0.999), 1e-3, decoupled=False)
        if self.config.network.recruitment == "search":
            return Player((architecture,), self.search_loss), Player((network,), self.generator_loss)
        return (Player((network, architecture), self.generator_loss),)

    def forward(self, batch: Batch, step: int) -> None:
        """Nothing is shared: with "search" the two players see different pictures."""

    def generator_loss(self, forwarded: None, batch: Batch) -> dict[str, Tensor]:
        """All terms, weighted."""
        rainy, clean, weight = batch["rainy"], batch["clean"], self.config.loss
        background = self.network(rainy.contiguous(memory_format=torch.channels_last)).float()
        terms = {
            "mse": weight.mse * (background - clean).square().mean(),
            "ssim": weight.ssim * self.ssim(background, clean),
        }
        if weight.contrast:
            terms["contrast"] = weight.contrast * self.contrast(background, clean, rainy)
        return terms

    def search_loss(self, forwarded: None, batch: Batch) -> dict[str, Tensor]:
        """The same terms for the architecture's half of the data."""
        half = {name.removeprefix("search_"): value for name, value in batch.items() if name.startswith("search_")}
        return {f"search_{name}": term for name, term in self.generator_loss(None, half).items()}

    def contrast(self, background: Tensor, clean: Tensor, rainy: Tensor) -> Tensor:
        """Near the clean picture's features and far from the rainy one's, which are held still."""
        low = self.config.data.range[0]
        shown = [(picture - low) / (1 - low) for picture in (background, clean, rainy)]
        anchor = self.space.extract(shown[0])
        with torch.no_grad():
            positive, negative = self.space.extract(shown[1]), self.space.extract(shown[2])
        shifts = range(len(self.ratio.negative_weights))
        return self.ratio([anchor], positive, [[level.roll(n, 0) for level in negative] for n in shifts])

    def watched(self, forwarded: None) -> dict[str, Tensor]:
        """The largest weight among the recruited paths."""
        return {"path": self.network.scalars.detach().abs().max()}

    def scores(self, model: nn.Module) -> dict[str, float]:
        """PSNR on pairs kept apart."""
        return self._validation.scores(model)

    def save(self, path: Path, model: nn.Module, card: dict[str, Any]) -> None:
        """Write the network."""
        assert isinstance(model, SingleFrameDerainer)
        save_generator(path, model, profile=self.name, card={"method": self.name, **self.notes, **card})


class Halves(Dataset[dict[str, Tensor]]):
    """Samples of two halves of the data, those of the second under names that begin with search_.

    Args:
        first, second: the sets.
    """

    def __init__(self, first: Pictures, second: Pictures) -> None:
        self.first, self.second = first, second
        self.epoch_length = first.epoch_length

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        other = {f"search_{name}": value for name, value in self.second[index].items()}
        return self.first[index] | other


def _samples(config: RDMCConfig, clips: list[Clip]) -> Pictures | Halves:
    def pictures(part: list[Clip]) -> Pictures:
        sides = (part, []) if config.data.pairing == "paired" else ([], part)
        return Pictures(*sides, config.data, seed=config.train.seed)

    if config.network.recruitment == "search":
        return Halves(pictures(clips[::2]), pictures(clips[1::2]))
    return pictures(clips)
