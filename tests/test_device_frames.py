"""Frames whose planes are tensors: fetched where arrays are needed, and the same picture everywhere else."""
from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import clips
import fake_device
import numpy as np
import pytest
import torch
from fake_device import frame_of_noise, moved

from streamderain import compare, download, surfaces
from streamderain.derain_file import FileJob, FileOptions, derain_video
from streamderain.errors import DerainError
from streamderain.fit import picture_of
from streamderain.frame import on_host
from streamderain.live import cameras, stream
from streamderain.live.address import Address
from streamderain.live.canvas import Canvas
from streamderain.live.connection import Picture, Wish
from streamderain.live.pictures import to_bgr
from streamderain.live.stand_in import stand_in
from streamderain.live.timing import MONOTONIC
from streamderain.report import Report
from streamderain.sinks import VideoSink
from streamderain.video import open_video


def assert_equal(frame, other):
    assert not frame.on_device
    for plane, same in zip(frame.planes, other.planes, strict=True):
        assert isinstance(plane, np.ndarray) and plane.dtype == same.dtype
        np.testing.assert_array_equal(plane, same)


@pytest.mark.parametrize("bits", [8, 10])
def test_on_host_is_a_copy_of_a_device_frame_and_the_same_host_frame(bits):
    frame = frame_of_noise(bits=bits, side={"a": 1})
    assert on_host(frame) is frame and download.begin(frame) is frame
    there = moved(frame)
    assert there.on_device and (there.width, there.height) == (64, 48)
    here = on_host(there)
    assert_equal(here, frame)
    assert all(plane.flags.c_contiguous for plane in here.planes) and here.side == {"a": 1}


def test_a_download_is_waited_for_once_it_is_asked_for_and_belongs_to_its_planes():
    frame = frame_of_noise()
    there = moved(frame)
    under_way = download.begin(there)
    assert under_way.planes is there.planes and "arriving" not in there.side
    assert_equal(on_host(under_way), frame)
    other = frame_of_noise(1)
    shared = under_way.with_planes(moved(other).planes)  # side data goes along, the copy is not its
    assert_equal(on_host(shared), other)


def test_a_download_waits_for_its_event():
    waited = []
    host = torch.zeros(2, 2, dtype=torch.uint8)

    def synchronize():
        waited.append(True)
        host.fill_(7)

    copy = download.Download((), (host,), SimpleNamespace(synchronize=synchronize))
    assert not waited
    np.testing.assert_array_equal(copy.wait()[0], np.full((2, 2), 7))
    assert waited


@pytest.mark.parametrize("mode", ["side", "wipe", "rain"])
@pytest.mark.parametrize("rotation", [0, 90])
def test_comparisons(mode, rotation):
    before = frame_of_noise(rotation=rotation, size=(320, 240))
    after = before.with_planes((before.planes[0] // 2, *before.planes[1:]))
    expected = compare.overlay(mode, before, after)
    assert_equal(compare.overlay(mode, moved(before), moved(after)), expected)
    assert_equal(compare.overlay(mode, before, moved(after)), expected)


def test_what_live_outputs_make_of_a_frame():
    frame = frame_of_noise(size=(128, 96))
    there = moved(frame)
    np.testing.assert_array_equal(to_bgr(there, 64), to_bgr(frame, 64))
    assert_equal(stand_in(there, 3.0), stand_in(frame, 3.0))
    canvas = Canvas(there)
    for one, same in zip(canvas.draw(there).planes, canvas.draw(frame).planes, strict=True):
        assert bytes(one) == bytes(same)


class Darker:
    """Halves the luma wherever that is."""

    backend, profile, precision = "fake", "tiny", "int8"

    def __init__(self, device="cuda"):
        self.device, self.stage_ms, self.frames, self.there = device, {}, 0, []

    def __call__(self, frame, following=None):
        self.frames += 1
        self.there.append(frame.on_device)
        return frame.with_planes((frame.planes[0] // 2, *frame.planes[1:]))

    def reset(self):
        pass


def derained(path, output, derainer, **options):
    report = Report(str(path), str(output))
    with FileJob(path, output, FileOptions(**options), report) as job:
        job.run(derainer)
    source = open_video(output)
    frames = list(source)
    source.close()
    return report, frames


@pytest.mark.parametrize("mode", [None, "side", "wipe", "rain"])
def test_a_file_is_the_same_whichever_decoder(tmp_path, monkeypatch, mode):
    path = clips.clip(tmp_path / "in.mkv", draw=clips.picture, size=(320, 240), sound="aac", tags={"title": "a"})
    _, expected = derained(path, tmp_path / "cpu.mkv", Darker("cpu"), encoder="ffv1", compare=mode, decoder="cpu")
    fake_device.put_in_place(monkeypatch)
    derainer = Darker()
    report, frames = derained(path, tmp_path / "gpu.mkv", derainer, encoder="ffv1", compare=mode)
    assert all(derainer.there) and (report.decoder, report.encoder) == ("nvdec", "ffv1")
    assert [frame.pts for frame in frames] == [frame.pts for frame in expected]
    for frame, other in zip(frames, expected, strict=True):
        assert_equal(frame, other)
    assert clips.packets(tmp_path / "gpu.mkv", "audio") == clips.packets(path, "audio")


def test_a_network_on_the_cpu_gets_arrays_whatever_was_asked(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv")
    fake_device.put_in_place(monkeypatch)
    derainer = Darker("cpu")
    report, _ = derained(path, tmp_path / "out.mkv", derainer, encoder="ffv1")
    assert derainer.there == 10 * [False] and report.decoder == "nvdec"


def test_side_data_of_a_frame_on_the_device_reaches_the_encoder(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv")  # x264 says in its first frame what it was asked
    plain = next(iter(open_video(path)))
    fake_device.put_in_place(monkeypatch)
    frame = next(iter(open_video(path, decoder="auto")))
    assert frame.on_device and surfaces.has_side_data(frame.side["picture"])
    there, here = (picture_of(on_host(each)) for each in (frame, plain))
    assert [bytes(each) for each in there.side_data] == [bytes(each) for each in here.side_data]
    assert len(there.side_data) > 0


def test_a_frame_without_side_data_keeps_its_colour(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv", colour=(9, 1, 16, 9), options={"bf": "0"})
    fake_device.put_in_place(monkeypatch)
    frame = list(open_video(path, decoder="auto"))[3]
    picture = picture_of(on_host(frame))
    assert not surfaces.has_side_data(frame.side["picture"])
    assert (picture.colorspace, picture.color_range, picture.format.name) == (9, 1, "yuv420p")


def test_the_sink_waits_for_frames_on_their_way(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv")
    fake_device.put_in_place(monkeypatch)
    source = open_video(path, decoder="auto")
    sink = VideoSink(tmp_path / "out.mkv", source, encoder="ffv1")
    assert not sink.on_device
    for frame in source:
        sink.write(download.begin(frame))
    sink.finish()
    assert sink.frames == 10


def test_a_wrong_device_is_left_to_the_network_to_tell(tmp_path):
    path = clips.clip(tmp_path / "in.mkv")
    with FileJob(path, tmp_path / "o.mkv", FileOptions(device="no such", encoder="auto"), Report("a", "b")) as job:
        assert job.total == 10
    with pytest.raises(DerainError, match="device 'no such' is unknown"):
        from streamderain.engine import resolve_device

        resolve_device("no such")


def camera(path, monkeypatch, spoil=lambda number, picture: picture, **wish):
    """Pictures of a paced file as a camera's, decoded by the fake GPU where `wish` has a device."""
    prepared = stream._prepared

    def fake(context):
        decoders = prepared(context)
        twin = type(context).create(context.name, "r")
        twin.extradata, twin.thread_type = context.extradata, "SLICE"
        return [fake_device.FakeDecoder(twin, spoil), *decoders]

    monkeypatch.setattr(cameras.nvdec, "acceleration", lambda index: pytest.fail("asked"))
    if wish.get("cuda") is not None:
        monkeypatch.setattr(cameras, "_acceleration", lambda wish: nullcontext())
        monkeypatch.setattr(stream, "_prepared", fake)
    connection = cameras.open_camera(Address(str(path)), Wish(pace=True, loop=False, **wish), MONOTONIC)
    found = []
    try:
        for each in connection:
            if isinstance(each, Picture):
                found.append(each)
    except cameras.CameraError:
        pass
    finally:
        connection.close()
    return connection, found


def test_a_cameras_pictures_stay_on_the_device(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv", range(0, 400, 10), draw=clips.picture, options={"bf": "0", "g": "8"})
    _, expected = camera(path, monkeypatch)
    told = []
    _, found = camera(path, monkeypatch, cuda=0, tell=told.append)
    assert len(found) == len(expected) == 40 and told == []
    assert all(each.frame.on_device for each in found)
    for each, other in zip(found, expected, strict=True):
        assert each.own == other.own
        assert_equal(on_host(each.frame), other.frame)


def test_a_camera_goes_on_with_the_cpu(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv", range(0, 400, 10), draw=clips.picture, options={"bf": "0", "g": "8"})
    _, expected = camera(path, monkeypatch)
    told = []
    at = 21

    def spoil(number, picture):
        return fake_device.OnDevice(picture.inner, is_corrupt=True) if number == at else picture

    _, found = camera(path, monkeypatch, spoil, cuda=0, tell=told.append)
    assert told == ["a frame is damaged"]
    assert [each.frame.on_device for each in found] == (at - 1) * [True] + (41 - at) * [False]
    for each, other in zip(found, expected, strict=True):
        assert each.own == other.own
        assert_equal(on_host(each.frame), other.frame)


def test_a_camera_without_nvdec_is_decoded_on_the_cpu(tmp_path):
    path = clips.clip(tmp_path / "in.mkv")
    told = []
    connection = cameras.open_camera(Address(str(path)), Wish(pace=True, cuda=99, tell=told.append), MONOTONIC)
    first = next(each for each in connection if isinstance(each, Picture))
    connection.close()
    assert told and not first.frame.on_device


@pytest.mark.gpu
@pytest.mark.parametrize("bits", [8, 10])
def test_downloads_are_right_while_the_gpu_goes_on(bits):
    size = (1920, 1080)
    frames = [frame_of_noise(number, size=size, bits=bits) for number in range(8)]
    begun = []
    for frame in frames:
        luma, *chroma = (torch.from_numpy(plane.view(np.int16) if bits > 8 else plane).cuda() for plane in frame.planes)
        both = torch.stack(chroma, -1)
        tensors = luma, both[..., 0], both[..., 1]
        if bits > 8:
            tensors = tuple(tensor.view(torch.uint16) for tensor in tensors)
        begun.append(download.begin(frame.with_planes(tensors)))
        del luma, chroma, both, tensors
        torch.empty(1 << 26, dtype=torch.uint8, device="cuda").fill_(255)
    for frame, other in zip(begun, frames, strict=True):
        assert_equal(on_host(frame), other)


@pytest.mark.gpu
@pytest.mark.parametrize("pixel_format, codec", [("yuv420p", "libx264"), ("yuv420p10le", "libx265")])
def test_a_video_comes_out_the_same_from_either_decoder(tmp_path, pixel_format, codec):
    path = clips.clip(tmp_path / "in.mkv", codec=codec, pixel_format=pixel_format, size=(320, 256), draw=clips.picture)
    outputs = []
    for decoder in ("cpu", "nvdec"):
        output = tmp_path / f"{decoder}.mkv"
        report = derain_video(path, output, profile="tiny", device="cuda", decoder=decoder, encoder="ffv1")
        assert (report["decoder"], report["warnings"]) == (decoder, [])
        outputs.append(list(open_video(output)))
    for one, other in zip(*outputs, strict=True):
        assert one.pts == other.pts
        for plane, same in zip(one.planes, other.planes, strict=True):  # half precision may add up in another order
            assert np.abs(plane.astype(int) - same).max() <= 1
