"""Where the kernels' compiled code is kept when nothing of the user's can be written."""
import os

from streamderain.core import kernel_cache


def test_without_any_place_a_temporary_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel_cache.tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv(kernel_cache.VARIABLE, raising=False)
    kernel_cache.ensure_place()
    assert kernel_cache.VARIABLE not in os.environ  # the package's own folder does
    monkeypatch.setattr(kernel_cache, "usable", lambda places: False)
    monkeypatch.setenv(kernel_cache.VARIABLE, "/proc/nope")
    kernel_cache.ensure_place()
    assert os.environ[kernel_cache.VARIABLE].startswith(str(tmp_path / "streamderain-numba-"))


def test_a_place_is_one_that_can_be_made(tmp_path):
    (tmp_path / "file").touch()
    assert kernel_cache.usable([tmp_path / "a" / "b"])
    assert not kernel_cache.usable([tmp_path / "file", tmp_path / "file" / "below"])
