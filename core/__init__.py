"""What the papers say: pure functions and modules, without terminal or threads."""
from importlib import import_module as _import_module
from typing import Any as _Any

from streamderain.core.kernel_cache import ensure_place as _ensure_place

_ensure_place()  # before Numba is imported

_HOMES = {  # imported when asked for: a derainer needs none of what only training uses
    "AsymmetricContrastiveLoss": "contrast",
    "BlurPool": "blur",
    "BlurUpsample": "blur",
    "CLIPImageEncoder": "encoders",
    "Chance": "chance",
    "ConsistencyLoss": "losses",
    "ContrastiveRatioLoss": "ratio",
    "CycleTranslator": "cycle",
    "DilatedEncoder": "multiscale",
    "GANLoss": "losses",
    "IdentityLoss": "losses",
    "LayerContrastiveLoss": "contrast",
    "MixedUpsample": "multiscale",
    "PatchDiscriminator": "discriminator",
    "PatchNCELoss": "contrast",
    "PatchSampler": "patches",
    "ProjectionHead": "contrast",
    "RecruitmentPath": "multiscale",
    "RecursiveMultiScaleNet": "multiscale",
    "ResidualGenerator": "generators",
    "ResnetGenerator": "generators",
    "SSIMLoss": "losses",
    "SparsityLoss": "losses",
    "StreamEncoder": "encoders",
    "StreamGenerator": "stream",
    "VGGEncoder": "encoders",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> _Any:
    if name in _HOMES:
        return getattr(_import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
