"""How weights are made: data, one loop, one file per method."""
from importlib import import_module as _import_module
from typing import Any as _Any

METHODS = {
    "nlcl": "Non-local contrastive learning (CVPR 2022): unpaired rainy and clean pictures.",
    "nlcl_asym": "NLCL with the asymmetric contrastive loss (TPAMI): unpaired.",
    "rdmc": "Recursive dynamic multi-scale network: pairs, or drawn rain over clean pictures.",
    "cclgan": "Cycle contrastive adversarial learning: unpaired.",
    "stream": "The stream generator on rendered rain over clean material; it makes the weights that ship.",
}
_CLASSES = {
    "nlcl": "NLCL", "nlcl_asym": "NLCLAsym", "rdmc": "RDMC", "cclgan": "CCLGAN", "stream": "StreamTraining",
}  # fmt: skip


def method_class(name: str) -> _Any:
    """The class of a method by its name in METHODS, imported now."""
    return getattr(_import_module(f"{__name__}.{name}"), _CLASSES[name])
