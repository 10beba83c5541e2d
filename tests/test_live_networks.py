"""The networks of a live run, with the weights that ship."""
from __future__ import annotations

import threading

import numpy as np
import pytest
from live_fakes import make_frame

from streamderain import Derainer
from streamderain.core.checkpoint import save_generator
from streamderain.core.generators import ResidualGenerator
from streamderain.core.single_frame import SingleFrameDerainer
from streamderain.errors import DerainError
from streamderain.live.controls import Controls, Settings
from streamderain.live.ladder import Rung
from streamderain.live.networks import Networks


def test_each_profile_is_loaded_once_and_comes_without_a_past():
    loads = []

    def make(**options):
        loads.append(options["profile"])
        return Derainer(**options)

    networks = Networks(device="cpu", make=make)
    assert networks.start == "tiny" and networks.profiles[0] == "auto" and {"tiny", "realtime"} <= {*networks.profiles}
    networks.warm_up(Rung("tiny", 1, 1.0))
    derainer = networks.take(Rung("tiny", 2, 1.0))
    assert derainer.scale == 2 and derainer.past.view is None
    derainer(make_frame(width=64, height=48))
    assert networks.take(Rung("tiny", 1, 1.0)) is derainer and derainer.past.view is None and derainer.scale == 1
    assert loads == ["tiny"]


def test_networks_that_are_built_are_all_built_before_the_camera_is_opened():
    loads = []

    def make(**options):
        loads.append(options.pop("profile"))
        assert options.pop("backend") == "tensorrt" and options.pop("cache_dir") == "kept"
        made = Derainer(profile="tiny", **options)
        made.backend = "tensorrt"
        return made

    networks = Networks(device="cpu", make=make, backend="tensorrt", cache_dir="kept")
    first = networks.rungs[0]
    networks.warm_up(first)
    assert set(loads) == {rung.profile for rung in networks.rungs} - {None}
    assert len(loads) == len(set(loads))
    for rung in networks.rungs[:-1]:
        assert networks.take(rung).scale == rung.scale
    assert len(loads) == len(set(loads))


def test_a_model_file_is_the_only_network():
    from streamderain import weights

    networks = Networks(device="cpu", model=weights.find("tiny"))
    assert networks.profiles == ("auto", "tiny") and networks.start == "tiny"
    assert [rung.profile for rung in networks.rungs] == ["tiny", "tiny", "tiny", None]


def test_a_published_network_is_warmed_up_and_derains_at_every_size(tmp_path):
    path = tmp_path / "best.safetensors"
    network = SingleFrameDerainer(ResidualGenerator(4, 1), low=-1, output="background")
    save_generator(path, network, profile="nlcl", card={})
    networks = Networks(device="cpu", model=path)
    assert networks.profiles == ("auto", "nlcl") and networks.start == "nlcl"
    assert [str(rung) for rung in networks.rungs] == [
        "nlcl", "nlcl at 1/2 size", "nlcl at 1/4 size", "no deraining",
    ]  # fmt: skip
    assert Controls(Settings(), networks.profiles).ask(profile="nlcl").profile == "nlcl"
    frame = make_frame(3, width=66, height=50)
    for rung in networks.rungs[:-1]:
        networks.warm_up(rung)
        out = networks.take(rung)(frame)
        assert [plane.shape for plane in out.planes] == [plane.shape for plane in frame.planes]
        assert (out.planes[0] != frame.planes[0]).any()


def test_a_device_that_is_not_here_is_the_users_trouble():
    with pytest.raises(DerainError, match="unknown"):
        Networks(device="toaster")


def test_warming_up_leaves_results_alone():
    rung = Rung("tiny", 1, 1.0)
    warm, cold = Networks(device="cpu"), Networks(device="cpu")
    warm.warm_up(rung)
    frame = make_frame(3, width=64, height=48)
    for first, second in zip(warm.take(rung)(frame).planes, cold.take(rung)(frame).planes, strict=True):
        assert np.array_equal(first, second)


def test_a_compiled_model_is_made_in_the_thread_that_runs_it():
    from streamderain import weights

    threads = []

    def make(**options):
        threads.append(threading.current_thread().name)
        made = Derainer(**{**options, "backend": "eager"})
        made.backend = "compile"
        return made

    networks = Networks(device="cpu", model=weights.find("tiny"), make=make, backend="compile")
    derain = threading.Thread(target=lambda: networks.warm_up(networks.rungs[0]), name="derain")
    derain.start()
    derain.join()
    assert threads[1:] == ["derain"]
