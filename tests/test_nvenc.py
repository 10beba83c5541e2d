"""NVENC: chosen where its probe frame succeeds and told where not, and frames that go into it from the GPU."""
from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import clips
import fake_device
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fake_device import frame_of_noise, moved
from live_fakes import FakeClock

from streamderain import encoders, encoding, muxer, nvdec, nvenc, surfaces
from streamderain.cli import main
from streamderain.core.colour import PixelFormat
from streamderain.derain_file import FileJob, FileOptions
from streamderain.encoders import choose_encoder, probe_encoder
from streamderain.encoding import Encoding
from streamderain.live import encoder as live
from streamderain.live.broadcast import Broadcast
from streamderain.live.encoder import Choice, settle
from streamderain.live.options import camera_options
from streamderain.live.status import Status
from streamderain.report import Report
from streamderain.sinks import VideoSink
from streamderain.video import open_video


@pytest.fixture
def no_cuda(monkeypatch):
    """Tensors on the CPU pass for a device's."""
    monkeypatch.setattr(torch.cuda, "device", lambda index: nullcontext())


@pytest.mark.parametrize("bits, layout", [(8, "nv12"), (10, "p010le")])
def test_planes_are_laid_out_in_one_piece_of_memory(bits, layout):
    frame = frame_of_noise(bits=bits)
    luma, both = surfaces.write(moved(frame))
    assert surfaces.layout(frame.format) == layout
    assert luma.stride(0) * luma.element_size() % 256 == 0 and both.stride() == (luma.stride(0), 2, 1)
    assert both.data_ptr() == luma.data_ptr() + 48 * luma.stride(0) * luma.element_size()
    shift = 0 if bits == 8 else 16 - bits
    np.testing.assert_array_equal(luma.numpy(), frame.planes[0] << shift)
    np.testing.assert_array_equal(both.numpy(), np.stack(frame.planes[1:], -1) << shift)


@pytest.mark.parametrize("form", [
    PixelFormat("rgb"), PixelFormat("grey"), PixelFormat("yuv", 8, (0, 0)), PixelFormat("yuv", 12, (1, 1))])
def test_other_formats_have_no_layout(form):
    assert surfaces.layout(form) is None


@pytest.mark.parametrize("bits, layout, planar", [(8, "nv12", "yuv420p"), (10, "p010le", "yuv420p10le")])
def test_a_frame_goes_in_as_it_is(no_cuda, bits, layout, planar):
    frame = frame_of_noise(bits=bits)
    feed = nvenc.Feed(0, layout, (64, 48))
    assert feed.takes(moved(frame)) and not feed.takes(frame)
    picture = feed.picture(moved(frame))
    assert picture.format.name == layout
    back = picture.reformat(format=planar)
    for plane, same in zip(back.planes, frame.planes, strict=True):
        rows = np.frombuffer(plane, same.dtype).reshape(plane.height, -1)[:, : plane.width]
        np.testing.assert_array_equal(rows, same)


def test_what_cannot_go_in_goes_through_memory():
    feed = nvenc.Feed(0, "nv12", (64, 48))
    assert not feed.takes(moved(frame_of_noise(bits=10)))
    assert not feed.takes(moved(frame_of_noise(size=(32, 48))))
    with_side_data = SimpleNamespace(side_data=[b"captions"])
    assert not feed.takes(moved(frame_of_noise(side={"picture": with_side_data})))


WISH = Encoding("h264_nvenc", {}, "yuv420p", 64, 48)


@pytest.mark.parametrize("first, index, source, expected", [
    (WISH, 1, "yuv420p", ("nv12", 1)),
    (WISH, 0, "yuvj420p", ("nv12", 0)),
    (Encoding("hevc_nvenc", {}, "p010le", 64, 48), 0, "yuv420p10le", ("p010le", 0)),
    (WISH, None, "yuv420p", None),
    (WISH, 0, "yuv444p", None),
    (WISH, 0, "yuva420p", None),
    (Encoding("libx264", {}, "yuv420p", 64, 48), 0, "yuv420p", None),
    (Encoding("h264_nvenc", {}, "yuv420p", 63, 48), 0, "yuv420p", None),
])
def test_which_encodings_stay_on_the_device(first, index, source, expected):
    made = encoding.on_cuda(first, index, source)
    assert (made and (made.pixel_format, made.cuda)) == expected


@pytest.mark.parametrize("cuda, pixel_format, container, works, encoder, word", [
    (None, "yuv420p", "mp4", True, "libx264", None),
    (0, "yuv420p", "mp4", True, "h264_nvenc", None),
    (0, "yuv420p10le", "matroska", True, "hevc_nvenc", None),
    (0, "yuv420p", "mp4", False, "libx264", "no such device"),
    (0, "yuv444p", "mp4", True, "libx264", "it does not take yuv444p"),
    (0, "yuv420p", "webm", True, "libx264", "webm does not hold"),
    (0, "yuv420p", "yuv4mpegpipe", True, "libx264", None),
])
def test_what_auto_is(monkeypatch, cuda, pixel_format, container, works, encoder, word):
    monkeypatch.setattr(encoders, "probe_encoder", lambda name: None if works else "no such device")
    warnings = []
    assert choose_encoder(pixel_format, cuda, warnings, container) == encoder
    assert len(warnings) == (word is not None)
    assert word is None or (word in warnings[0] and "libx264 does, on the CPU" in warnings[0])


needs_none = pytest.mark.skipif(probe_encoder("h264_nvenc") is None, reason="this machine has NVENC")


@needs_none
def test_without_nvenc_auto_falls_back_to_x264_with_one_line(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv")
    monkeypatch.setattr("streamderain.derain_file.cuda_index", lambda device: 0)  # a card without an encoder
    report = Report(str(path), "out")
    with FileJob(path, tmp_path / "out.mkv", FileOptions(encoder="auto", decoder="cpu"), report):
        pass
    (line,) = report.warnings
    assert line.startswith("NVENC does not encode here (") and line.endswith("libx264 does, on the CPU")


@needs_none
def test_live_auto_falls_back_to_x264_with_one_line(tmp_path):
    told = []
    assert settle(Choice("auto", crf=30), 0, told.append) == Choice("libx264", crf=30)
    assert len(told) == 1 and told[0].startswith("NVENC does not encode here (")
    assert settle(Choice("auto"), None, pytest.fail) == Choice("libx264")
    assert settle(Choice("libx265"), 0, pytest.fail) == Choice("libx265")
    status = Status(FakeClock())
    output = Broadcast([], status=status, encoder="auto", cuda=0)
    output.close()
    assert [event.kind for event in status.events] == ["encoder"]


def test_live_auto_is_nvenc_where_it_works(monkeypatch):
    monkeypatch.setattr(live, "_trouble", lambda choice: None)
    told = []
    assert settle(Choice("auto", preset="p1"), 0, told.append) == Choice("h264_nvenc", preset="p1")
    assert told == ["h264_nvenc encodes recordings and pushes, on the GPU"]


def test_options_reach_the_ends():
    camera = camera_options({"source": "0", "decoder": "nvdec"})
    assert (camera.decoder, camera.encoder) == ("nvdec", "auto")
    for command in ("video", "camera"):
        result = CliRunner().invoke(main, [command, "a", "b", "--decoder", "cuvid"])
        assert result.exit_code == 2 and "--decoder" in result.output
    assert (FileOptions().decoder, FileOptions().encoder) == ("auto", "libx264")


@pytest.fixture
def fake_nvenc(monkeypatch, no_cuda):
    """A GPU with NVDEC and NVENC, made of the CPU's decoder and x264; gives the layouts of the pictures it encodes."""
    fake_device.put_in_place(monkeypatch)
    monkeypatch.setattr("streamderain.derain_file.cuda_index", lambda device: 0)
    seen = []

    @contextmanager
    def none(index):
        yield None

    monkeypatch.setattr(nvdec, "acceleration", none)
    monkeypatch.setattr(encoders, "probe_encoder", lambda name: None)
    monkeypatch.setattr(encoders, "candidate", lambda pixel_format: "libx264")
    monkeypatch.setattr(encoding, "uses_nvenc", lambda name: name == "libx264")
    fit = muxer.fit

    def watched(picture, wanted):
        seen.append(picture.format.name)
        return fit(picture, wanted)

    monkeypatch.setattr(muxer, "fit", watched)
    return seen


def test_frames_go_from_decoder_to_encoder_without_arrays(tmp_path, fake_nvenc):
    path = clips.clip(tmp_path / "in.mkv", options={"bf": "0"}, colour=(1, 1, 1, 1), sound="aac")
    report = Report(str(path), "out")
    with FileJob(path, tmp_path / "out.mkv", FileOptions(encoder="auto", crf=0), report) as job:
        assert job._sink.on_device
        job.run(Same())
    assert (report.decoder, report.encoder, report.frames_out) == ("nvdec", "libx264", 10)
    assert fake_nvenc.count("nv12") == 9 and fake_nvenc.count("yuv420p") == 1  # the first one carries side data
    before, after = (list(open_video(each)) for each in (path, tmp_path / "out.mkv"))
    for frame, same in zip(after, before, strict=True):
        assert (frame.pts, frame.format) == (same.pts, same.format)
        for plane, other in zip(frame.planes, same.planes, strict=True):
            np.testing.assert_array_equal(plane, other)


class Same:
    """Gives every frame back."""

    backend = profile = precision = "fake"
    device = "cuda"

    def __init__(self):
        self.stage_ms, self.frames = {}, 0

    def __call__(self, frame, following=None):
        self.frames += 1
        return frame

    def reset(self):
        pass


@pytest.mark.gpu
@pytest.mark.parametrize("encoder, bits", [("h264_nvenc", 8), ("hevc_nvenc", 8), ("hevc_nvenc", 10)])
@pytest.mark.parametrize("decoder", ["cpu", "nvdec"])
def test_nvenc_takes_frames_from_the_device(tmp_path, encoder, bits, decoder):
    if probe_encoder(encoder) is not None:
        pytest.skip(f"this GPU has no {encoder}")
    name = "yuv420p" if bits == 8 else "yuv420p10le"
    path = clips.clip(tmp_path / "in.mkv", codec="libx265", pixel_format=name, size=(320, 256), colour=(1, 1, 1, 1))
    source = open_video(path, decoder=decoder)
    sink = VideoSink(tmp_path / "out.mkv", source, encoder=encoder, crf=1, cuda=0)
    assert sink.on_device
    before = []
    for frame in source:
        before.append(frame)
        sink.write(frame)
    sink.finish()
    after = list(open_video(tmp_path / "out.mkv"))
    assert [frame.pts for frame in after] == [frame.pts for frame in before]
    for frame, same in zip(after, open_video(path), strict=True):
        for plane, other in zip(frame.planes, same.planes, strict=True):  # nearly lossless, and of the same frame
            assert np.abs(plane.astype(int) - other).mean() < 1.5 * (1 << (bits - 8))


@pytest.mark.gpu
def test_where_there_is_no_nvenc_auto_says_so_on_a_gpu(tmp_path):
    if probe_encoder("h264_nvenc") is None:
        pytest.skip("this GPU has NVENC")
    path = clips.clip(tmp_path / "in.mkv")
    sink = VideoSink(tmp_path / "out.mkv", open_video(path), encoder="auto", cuda=0)
    assert sink.encoder == "libx264" and len(sink.warnings) == 1
    sink.abort()


def test_a_device_encoding_is_opened_there(monkeypatch):
    asked = []

    @contextmanager
    def acceleration(index):
        asked.append(index)
        yield None

    monkeypatch.setattr(nvdec, "acceleration", acceleration)
    assert encoders._probe(Encoding("libx264", {}, "nv12", 64, 48, cuda=3)) is None
    assert asked == [3]
