"""Build the wheel from a copy of the tree, unpack it, and say where the two differ.

    python tests/check_wheel.py FOLDER      # leaves the unpacked wheel in FOLDER, for the type checker
"""
from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"streamderain": "streamderain", "streamderain/core": "core", "streamderain/trainers": "trainers"}
BESIDE = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def main() -> None:
    """Build, unpack and compare; a difference is an exit code of 1."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {Path(__file__).name} FOLDER")
    unpacked = Path(sys.argv[1])
    unpack(build(isolated=True), unpacked)
    found = differences(unpacked)
    sys.stdout.writelines(f"{line}\n" for line in found or ["the wheel holds the tree's files and nothing else"])
    sys.exit(1 if found else 0)


def listed_packages() -> set[str]:
    """The packages that setup.cfg names."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return set(setup["options"]["packages"].split())


def package_folders() -> set[str]:
    """The packages that stand in the tree, by their installed names."""
    return {
        ".".join([*installed.split("/"), *init.relative_to(ROOT / folder).parent.parts])
        for installed, folder in FOLDERS.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }


def build(*, isolated: bool) -> Path:
    """Build the wheel where no earlier build can leak into it.

    Args:
        isolated: fetch the build backend that pyproject.toml names; otherwise use the one that is installed.

    Returns:
        The wheel, in a temporary folder of its own.

    Raises:
        CalledProcessError: the build failed.
    """
    work = Path(tempfile.mkdtemp(prefix="streamderain-wheel-"))
    copy = work / "tree"
    copy.mkdir()
    for name in (*FOLDERS.values(), *BESIDE):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    isolation = [] if isolated else ["--no-isolation"]
    subprocess.run([sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", work, copy], check=True,
                   stdout=subprocess.DEVNULL)
    shutil.rmtree(copy)
    return next(work.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel that `build` made, and remove it with its folder."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    shutil.rmtree(wheel.parent)


def differences(unpacked: Path) -> list[str]:
    """One line for each file that is in only one of the unpacked wheel and the tree, or differs between them."""
    expected = {}
    for installed, folder in FOLDERS.items():
        for path in _files(ROOT / folder):
            expected[f"{installed}/{path.relative_to(ROOT / folder).as_posix()}"] = path
    found = {path.relative_to(unpacked).as_posix(): path for path in _files(unpacked) if ".dist-info" not in str(path)}
    lines = [f"missing from the wheel: {name}" for name in sorted(expected.keys() - found.keys())]
    lines += [f"only in the wheel: {name}" for name in sorted(found.keys() - expected.keys())]
    both = sorted(expected.keys() & found.keys())
    return lines + [f"differs: {name}" for name in both if expected[name].read_bytes() != found[name].read_bytes()]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


if __name__ == "__main__":
    main()
