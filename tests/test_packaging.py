"""What is installed is what stands in the tree, and a bare checkout runs too."""
import os
import subprocess
import sys
from importlib import metadata

import check_wheel
import pytest

from streamderain import __version__

ROOT = check_wheel.ROOT
# an editable install knows where core/ stands; without its finder the package must find it alone
WHERE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]
import streamderain.core.rain, streamderain.trainers
print(streamderain.core.rain.__file__)
"""


def python(*arguments, cwd, **environment):
    """What a fresh interpreter elsewhere prints, with nothing but the given path to find streamderain by."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=kept | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_package_of_the_tree_is_listed():
    assert check_wheel.package_folders() == check_wheel.listed_packages()


def test_every_folder_with_python_files_is_a_package():
    folders = {path.parent for top in check_wheel.FOLDERS.values() for path in (ROOT / top).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.fixture
def small_tree(tmp_path, monkeypatch):
    """A tree of one module in each folder, and a faithful copy of it as a wheel would unpack."""
    for installed, folder in check_wheel.FOLDERS.items():
        for place in (tmp_path / "tree" / folder, tmp_path / "unpacked" / installed):
            place.mkdir(parents=True, exist_ok=True)
            (place / "module.py").write_text("number = 1\n")
    monkeypatch.setattr(check_wheel, "ROOT", tmp_path / "tree")
    return tmp_path


def test_faithful_copy_does_not_differ(small_tree):
    assert check_wheel.differences(small_tree / "unpacked") == []


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("tree/core/page.html", "new", "missing from the wheel: streamderain/core/page.html"),
        ("unpacked/streamderain/old.py", "old", "only in the wheel: streamderain/old.py"),
        ("unpacked/streamderain/trainers/module.py", "other", "differs: streamderain/trainers/module.py"),
    ],
)
def test_each_difference_is_found(small_tree, name, text, expected):
    (small_tree / name).write_text(text)
    assert check_wheel.differences(small_tree / "unpacked") == [expected]


@pytest.mark.slow
def test_wheel_holds_the_tree(tmp_path):
    found = metadata.version("setuptools") if "setuptools" in {d.name for d in metadata.distributions()} else "0"
    if int(found.partition(".")[0]) < 77:
        pytest.skip("setuptools of at least 77 is not installed; tests/check_wheel.py fetches one")
    pytest.importorskip("build", reason="the dev extra is not installed")
    check_wheel.unpack(check_wheel.build(isolated=False), tmp_path)
    assert check_wheel.differences(tmp_path) == []
    assert python("-c", WHERE, cwd="/", PYTHONPATH=str(tmp_path)) == str(tmp_path / "streamderain" / "core" / "rain.py")


def test_bare_checkout_imports_from_elsewhere(tmp_path):
    assert python("-c", WHERE, cwd=tmp_path, PYTHONPATH=str(ROOT)) == str(ROOT / "core" / "rain.py")


def test_version_is_told(tmp_path):
    told = python("-m", "streamderain", "--version", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert told == f"streamderain, version {__version__}"


def test_importing_the_package_is_light(tmp_path):
    code = "import sys, streamderain; print({'torch', 'numba', 'cv2', 'av'} & sys.modules.keys())"
    assert python("-c", code, cwd=tmp_path, PYTHONPATH=str(ROOT)) == "set()"
