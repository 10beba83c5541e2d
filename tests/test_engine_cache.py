"""Engines on disk: found under their own key only, never half written, never trusted when damaged."""
from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from engine_fakes import single, stream

from streamderain import engine_cache
from streamderain.core.checkpoint import save_tensors
from streamderain.engine_cache import BrokenEngine, EngineFiles, default_folder, machine_key, weights_digest

KEY = {"weights": "0", "shapes": ((1, 2), (3, 4)), "gpu": ["NVIDIA", [9, 0]]}


def test_an_engine_comes_back_as_it_was(tmp_path):
    files = EngineFiles(tmp_path / "deep" / "folder")
    assert files.load(KEY) is None
    content = bytes(range(256)) * 5
    files.save(KEY, content)
    assert files.load(KEY) == content
    assert [path.name for path in files.folder.iterdir()] == [files.path(KEY).name]  # nothing temporary is left
    assert EngineFiles(files.folder).load(dict(reversed(KEY.items()))) == content
    files.save(KEY, b"newer")
    assert files.load(KEY) == b"newer"
    files.delete(KEY)
    files.delete(KEY)
    assert files.load(KEY) is None


@pytest.mark.parametrize("name, other", [("weights", "1"), ("shapes", ((1, 2), (3, 5))), ("gpu", ["NVIDIA", [8, 9]])])
def test_another_key_finds_nothing(tmp_path, name, other):
    files = EngineFiles(tmp_path)
    files.save(KEY, b"engine")
    assert files.load(KEY | {name: other}) is None


def test_a_new_format_knows_no_old_file(tmp_path, monkeypatch):
    files = EngineFiles(tmp_path)
    files.save(KEY, b"engine")
    monkeypatch.setattr(engine_cache, "FORMAT", engine_cache.FORMAT + 1)
    assert files.load(KEY) is None


@pytest.mark.parametrize("damage", ["empty", "short", "noise", "one bit", "no engine"])
def test_a_damaged_engine_is_not_loaded(tmp_path, damage):
    files = EngineFiles(tmp_path)
    files.save(KEY, b"engine" * 100)
    path = files.path(KEY)
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes({"empty": b"", "short": content[:-20], "noise": os.urandom(500)}.get(damage, flipped))
    if damage == "no engine":
        save_tensors(path, {"other": torch.zeros(1)}, {})
    with pytest.raises(BrokenEngine):
        files.load(KEY)


def test_a_file_under_a_foreign_name_is_a_stranger(tmp_path):
    files = EngineFiles(tmp_path)
    files.save(KEY, b"engine")
    other = KEY | {"weights": "1"}
    files.path(KEY).rename(files.path(other))
    with pytest.raises(BrokenEngine, match="something else"):
        files.load(other)


def test_a_disk_that_refuses_is_an_oserror(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError):
        EngineFiles(tmp_path / "file").save(KEY, b"engine")


def test_a_digest_knows_weights_config_and_family():
    first = weights_digest(stream())
    assert first == weights_digest(stream()) != weights_digest(stream(seed=1))
    assert len({first, weights_digest(stream(blocks=(1, 1, 1, 1, 2))), weights_digest(single())}) == 3
    changed = stream()
    with torch.no_grad():
        changed.tail.bias[2] += 1e-7
    assert weights_digest(changed) != first
    assert weights_digest(stream().to(memory_format=torch.channels_last)) == first  # the same numbers, laid otherwise
    assert weights_digest(stream().half()) != first


def test_the_machines_key_names_gpu_and_versions(monkeypatch):
    assert machine_key("cpu")["gpu"] is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card of {device}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    key = machine_key("cuda:1")
    assert key["gpu"] == ["card of cuda:1", [9, 0]]
    assert key["torch"] == torch.__version__
    assert "streamderain" in key


@pytest.mark.parametrize("platform, variables, expected", [
    ("linux", {"HOME": "/home/me"}, "/home/me/.cache/streamderain"),
    ("linux", {"HOME": "/home/me", "XDG_CACHE_HOME": "/fast"}, "/fast/streamderain"),
    ("darwin", {"HOME": "/Users/me", "XDG_CACHE_HOME": "/fast"}, "/Users/me/Library/Caches/streamderain"),
    ("win32", {"LOCALAPPDATA": "/C/Local"}, "/C/Local/streamderain"),
    ("linux", {"HOME": "/home/me", "STREAMDERAIN_CACHE": "/mine"}, "/mine"),
    ("win32", {"LOCALAPPDATA": "/C/Local", "STREAMDERAIN_CACHE": "/mine"}, "/mine"),
])  # fmt: skip
def test_the_default_folder_is_the_platforms(monkeypatch, platform, variables, expected):
    for name in ("STREAMDERAIN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(engine_cache.sys, "platform", platform)
    assert default_folder() == Path(expected)
