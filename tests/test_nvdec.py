"""Frames that stay on the GPU: the CPU decoder's in every sample, time and flag; the CPU where they are not."""
from __future__ import annotations

import gc
import io
import sys
from types import SimpleNamespace

import av
import clips
import cv2
import fake_device
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamderain import nvdec, surfaces, switch
from streamderain.frame import on_host
from streamderain.switch import Switch
from streamderain.video import open_video

OPEN_GOPS = {"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0:keyint-min=12"}


def read(path, **options):
    source = open_video(path, **options)
    frames = list(source)
    source.close()
    return source, frames


def assert_same(frames, expected):
    """Times, descriptions and samples are equal, wherever the planes are."""
    assert len(frames) == len(expected)
    for frame, other in zip(frames, expected, strict=True):
        for name in ("format", "pts", "time_base", "duration", "rotation", "corrupt", "width", "height"):
            assert getattr(frame, name) == getattr(other, name), name
        for plane, same in zip(on_host(frame).planes, other.planes, strict=True):
            assert plane.dtype == same.dtype
            np.testing.assert_array_equal(plane, same)


@pytest.mark.parametrize("pixel_format, codec", [
    ("yuv420p", "libx264"), ("yuvj420p", "libx264"), ("yuv420p10le", "libx265"), ("yuv420p12le", "libx265")])
def test_frames_are_the_cpu_decoders(tmp_path, monkeypatch, pixel_format, codec):
    path = clips.clip(tmp_path / "in.mkv", pixel_format=pixel_format, codec=codec, draw=clips.picture, rotation=90)
    plain, expected = read(path)
    fake_device.put_in_place(monkeypatch)
    source, frames = read(path, decoder="nvdec")
    assert all(frame.on_device for frame in frames) and source.on_device and not plain.on_device
    assert source.warnings == [] and source.look == plain.look
    assert source.info.pixel_format == plain.info.pixel_format.replace("yuvj", "yuv")
    assert_same(frames, expected)


def test_8_bits_are_views_and_chroma_is_one_tensor():
    picture = fake_device.on_device(clips.picture(3))
    luma, blue, red = surfaces.read(picture)
    assert luma.untyped_storage().data_ptr() == torch.from_dlpack(picture.planes[0]).untyped_storage().data_ptr()
    assert blue.stride(1) == red.stride(1) == 2
    assert red.data_ptr() == blue.data_ptr() + 1


@pytest.mark.parametrize("pixel_format, bits", [("yuv420p10le", 10), ("yuv420p12le", 12)])
def test_high_bits_come_down(pixel_format, bits):
    drawn = clips.picture(1, pixel_format=pixel_format)
    luma, _, _ = surfaces.read(fake_device.on_device(drawn))
    assert luma.dtype == torch.uint16
    assert luma.numpy().max() < 1 << bits
    assert not surfaces.differs(fake_device.on_device(drawn), drawn)


def test_planes_live_without_picture_and_decoder(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv", draw=clips.picture)
    _, expected = read(path)
    fake_device.put_in_place(monkeypatch)
    source = open_video(path, decoder="auto")
    kept = [frame.planes for frame in source]
    source.close()
    del source
    gc.collect()
    others = [clips.picture(number) for number in range(20)]  # would take over memory that was let go
    for planes, frame in zip(kept, expected, strict=True):
        for plane, same in zip(planes, frame.planes, strict=True):
            np.testing.assert_array_equal(plane.numpy(), same)
    assert others


def spoiled(how, at):
    """Pictures as they are, but from the `at`-th on what `how` makes of them."""
    return lambda number, picture: how(picture) if number >= at else picture


def fail(picture):
    raise av.error.InvalidDataError(1094995529, "Invalid data found")


TIMES = "its frames have no times, or times that do not rise"
REASONS = {
    "decoding fails": (fail, "invalid data found"),
    "interlaced": (lambda p: fake_device.OnDevice(p.inner, interlaced_frame=True), "it is interlaced"),
    "damaged": (lambda p: fake_device.OnDevice(p.inner, is_corrupt=True), "a frame is damaged"),
    "timeless": (lambda p: fake_device.OnDevice(p.inner, pts=None), TIMES),
    "back in time": (lambda p: fake_device.OnDevice(p.inner, pts=40), TIMES),
    "odd": (lambda p: fake_device.OnDevice(p.inner, width=63), "its width or height is odd"),
    "smaller": (lambda p: fake_device.OnDevice(p.inner, width=62), "its size or pixel format changes"),
    "other range": (lambda p: fake_device.OnDevice(p.inner, color_range=2), "its size or pixel format changes"),
    "on the CPU": (lambda p: p.inner, "NVDEC is not there, or not for this profile, pixel format or size"),
}


@pytest.mark.parametrize("name", REASONS)
def test_the_cpu_takes_over_without_a_gap(tmp_path, monkeypatch, name):
    how, reason = REASONS[name]
    path = clips.clip(tmp_path / "in.mkv", range(0, 3200, 40), options=OPEN_GOPS, draw=clips.picture)
    _, expected = read(path)
    fake_device.put_in_place(monkeypatch, spoiled(how, 50))
    source, frames = read(path, decoder="nvdec")
    assert [frame.on_device for frame in frames] == 49 * [True] + 31 * [False]
    assert source.warnings == [f"NVDEC does not decode this ({reason}): the CPU does"]
    assert not source.on_device
    assert_same(frames, expected)


@pytest.mark.parametrize("gop", [1, 2, 12, 250])
@pytest.mark.parametrize("at", [2, 13, 38, 79])
def test_it_takes_over_at_any_frame(tmp_path, monkeypatch, gop, at):
    options = {**OPEN_GOPS, "g": str(gop), "x264-params": "open-gop=1:scenecut=0"}
    path = clips.clip(tmp_path / "in.mkv", range(0, 3200, 40), options=options)
    _, expected = read(path)
    fake_device.put_in_place(monkeypatch, spoiled(fail, at))
    _, frames = read(path, decoder="auto")
    assert_same(frames, expected)


def test_auto_takes_over_without_a_word(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv")
    fake_device.put_in_place(monkeypatch, spoiled(fail, 4))
    source, frames = read(path, decoder="auto")
    assert source.warnings == [] and len(frames) == 10


def one_off(picture):
    made = fake_device.on_device(clips.smooth(0))
    made.pts, made.time_base = picture.pts, picture.time_base
    torch.from_dlpack(made.planes[1])[-1, -1, 1] ^= 1
    return made


@pytest.mark.parametrize("how, reason", [
    (one_off, "NVDEC gives another picture than the CPU decoder"),
    (lambda p: fake_device.OnDevice(p.inner, pts=7_000), "the CPU decoder gives other frames")])
def test_a_first_frame_that_is_not_the_cpu_decoders_is_not_taken(tmp_path, monkeypatch, how, reason):
    path = clips.clip(tmp_path / "in.mkv", options={"bf": "3"})
    _, expected = read(path)
    fake_device.put_in_place(monkeypatch, spoiled(how, 1))
    source, frames = read(path, decoder="nvdec")
    assert not any(frame.on_device for frame in frames)
    assert source.warnings == [f"NVDEC does not decode this ({reason}): the CPU does"]
    assert_same(frames, expected)


@pytest.mark.parametrize("options", [{"start": 0.5}, {"start": 1.1, "duration": 0.7}, {"duration": 2.0}])
def test_a_part_of_a_file(tmp_path, monkeypatch, options):
    path = clips.clip(tmp_path / "in.mp4", range(1400, 4600, 40), options=OPEN_GOPS, sound="aac")
    _, expected = read(path, **options)
    fake_device.put_in_place(monkeypatch)
    _, frames = read(path, decoder="auto", **options)
    assert all(frame.on_device for frame in frames)
    assert_same(frames, expected)


def test_a_cut_off_file_is_decoded_as_on_the_cpu(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.ts", range(0, 2000, 40), draw=clips.picture)
    whole = path.read_bytes()
    path.write_bytes(whole[:20_000] + bytes(376) + whole[20_376 : len(whole) * 2 // 3])
    plain, expected = read(path)
    made = fake_device.put_in_place(monkeypatch)
    source, frames = read(path, decoder="auto")
    assert made and frames[0].on_device and not frames[-1].on_device
    assert (source.corrupt, source.shortfall) == (plain.corrupt, plain.shortfall)
    assert_same(frames, expected)


def test_a_size_that_changes_is_resized_as_on_the_cpu(tmp_path, monkeypatch):
    parts = [clips.clip(tmp_path / f"{at}.ts", range(at, at + 400, 40), size=size)
             for at, size in ((0, (64, 48)), (400, (96, 64)))]
    path = tmp_path / "in.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    plain, expected = read(path)
    fake_device.put_in_place(monkeypatch)
    source, frames = read(path, decoder="auto")
    assert source.warnings == plain.warnings and frames[0].on_device
    assert_same(frames, expected)


def test_key_frames_too_far_apart_are_given_up(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv", range(0, 3200, 40), options={"g": "250", "bf": "2"}, draw=clips.picture)
    _, expected = read(path)
    fake_device.put_in_place(monkeypatch)
    monkeypatch.setattr(switch, "_KEPT_BYTES", path.stat().st_size // 2)
    source, frames = read(path, decoder="nvdec")
    assert source.warnings == ["NVDEC does not decode this (its key frames are too far apart): the CPU does"]
    assert frames[0].on_device and not frames[-1].on_device
    assert_same(frames, expected)


def test_packets_are_kept_for_two_key_frames_only(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv", range(0, 8000, 40), options=OPEN_GOPS)
    fake_device.put_in_place(monkeypatch)
    source = open_video(path, decoder="auto")
    kept = []
    for _ in source:
        kept.append(len(source._reader._switch._kept))
    source.close()
    assert max(kept) < 5 * 12


class Scripted:
    """A decoder whose packets say what it gives."""

    def __init__(self, broken=()):
        self.broken, self.fed = set(broken), []

    def decode(self, packet=None):
        if packet is None:
            return []
        self.fed.append(packet.pts)
        if packet.pts in self.broken:
            raise ValueError("no")
        made = clips.smooth(0)
        made.pts = packet.pts
        return [fake_device.on_device(made) if self.broken else made]

    def flush_buffers(self):
        self.fed.append("flush")


@pytest.mark.parametrize("times", [[0, 1, 2, 3, 4, 5], [5, 6, 7, 0, 1, 2], [0, 1, 1, 2, 2, 3], [3, 3, 3, 3, 3, 9]])
@pytest.mark.parametrize("at", range(1, 6))
def test_times_that_jump_or_repeat_neither_lose_nor_double_a_picture(times, at):
    packets = [SimpleNamespace(pts=time, size=10, is_keyframe=index == 0, is_corrupt=index == at)
               for index, time in enumerate(times)]
    software, told = Scripted(), []
    decoder = Switch(Scripted(broken={99}), software, decode=software.decode, tell=told.append)
    pictures = [picture.pts for packet in packets for picture in decoder.decode(packet)]
    assert pictures == times
    assert len(told) == 1 and not decoder.on_device


@pytest.mark.parametrize("count", [3, 40, 80])
@pytest.mark.parametrize("gop", [1, 20])
def test_a_decoder_that_gives_nothing_is_given_up(count, gop):
    packets = [SimpleNamespace(pts=time, size=10, is_keyframe=time % gop == 0, is_corrupt=False)
               for time in range(count)]
    software, told = Scripted(), []
    silent = SimpleNamespace(decode=lambda packet: [])
    decoder = Switch(silent, software, decode=software.decode, tell=told.append)
    pictures = [picture.pts for packet in [*packets, None] for picture in decoder.decode(packet)]
    assert pictures == list(range(count)) and told == ["NVDEC gives no picture"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_wherever_a_clock_jumps_no_picture_is_lost_or_doubled(data):
    pieces = data.draw(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 80)), min_size=1, max_size=4))
    times = [begin + number for begin, length in pieces for number in range(length)]
    keys = data.draw(st.sets(st.integers(1, len(times)))) | {0}
    at = data.draw(st.integers(1, len(times)))
    packets = [SimpleNamespace(pts=time, size=10, is_keyframe=index in keys, is_corrupt=index == at)
               for index, time in enumerate(times)]
    software = Scripted()
    decoder = Switch(Scripted(broken={999}), software, decode=software.decode, tell=lambda reason: None)
    assert [picture.pts for packet in packets for picture in decoder.decode(packet)] == times


def test_pipes_and_pictures_are_for_the_cpu(tmp_path, monkeypatch):
    fake_device.put_in_place(monkeypatch)
    path = clips.clip(tmp_path / "in.mkv")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    source, _ = read("-", decoder="nvdec")
    assert source.warnings == ["NVDEC does not decode this (standard input cannot be opened twice): the CPU does"]
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((8, 8, 3), np.uint8))
    source, _ = read(tmp_path / "%d.png", decoder="nvdec")
    assert source.warnings == ["NVDEC does not decode this (these are pictures): the CPU does"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, of which this would be untrue")
def test_without_a_gpu_the_cpu_decodes_and_says_so_only_when_asked(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv")
    _, expected = read(path)
    for decoder, warnings in (("auto", []), ("nvdec", [f"NVDEC does not decode this ({nvdec.NO_CUDA}): the CPU does"])):
        source, frames = read(path, decoder=decoder)
        assert source.warnings == warnings
        assert_same(frames, expected)
    monkeypatch.setattr(nvdec, "cuda_index", lambda device: 0)  # as if there were one that does not work
    source, frames = read(path, decoder="nvdec")
    assert len(source.warnings) == 1 and not source.on_device
    assert_same(frames, expected)


@pytest.mark.parametrize("device", ["cpu", "cuda:99", "no such thing"])
def test_a_network_on_the_cpu_or_nowhere_has_no_device(device):
    assert nvdec.cuda_index(device) is None


def test_the_probe_compares(monkeypatch):
    def look(spoil):
        def second_look(file, stream, index):
            container = av.open(file)
            return container, fake_device.FakeDecoder(container.streams[stream].codec_context, spoil)
        return second_look

    assert nvdec.probe("h264", None) == nvdec.NO_CUDA
    assert nvdec.probe("h264", 0, look(lambda number, picture: picture)) is None
    assert nvdec.probe("hevc", 0, look(lambda number, picture: picture.inner)) == "its frames do not stay on the GPU"
    assert nvdec.probe("h264", 0, look(spoiled(fail, 1))) == "invalid data found"
    other = fake_device.on_device(clips.smooth(0, size=(320, 256)))
    assert nvdec.probe("h264", 0, look(lambda number, picture: other)) == "its first frame is not the CPU decoder's"


@pytest.mark.gpu
@pytest.mark.parametrize("pixel_format, codec", [
    ("yuv420p", "libx264"), ("yuvj420p", "libx264"), ("yuv420p", "libx265"), ("yuv420p10le", "libx265")])
@pytest.mark.parametrize("size", [(320, 256), (322, 242)])
def test_nvdec_gives_what_the_cpu_decoder_gives(tmp_path, pixel_format, codec, size):
    path = clips.clip(
        tmp_path / "in.mkv", range(0, 2400, 40), codec=codec, pixel_format=pixel_format, size=size, rotation=90,
        draw=clips.picture, colour=(1, 2 if "yuvj" in pixel_format else 1, 1, 1),
    )  # fmt: skip
    _, expected = read(path)
    source, frames = read(path, decoder="nvdec")
    assert source.warnings == [] and all(plane.is_cuda for frame in frames for plane in frame.planes)
    assert_same(frames, expected)


@pytest.mark.gpu
def test_nvdec_frames_live_as_long_as_their_planes(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", range(0, 4000, 40), size=(320, 256), draw=clips.picture)
    _, expected = read(path)
    _, frames = read(path, decoder="nvdec")  # a hundred at once, the decoder gone
    gc.collect()
    assert_same(frames, expected)


@pytest.mark.gpu
def test_what_nvdec_cannot_is_decoded_on_the_cpu(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", size=(320, 256), pixel_format="yuv444p")
    _, expected = read(path)
    source, frames = read(path, decoder="nvdec")
    assert len(source.warnings) == 1
    assert_same(frames, expected)
