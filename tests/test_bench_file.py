"""Whole files in `streamderain bench`: FFmpeg's copies do the same work as a run of ours without its network."""
import re
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import av
import numpy as np
import pytest

from streamderain import containers, scene
from streamderain.bench import cases, file, transcode
from streamderain.bench.file import Clip
from streamderain.bench.rainless import Rainless
from streamderain.core.checkpoint import save_generator
from streamderain.core.stream import StreamGenerator
from streamderain.derain_file import FileJob, FileOptions
from streamderain.derainer import Derainer
from streamderain.errors import DerainError
from streamderain.report import Report

OPTIONS = containers.encoder_options("libx264", None, None)
FFMPEG = transcode.system_ffmpeg()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    scene.write_clip(path, (rainy for rainy, _ in scene.draw(64, 48, 9)))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_generator(path, StreamGenerator.from_profile("tiny"), profile="tiny", card={})
    return path


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def x264_settings(path):
    """What x264 writes of itself into the first picture: every option that it ran with."""
    with av.open(str(path)) as container:
        data = b"".join(bytes(packet) for packet in container.demux(video=0))
    return re.search(rb"options: ([^\0]+)", data)[1].decode()


def test_run_without_network_does_what_the_copy_does(tmp_path, clip, model):
    """Sample for sample and option for option: so what it takes longer is ours alone.

    Without loss, because x264 with several threads does not decide the same in every run, not even of one program.
    """
    ours, copy = tmp_path / "ours.mp4", tmp_path / "copy.mp4"
    with FileJob(clip, ours, FileOptions(crf=0), Report("", "")) as job:
        report = job.run(Rainless(model=model, device="cpu"))
    assert transcode.copy_through_pyav(clip, copy, encoder="libx264", options=OPTIONS | {"crf": "0"}) == 9
    assert report.frames_out == 9
    assert x264_settings(ours) == x264_settings(copy)
    for frame, one, other in zip(decoded(clip), decoded(ours), decoded(copy), strict=True):
        np.testing.assert_array_equal(one, frame)
        np.testing.assert_array_equal(other, frame)


def test_rainless_leaves_a_frame_as_it_is_and_searches_all_the_same(model):
    derainer = Rainless(model=model, device="cpu")
    frames = [np.ascontiguousarray(rainy.transpose(1, 2, 0)) for rainy, _ in scene.draw(64, 48, 3)]
    for frame, following in pairwise(frames):
        np.testing.assert_array_equal(derainer(frame, following), frame)
    assert "after" in derainer.past.fields and derainer.stage_ms["search"] > 0


def test_copy_ends_where_it_is_told(tmp_path, clip):
    assert transcode.copy_through_pyav(clip, tmp_path / "a.mp4", encoder="libx264", options=OPTIONS, frames=4) == 4
    assert len(decoded(tmp_path / "a.mp4")) == 4


@pytest.mark.skipif(FFMPEG is None, reason="there is no ffmpeg program here")
@pytest.mark.parametrize("frames", [4, None])
def test_copy_by_the_program(tmp_path, clip, frames):
    copy = tmp_path / "copy.mp4"
    transcode.copy_by_program(FFMPEG, clip, copy, encoder="libx264", options=OPTIONS, frames=frames)
    assert len(decoded(copy)) == (frames or 9)
    wanted = x264_settings(clip)  # drawn by the same encoder with the same options
    for name in ("crf", "subme", "me", "rc_lookahead", "bframes"):
        assert re.search(rf"\b{name}=(\S+)", x264_settings(copy))[1] == re.search(rf"\b{name}=(\S+)", wanted)[1]
    assert re.match(r"\S*\d", transcode.ffmpeg_program_version(FFMPEG))


def test_program_that_fails_is_told_in_one_line(tmp_path, clip):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho first >&2\necho no such codec >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(DerainError, match=r"did not copy the video \(no such codec\)"):
        transcode.copy_by_program(str(program), clip, tmp_path / "x.mp4", encoder="libx264", options=OPTIONS)


@pytest.mark.parametrize("program", [None, "/usr/bin/ffmpeg"])
def test_files_are_measured_in_turns(tmp_path, monkeypatch, clip, model, program):
    calls = []
    monkeypatch.setattr(file, "ROUNDS", 2)
    monkeypatch.setattr(transcode, "system_ffmpeg", lambda: program)
    monkeypatch.setattr(transcode, "ffmpeg_program_version", lambda program: "7.1")
    monkeypatch.setattr(transcode, "copy_through_pyav", lambda *_, frames, **__: calls.append(("pyav", frames)))
    monkeypatch.setattr(transcode, "copy_by_program", lambda name, *_, frames, **__: calls.append((name, frames)))
    whole, rest = Derainer(model=model, device="cpu"), Rainless(model=model, device="cpu")
    found = file.measure_file(cases.opened_scene(clip, 9).beginning(5), tmp_path, whole, rest)
    assert calls == [each for each in [("pyav", 5), (program, 5)] if each[0]] * 2
    assert whole.frames == rest.frames == 2 * 5
    assert found["end_to_end"]["frames"] == 5 and found["end_to_end"]["fps"] > 0
    assert {"decode", "encode", "search", "network"} <= found["end_to_end"]["ms_per_stage"].keys()
    assert found["copies"]["whole"]["calls"] == 2
    assert ("ffmpeg" in found["copies"]) == ("whole_over_ffmpeg" in found["copies"]["ratios"]) == bool(program)
    assert found["copies"]["versions"]["ffmpeg"] == ("7.1" if program else None)


def test_on_a_gpu_the_copies_are_compared_with_the_same_codecs(tmp_path, monkeypatch, clip):
    """What a GPU run of its own choice does is told apart: its decoder and encoder are not FFmpeg's copy's."""
    runs = []

    def derain(clip, output, derainer, options, kept):
        runs.append((derainer.name, options.device, options.decoder, options.encoder))
        kept.append(Report("", "", frames_out=9, seconds=1.0, decoder=options.decoder, encoder=options.encoder))

    monkeypatch.setattr(file, "ROUNDS", 1)
    monkeypatch.setattr(file, "_derain", derain)
    monkeypatch.setattr(file, "peak_memory", lambda device: nullcontext({}))
    whole, rest = (SimpleNamespace(name=name, device="cuda:1") for name in ("whole", "rest"))
    found = file.measure_file(Clip(clip, 9, None), tmp_path, whole, rest)
    assert runs == [
        ("rest", "cuda:1", "cpu", "libx264"), ("whole", "cuda:1", "cpu", "libx264"), ("whole", "cuda:1", "auto", "auto")
    ]  # fmt: skip
    assert (found["end_to_end"]["decoder"], found["end_to_end"]["encoder"]) == ("auto", "auto")
    assert {"pyav", "without_network", "whole", "own_codecs"} <= found["copies"].keys()


def test_ratios_are_taken_round_by_round():
    ms = {"pyav": [10.0, 20.0, 10.0], "without_network": [15.0, 40.0, 11.0], "whole": [30.0, 30.0, 30.0]}
    found = file.ratios(ms)
    assert found["without_network_over_pyav"] == {"median": 1.5, "best": pytest.approx(1.1)}
    assert found["whole_over_pyav"] == {"median": 3.0, "best": 3.0}
    assert set(found) == {"without_network_over_pyav", "whole_over_pyav"}


@pytest.mark.parametrize("used, wanted, expected", [(9, 9, (9, None)), (9, 50, (9, None)), (5, 9, (5, 0.18)),
                                                    (9, 2, (2, 0.06))])  # fmt: skip
def test_beginning_of_a_video(clip, used, wanted, expected):
    found = cases.opened_scene(clip, used).beginning(wanted)
    assert found == Clip(clip, expected[0], expected[1] and pytest.approx(expected[1]))


def test_a_video_that_ffmpeg_does_not_copy_is_one_line(tmp_path):
    (tmp_path / "sound.mkv").write_bytes(b"no video at all")
    with pytest.raises(DerainError, match=r"sound.mkv cannot be copied as it is \(.*\); measure on another --source"):
        transcode.copy_through_pyav(tmp_path / "sound.mkv", tmp_path / "o.mp4", encoder="libx264", options={})
