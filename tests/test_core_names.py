"""What streamderain.core offers by name, without loading torch before it is asked for."""
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from streamderain import core

ROOT = Path(__file__).resolve().parent.parent
VOCABULARY = {
    "generators": ("ResidualGenerator", "ResnetGenerator"),
    "multiscale": ("RecursiveMultiScaleNet", "DilatedEncoder", "RecruitmentPath", "MixedUpsample"),
    "discriminator": ("PatchDiscriminator",),
    "blur": ("BlurPool", "BlurUpsample"),
    "contrast": ("ProjectionHead", "PatchNCELoss", "LayerContrastiveLoss", "AsymmetricContrastiveLoss"),
    "patches": ("PatchSampler",),
    "ratio": ("ContrastiveRatioLoss",),
    "losses": ("GANLoss", "SSIMLoss", "ConsistencyLoss", "SparsityLoss", "IdentityLoss"),
    "cycle": ("CycleTranslator",),
}


@pytest.mark.parametrize("home, name", [(home, name) for home, names in VOCABULARY.items() for name in names])
def test_a_name_is_the_object_of_its_module(home, name):
    assert name in core.__all__
    assert getattr(core, name) is getattr(import_module(f"streamderain.core.{home}"), name)


@pytest.mark.parametrize("name", core.__all__)
def test_everything_announced_is_there(name):
    found = getattr(core, name)
    assert found.__name__ == name
    assert found.__doc__


def test_names_stand_in_order():
    assert core.__all__ == sorted(core.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'streamderain\.core' has no attribute 'Discriminator'"):
        core.Discriminator  # noqa: B018


def test_importing_core_does_not_load_torch():
    code = "import sys, streamderain.core; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
