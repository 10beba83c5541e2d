"""NLCL with the asymmetric contrastive loss (Ye et al., TPAMI 46(5), arXiv 2211.00837): one loss exchanged."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import nn

from streamderain.core.contrast import AsymmetricContrastiveLoss, LayerContrastiveLoss

from .nlcl import NLCL, PRESETS, ContrastConfig, NLCLConfig, SamplerConfig


@dataclass(frozen=True, slots=True)
class AsymmetricContrastConfig(ContrastConfig):
    """contrast.*: how the rain layer is pressed together more than the image.

    Attributes:
        asymmetry: "aggregation": the image is content once some of its patches are near, the rain when all are;
            "temperature": twice the temperature for the image; "none": NLCL's own loss.
    """

    asymmetry: Literal["aggregation", "temperature", "none"] = "aggregation"


@dataclass(frozen=True, slots=True)
class NLCLAsymConfig(NLCLConfig):
    """As NLCL's, with 64 patches of the image, so that "some of them" has a meaning."""

    contrast: AsymmetricContrastConfig = field(default_factory=AsymmetricContrastConfig)
    sampler: SamplerConfig = field(default_factory=lambda: SamplerConfig(num_pos=64))


class NLCLAsym(NLCL):
    """NLCL whose contrast between the layers knows that rain is the more compact one."""

    name = "nlcl_asym"
    config_type: ClassVar[type[Any]] = NLCLAsymConfig
    presets: ClassVar[dict[str, dict[str, Any]]] = {"colour_true": PRESETS["colour_true"]}

    def layer_loss(self) -> nn.Module:
        """The asymmetric loss, or one of its ablations."""
        temperature = self.config.contrast.temperature
        if self.config.contrast.asymmetry == "none":
            return LayerContrastiveLoss(temperature)
        if self.config.contrast.asymmetry == "temperature":
            return AsymmetricContrastiveLoss(2 * temperature, temperature, "outside", "outside")
        return AsymmetricContrastiveLoss(temperature, temperature)
