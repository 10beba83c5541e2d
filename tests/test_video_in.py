"""What comes out of files: planes, times, description, and one line for everything that is no video."""

from __future__ import annotations

import io
from fractions import Fraction
from types import SimpleNamespace

import av
import clips
import numpy as np
import pytest
from av.stream import Disposition

from streamderain import planes
from streamderain.errors import DerainError
from streamderain.joins import Joins
from streamderain.video import open_video


def read(path, **options):
    source = open_video(path, **options)
    frames = list(source)
    source.close()
    return source, frames


def seconds(frames):
    return [frame.pts * frame.time_base for frame in frames]


PLANAR = [
    "yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv440p", "yuv410p", "yuv420p10le", "yuv422p10le", "yuv444p12le",
    "yuv420p16le", "gray", "gray10le", "gray16le", "gbrp10le", "gbrp16le", "yuva420p", "yuva444p10le",
    "gbrap12le", "ya8",
]  # fmt: skip


@pytest.mark.parametrize("pixel_format", PLANAR)
def test_planes_are_the_decoders_own(tmp_path, pixel_format):
    size = (40, 24) if "yuv41" in pixel_format else (37, 21)  # FFV1 itself drops what is left over of 4:1:x
    path = clips.clip(
        tmp_path / "in.mkv", [0, 40], codec="ffv1", size=size, pixel_format=pixel_format, draw=clips.picture
    )
    _, frames = read(path)
    assert len(frames) == 2
    for index, frame in enumerate(frames):
        drawn = planes.read(
            clips.picture(index, size=size, pixel_format=pixel_format), bit_depth=frame.format.bit_depth
        )
        own = [*frame.planes, *([] if frame.alpha is None else [frame.alpha])]
        assert len(own) == len(drawn)
        for plane, expected in zip(own, drawn, strict=True):
            assert plane.flags.c_contiguous
            np.testing.assert_array_equal(plane, expected)


@pytest.mark.parametrize(
    "packed, order",
    [
        ("rgb24", (0, 1, 2)),
        ("rgba", (0, 1, 2, 3)),
        ("rgb48be", (0, 1, 2)),
        ("rgba64be", (0, 1, 2, 3)),
        ("gray16be", (0,)),
    ],
)
def test_packed_pictures_are_taken_apart_without_loss(tmp_path, packed, order):
    dtype = ">u2" if packed.endswith("be") else "u1"
    samples = np.random.default_rng(1).integers(0, 256 ** np.dtype(dtype).itemsize, (10, 12, len(order))).astype(dtype)
    made = av.VideoFrame(12, 10, packed)
    planes.lines(made.planes[0], np.dtype(dtype), 12 * len(order))[:] = samples.reshape(10, -1)
    context = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 12, 10, packed, Fraction(1, 25)
    made.pts = 0
    (tmp_path / "1.png").write_bytes(bytes(context.encode(made)[0]))
    _, (frame,) = read(tmp_path)
    own = [*frame.planes, *([] if frame.alpha is None else [frame.alpha])]
    np.testing.assert_array_equal(np.stack(own, -1), samples)
    assert frame.format.full_range


def test_semi_planar_and_packed_yuv_are_taken_apart_without_loss(tmp_path):
    for name, planar in (("nv12", "yuv420p"), ("yuyv422", "yuv422p")):
        made = clips.picture(5, size=(36, 20), pixel_format=name)
        with av.open(str(tmp_path / f"{name}.nut"), "w") as output:
            stream = output.add_stream("rawvideo", rate=25)
            stream.width, stream.height, stream.pix_fmt = 36, 20, name
            made.pts, made.time_base = 0, Fraction(1, 25)
            output.mux(stream.encode(made))
            output.mux(stream.encode(None))
        source, (frame,) = read(tmp_path / f"{name}.nut")
        assert source.info.pixel_format == planar
        luma = planes.lines(made.planes[0], np.dtype("u1"), 36 if name == "nv12" else 72)
        np.testing.assert_array_equal(frame.planes[0], luma if name == "nv12" else luma[:, ::2])
        if name == "nv12":
            chroma = planes.lines(made.planes[1], np.dtype("u1"), 36)
            np.testing.assert_array_equal(frame.planes[1], chroma[:, ::2])
            np.testing.assert_array_equal(frame.planes[2], chroma[:, 1::2])


TIMES = {
    "constant": range(0, 400, 40),
    "variable": [0, 40, 90, 91, 200, 260, 300, 477, 500, 640],
    "offset": range(1400, 1800, 40),
}


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "ts"])
@pytest.mark.parametrize("kind", TIMES)
def test_times_are_the_files_own(tmp_path, suffix, kind):
    base = Fraction(1, 90000) if suffix == "ts" else clips.MILLI
    scaled = [time * int(clips.MILLI / base) for time in TIMES[kind]]
    options = {"mpegts_copyts": "1"} if suffix == "ts" and kind == "offset" else None
    path = clips.clip(tmp_path / f"in.{suffix}", scaled, time_base=base, options={"bf": "3"}, container_options=options)
    source, frames = read(path)
    assert seconds(frames) == clips.times(path)
    steps = np.diff([float(s) for s in seconds(frames)])
    np.testing.assert_allclose(steps, np.diff([t / 1000 for t in TIMES[kind]]), atol=0.00051)
    assert source.warnings == []


def test_avi_has_its_own_times(tmp_path):
    path = clips.clip(tmp_path / "in.avi", range(8), time_base=Fraction(1, 25), codec="mpeg4", options={"bf": "2"})
    _, frames = read(path)
    steps = np.diff([float(s) for s in seconds(frames)])
    np.testing.assert_allclose(steps, 0.04)
    assert len(frames) == 8


@pytest.mark.parametrize(
    "colour, height, expected",
    [
        ((1, 2, 1, 1), 48, ("bt709", True, "sdr")),
        ((5, 1, 6, 5), 48, ("bt601", False, "sdr")),
        ((9, 1, 16, 9), 48, ("bt2020", False, "pq")),
        ((9, 1, 18, 9), 48, ("bt2020", False, "hlg")),
        (None, 48, ("bt601", False, "sdr")),
        (None, 578, ("bt709", False, "sdr")),
    ],
)
def test_colour_is_read(tmp_path, colour, height, expected):
    path = clips.clip(tmp_path / "in.mkv", [0], colour=colour, size=(64, height))
    _, (frame,) = read(path)
    assert (frame.format.matrix, frame.format.full_range, frame.format.transfer) == expected


def test_jpeg_is_full_range(tmp_path):
    clips.clip(tmp_path / "in.mkv", [0], codec="mjpeg", pixel_format="yuvj420p")
    source, (frame,) = read(tmp_path / "in.mkv")
    assert frame.format.full_range and source.info.pixel_format == "yuvj420p"


def test_info(tmp_path):
    path = clips.clip(tmp_path / "in.mp4", rotation=90, aspect=Fraction(4, 3))
    info = open_video(path).info
    assert (info.width, info.height, info.rate, info.frames) == (64, 48, 25, 10)
    assert info.seconds == pytest.approx(0.4)
    assert (info.codec, info.pixel_format, info.interlaced) == ("h264", "yuv420p", False)
    assert (info.sample_aspect_ratio, info.rotation) == (Fraction(4, 3), 90)


def test_interlaced_is_deinterlaced_and_said(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", codec="libx264", options={"flags": "+ilme+ildct", "x264-params": "tff=1"})
    source, frames = read(path)
    assert source.info.interlaced
    assert [w for w in source.warnings if "interlaced" in w]
    assert seconds(frames) == clips.times(path)


def test_a_second_size_is_resized_and_said(tmp_path):
    one = clips.clip(tmp_path / "1.ts", range(0, 36000, 3600), time_base=Fraction(1, 90000))
    two = clips.clip(tmp_path / "2.ts", range(36000, 72000, 3600), time_base=Fraction(1, 90000), size=(80, 64))
    (tmp_path / "in.ts").write_bytes(one.read_bytes() + two.read_bytes())
    source, frames = read(tmp_path / "in.ts")
    assert {(frame.width, frame.height) for frame in frames} == {(64, 48)}
    assert any("size changes to 80x64" in line for line in source.warnings)
    assert len(frames) == 20
    assert all(a < b for a, b in zip(seconds(frames), seconds(frames)[1:], strict=False))


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_start_and_duration(tmp_path, suffix):
    path = clips.clip(tmp_path / f"in.{suffix}", range(0, 10000, 40), options={"bf": "2", "g": "12"})
    _, every = read(path)
    _, part = read(path, start=7, duration=0.5)
    assert len(part) == 13 if suffix != "ts" else len(part) in (12, 13)
    origin = seconds(every)[0]
    wanted = [frame for frame in every if 7 <= frame.pts * frame.time_base - open_video(path)._reader.origin() < 7.5]
    assert len(wanted) == len(part) and origin >= 0
    for frame, expected in zip(part, wanted, strict=True):
        np.testing.assert_array_equal(frame.planes[0], expected.planes[0])
    assert 0 <= seconds(part)[0] < Fraction(1, 25)


@pytest.mark.parametrize(
    "start, duration, frames",
    [(0.08, None, 8), (None, 0.08, 2), (0.12, 0.16, 4), (0.081, None, 7), (None, 0.1, 3), (0.02, 0.1, 2), (0.2, 9, 5)],
)
def test_a_frame_exactly_at_the_start_is_in_and_at_the_end_is_out(tmp_path, start, duration, frames):
    path = clips.clip(tmp_path / "in.mkv")
    _, part = read(path, start=start, duration=duration)
    source = open_video(path, start=start, duration=duration)
    assert len(part) == source.info.frames == frames
    source.close()


def test_start_behind_the_end(tmp_path):
    path = clips.clip(tmp_path / "in.mkv")
    with pytest.raises(DerainError, match="ends before 60 seconds"):
        open_video(path, start=60)


def test_frames_without_times_follow_at_the_average_rate(tmp_path):
    clips.clip(tmp_path / "in.h264", range(0, 400, 40), options={"bf": "0"})
    _, frames = read(tmp_path / "in.h264")
    assert len(frames) == 10
    steps = {b - a for a, b in zip(seconds(frames), seconds(frames)[1:], strict=False)}
    assert steps == {Fraction(1, 25)}


def bad(tmp_path, kind):
    path = tmp_path / kind
    if kind == "text.mp4":
        path.write_text("a list of names\n" * 40)
    elif kind == "empty.mkv":
        path.touch()
    elif kind == "noise.mp4":
        path.write_bytes(np.random.default_rng(0).bytes(20000))
    elif kind == "folder":
        path.mkdir()
        (path / "notes.txt").write_text("no picture")
    elif kind == "concat.mp4":
        clips.clip(tmp_path / "other.mp4")
        path.write_text("ffconcat version 1.0\nfile other.mp4\n")
    elif kind == "list.m3u8":
        clips.clip(tmp_path / "other.ts")
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n")
    elif kind == "sound.m4a":
        with av.open(str(path), "w", format="mp4") as output:
            stream = output.add_stream("aac", rate=48000)
            output.mux(clips._tone(stream, 0.3))
    elif kind == "cut.mp4":
        whole = clips.clip(tmp_path / "whole.mp4").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    "kind, message",
    [
        ("text.mp4", "does not open as video"),
        ("empty.mkv", "does not open as video"),
        ("noise.mp4", "does not open as video|has no frame that decodes|has no video stream"),
        ("concat.mp4", "does not open as video"),
        ("list.m3u8", "does not open as video"),
        ("sound.m4a", "has no video stream"),
        ("cut.mp4", "does not open as video"),
        ("folder", "has no pictures"),
        ("missing.mkv", "does not exist; check the name"),
        ("none*.png", "has no pictures"),
        ("none%04d.png", "has no pictures"),
    ],
)
def test_what_is_no_video_is_said_in_one_line(tmp_path, kind, message):
    with pytest.raises(DerainError, match=message) as caught:
        open_video(bad(tmp_path, kind))
    assert "\n" not in str(caught.value) and caught.value.exit_code == 1
    assert kind in str(caught.value)


def test_nul_is_refused():
    with pytest.raises(DerainError, match="NUL"):
        open_video("a\0b.mp4")


def test_an_empty_name_is_refused():
    with pytest.raises(DerainError, match="a file name is empty"):
        open_video("")


def test_odd_names_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:b.mkv", "-dash.mkv", "with space %04d.mkv", "concat:x|y.mkv"):
        clips.clip(tmp_path / "plain.mkv").rename(tmp_path / name)
        assert len(read(name)[1]) == 10


def test_large_frames_are_refused(tmp_path):
    path = clips.clip(tmp_path / "in.mkv")
    with pytest.raises(DerainError, match=r"64x48|does not open"):
        open_video(path, max_pixels=64 * 47)
    assert len(read(path, max_pixels=64 * 48)[1]) == 10


def test_a_cut_file_says_so(tmp_path):
    whole = clips.clip(tmp_path / "whole.mkv", range(0, 4000, 40), sound="aac").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    source, frames = read(tmp_path / "cut.mkv")
    assert 20 < len(frames) < 100
    assert source.shortfall.startswith("it ends after")
    assert read(tmp_path / "whole.mkv")[0].shortfall is None


def test_a_cut_mp4_with_its_index_in_front_says_so(tmp_path):
    path = clips.clip(tmp_path / "whole.mp4", range(0, 4000, 40), container_options={"movflags": "faststart"})
    whole = path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    source, frames = read(tmp_path / "cut.mp4")
    assert 20 < len(frames) < 100
    assert source.shortfall.endswith("of 100 frames are missing")
    assert read(path)[0].shortfall is None


def test_damage_is_counted_and_skipped(tmp_path):
    data = bytearray(clips.clip(tmp_path / "in.mkv", range(0, 4000, 40), draw=clips.picture).read_bytes())
    rng = np.random.default_rng(3)
    for place in rng.integers(len(data) // 3, len(data) // 2, 40):
        data[place] ^= 0xFF
    (tmp_path / "bad.mkv").write_bytes(bytes(data))
    source, frames = read(tmp_path / "bad.mkv")
    assert source.corrupt > 0
    assert len(frames) > 60


def test_pictures_in_counting_order(tmp_path):
    for number in (10, 2, 1):
        context = av.CodecContext.create("png", "w")
        context.width, context.height, context.pix_fmt, context.time_base = 8, 6, "gray", Fraction(1, 25)
        made = av.VideoFrame(8, 6, "gray")
        planes.lines(made.planes[0], np.dtype("u1"), 8)[:] = number
        (tmp_path / f"f{number}.png").write_bytes(bytes(context.encode(made)[0]))
    for path in (tmp_path, tmp_path / "f%d.png", tmp_path / "f*.png"):
        source, frames = read(path, rate=Fraction(30000, 1001))
        assert [int(frame.planes[0][0, 0]) for frame in frames] == [1, 2, 10]
        assert seconds(frames) == [0, Fraction(1001, 30000), Fraction(2002, 30000)]
        assert source.info.frames == 3 and source.info.rate == Fraction(30000, 1001)
        assert [frame.side["stem"] for frame in frames] == ["f1", "f2", "f10"]


@pytest.mark.parametrize("container", ["matroska", "mpegts"])
def test_stdin(monkeypatch, container):
    data = io.BytesIO()
    clips.clip(data, container_format=container)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data.getvalue())))
    source, frames = read("-")
    assert len(frames) == 10 and source.path is None


@pytest.mark.parametrize("kept", [False, True])
def test_packets_of_other_streams_wait_only_for_a_sink(tmp_path, kept):
    source = open_video(clips.clip(tmp_path / "in.mkv", range(0, 4000, 40), sound="pcm_s16le", subtitle="subrip"))
    if kept:
        source.keep_others()
    assert len(list(source)) == 100
    assert bool(source.take_carried()) == kept


# --- files put one after the other ---
def placed(*packets):
    """Times that these packets come to: (stream, kind, time), all in seconds and a second long."""
    joins, found = Joins(0), []
    for index, kind, time in packets:
        stream = SimpleNamespace(index=index, type=kind, disposition=Disposition(0))
        packet = SimpleNamespace(stream=stream, pts=time, dts=time, duration=1, time_base=Fraction(1))
        joins.place(packet)
        found.append(packet.pts)
    return joins.count, found


def test_a_clock_that_begins_again_goes_on():
    video, sound, text = (0, "video"), (1, "audio"), (2, "subtitle")
    times = placed((*video, 0), (*sound, 0), (*text, 0), (*video, 8), (*sound, 8), (*sound, 0), (*video, 9),
                   (*video, 0), (*sound, 1), (*text, 3), (*video, 1))  # fmt: skip
    assert times == (1, [0, 0, 0, 8, 8, 9, 9, 9, 10, 12, 10])


def test_a_glitch_of_one_stream_is_no_new_clock():
    video, sound = (0, "video"), (1, "audio")
    times = [(*video, 0), (*sound, 0), (*video, 999), (*sound, 9), (*video, 2), (*sound, 10), (*video, 3)]
    assert placed(*times) == (0, [time for _, _, time in times])
