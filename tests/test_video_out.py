"""What goes into files: the same times, planes, colour and other streams, under the final name only when complete."""

from __future__ import annotations

import errno
import io
import os
from fractions import Fraction
from types import SimpleNamespace

import av
import clips
import numpy as np
import pytest
from test_video_in import PLANAR, TIMES, read, seconds

from streamderain import planes
from streamderain.encoders import probe_encoder
from streamderain.errors import DerainError
from streamderain.outputs import ReaderGone
from streamderain.sinks import VideoSink
from streamderain.video import open_video

FAST = {"preset": "ultrafast"}


def copy(path, output, *, start=None, duration=None, rate=Fraction(25), **options):
    """Every frame from one file into another; the sink, for its warnings."""
    source = open_video(path, start=start, duration=duration, rate=rate)
    sink = VideoSink(output, source, **options)
    try:
        for frame in source:
            sink.write(frame)
        sink.finish()
    finally:
        source.close()
    return sink


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("origin", ["mkv", "mp4", "mov", "ts"])
@pytest.mark.parametrize("kind", TIMES)
def test_times_are_the_inputs(tmp_path, origin, suffix, kind):
    base = Fraction(1, 90000) if origin == "ts" else clips.MILLI
    scaled = [time * int(clips.MILLI / base) for time in TIMES[kind]]
    path = clips.clip(tmp_path / f"in.{origin}", scaled, time_base=base, options={"bf": "3"}, sound="aac")
    copy(path, tmp_path / f"out.{suffix}", preset="veryfast")
    before, after = seconds(read(path)[1]), seconds(read(tmp_path / f"out.{suffix}")[1])
    tick = Fraction(1, 1000) if suffix == "mkv" else 0
    assert len(before) == len(after)
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= tick / 2


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_times_from_avi(tmp_path, suffix):
    path = clips.clip(tmp_path / "in.avi", range(8), time_base=Fraction(1, 25), codec="mpeg4", options={"bf": "2"})
    copy(path, tmp_path / f"out.{suffix}", **FAST)
    assert seconds(read(path)[1]) == seconds(read(tmp_path / f"out.{suffix}")[1])


def test_times_before_zero_stay(tmp_path):
    """Sound that is primed before zero must not push the video."""
    path = clips.clip(tmp_path / "in.mp4", range(0, 800, 40), sound="aac", options={"bf": "2"})
    copy(path, tmp_path / "out.mkv", **FAST)
    assert clips.times(tmp_path / "out.mkv")[0] == clips.times(path)[0] == 0


@pytest.mark.parametrize("pixel_format", PLANAR)
def test_lossless_round_trip(tmp_path, pixel_format):
    size = (40, 24) if "yuv41" in pixel_format else (37, 21)
    path = clips.clip(
        tmp_path / "in.mkv", [0, 40], codec="ffv1", size=size, pixel_format=pixel_format, draw=clips.picture
    )
    sink = copy(path, tmp_path / "out.mkv", encoder="ffv1")
    for before, after in zip(read(path)[1], read(tmp_path / "out.mkv")[1], strict=True):
        assert before.format == after.format
        for one, other in zip(before.planes, after.planes, strict=True):
            np.testing.assert_array_equal(one, other)
        if before.alpha is not None:
            np.testing.assert_array_equal(before.alpha, after.alpha)
    assert sink.warnings == []


@pytest.mark.parametrize("pixel_format", ["rgb24", "rgba", "nv12", "p010le", "gbrp"])
def test_lossless_round_trip_of_other_layouts(tmp_path, pixel_format):
    with av.open(str(tmp_path / "in.nut"), "w") as output:
        stream = output.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 36, 20, pixel_format
        made = clips.picture(1, size=(36, 20), pixel_format=pixel_format)
        made.pts, made.time_base = 0, Fraction(1, 25)
        output.mux([*stream.encode(made), *stream.encode(None)])
    copy(tmp_path / "in.nut", tmp_path / "out.mkv", encoder="ffv1")
    (before,), (after,) = read(tmp_path / "in.nut")[1], read(tmp_path / "out.mkv")[1]
    assert before.format == after.format
    for one, other in zip(before.planes, after.planes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_changed_planes_are_what_is_written(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", [0, 40, 80])
    source = open_video(path)
    sink = VideoSink(tmp_path / "out.mkv", source, encoder="ffv1")
    frames = [frame.with_planes(tuple(255 - plane for plane in frame.planes)) for frame in source]
    for frame in frames:
        sink.write(frame)
    sink.finish()
    for frame, written in zip(frames, read(tmp_path / "out.mkv")[1], strict=True):
        for one, other in zip(frame.planes, written.planes, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("colour", [(1, 2, 1, 1), (5, 1, 6, 5), (9, 1, 16, 9), (9, 1, 18, 9)])
def test_colour_is_kept(tmp_path, suffix, colour):
    path = clips.clip(tmp_path / "in.mkv", [0, 40], colour=colour)
    copy(path, tmp_path / f"out.{suffix}", **FAST)
    look = open_video(tmp_path / f"out.{suffix}").look
    assert (look.matrix, look.range, look.transfer, look.primaries) == colour


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_rotation_and_aspect_are_kept(tmp_path, suffix):
    path = clips.clip(tmp_path / "in.mp4", [0, 40], rotation=90, aspect=Fraction(4, 3))
    copy(path, tmp_path / f"out.{suffix}", **FAST)
    info = open_video(tmp_path / f"out.{suffix}").info
    assert (info.rotation, info.sample_aspect_ratio) == (90, Fraction(4, 3))


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_hdr_metadata_is_kept(tmp_path, encoder):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    # no B-frames: x265's decode times of two frames are wild with them
    options = {"x265-params": f"bframes=0:log-level=error:master-display={display}:max-cll=1000,400"}
    path = clips.clip(
        tmp_path / "in.mkv", [0, 40], codec="libx265", pixel_format="yuv420p10le", colour=(9, 1, 16, 9), options=options
    )
    copy(path, tmp_path / "out.mkv", encoder=encoder, **FAST)
    assert open_video(tmp_path / "out.mkv").info.pixel_format == "yuv420p10le"
    before, after = open_video(path).look, open_video(tmp_path / "out.mkv").look
    assert before.light is not None and before.light == after.light
    parts = [np.frombuffer(look.mastering, np.int32)[:20].reshape(10, 2) for look in (before, after)]
    for one, other in zip(*parts, strict=True):
        assert one[0] / one[1] == pytest.approx(other[0] / other[1])


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_clips_through_x265(tmp_path, count, suffix):
    times = [40 * number for number in range(count)]
    path = clips.clip(tmp_path / "in.mkv", times)
    for number in range(8):  # the decode times are wild in one run of four
        made = tmp_path / f"{number}.{suffix}"
        copy(path, made, encoder="libx265")
        assert clips.times(made) == [Fraction(time, 1000) for time in times]


@pytest.mark.parametrize("size", [(1, 1), (321, 241), (64, 47)])
def test_odd_sizes(tmp_path, size):
    path = clips.clip(tmp_path / "in.mkv", [0, 40], codec="ffv1", size=size)
    sink = copy(path, tmp_path / "out.mkv", **FAST)
    info = open_video(tmp_path / "out.mkv").info
    assert (info.width, info.height) == size
    assert any("odd size" in line for line in sink.warnings)


def test_odd_size_is_grown_where_nothing_else_works(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", [0, 40], codec="ffv1", size=(65, 49))
    sink = copy(path, tmp_path / "out.avi", encoder="mpeg2video")
    written = read(tmp_path / "out.avi")[1]
    if any("grown to 66x50" in line for line in sink.warnings):
        assert (written[0].width, written[0].height) == (66, 50)
    else:
        assert (written[0].width, written[0].height) == (65, 49)


def test_rgb_into_h264_is_said_and_comes_back(tmp_path):
    drawn = lambda index, **kind: clips.smooth(index, **kind)  # noqa: E731
    path = clips.clip(tmp_path / "in.mkv", [0, 40], codec="ffv1", pixel_format="bgr0", draw=drawn)
    sink = copy(path, tmp_path / "out.mkv", crf=4)
    assert any("encoded as yuv444p" in line for line in sink.warnings)
    with av.open(str(tmp_path / "out.mkv")) as container:
        written = next(container.decode(video=0)).reformat(format="gbrp")
    for one, other in zip(read(path)[1][0].planes, planes.read(written, bit_depth=8), strict=True):
        assert np.abs(one.astype(int) - other).mean() < 4


def test_alpha_that_is_lost_is_said(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", [0], codec="ffv1", pixel_format="yuva420p")
    assert any("yuva420p" in line for line in copy(path, tmp_path / "out.mkv", **FAST).warnings)


@pytest.mark.parametrize(
    "origin, suffix, sound, subtitle",
    [("mkv", "mkv", "flac", "subrip"), ("mkv", "mp4", "aac", None), ("mp4", "mkv", "aac", None),
     ("ts", "mp4", "aac", None), ("mkv", "mp4", "pcm_s16le", None), ("mp4", "mp4", "aac", "mov_text"),
     ("mkv", "mkv", "pcm_s24le", "ass")],
)  # fmt: skip
def test_sound_and_text_are_carried_byte_for_byte(tmp_path, origin, suffix, sound, subtitle):
    path = clips.clip(tmp_path / f"in.{origin}", range(0, 1000, 40), sound=sound, subtitle=subtitle)
    sink = copy(path, tmp_path / f"out.{suffix}", **FAST)
    before, after = clips.packets(path, "audio"), clips.packets(tmp_path / f"out.{suffix}", "audio")
    if origin == "ts":  # each packet has a header of seven bytes there
        before = [packet[7:] for packet in before]
    assert b"".join(before) == b"".join(after)
    if subtitle:
        assert clips.packets(path, "subtitle") == clips.packets(tmp_path / f"out.{suffix}", "subtitle")
    assert sink.warnings == []
    if origin != "ts":
        with av.open(str(tmp_path / f"out.{suffix}")) as written:
            assert written.streams.audio[0].metadata["language"] == "deu"


def test_sound_stays_in_step(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", range(0, 1000, 40), sound="aac")
    copy(path, tmp_path / "out.mp4", **FAST)
    starts = []
    for each in (path, tmp_path / "out.mp4"):
        with av.open(str(each)) as container:
            starts.append([p.pts * p.time_base for p in container.demux(audio=0) if p.size])
    assert max(abs(a - b) for a, b in zip(*starts, strict=True)) < Fraction(1, 1000)


@pytest.mark.parametrize(
    "suffix, encoder, sound, subtitle, codecs",
    [
        ("mp4", "libx264", "aac", "subrip", ["aac", "mov_text"]),
        ("mp4", "libx264", "aac", "ass", ["aac", "mov_text"]),
        ("webm", "libsvtav1", "flac", "subrip", ["opus", "webvtt"]),
    ],
)
def test_what_the_container_refuses_is_converted_and_said(tmp_path, suffix, encoder, sound, subtitle, codecs):
    path = clips.clip(tmp_path / "in.mkv", range(0, 1000, 40), sound=sound, subtitle=subtitle, size=(64, 64))
    source = open_video(path)
    sink = VideoSink(tmp_path / f"out.{suffix}", source, encoder=encoder)
    said = list(sink.warnings)
    for frame in source:
        sink.write(frame)
    sink.finish()
    assert sum("converted with" in line for line in said) == sum(c not in (sound, subtitle) for c in codecs)
    with av.open(str(tmp_path / f"out.{suffix}")) as written:
        audio, text = written.streams.audio[0], written.streams.subtitles[0]
        assert [audio.codec_context.codec.canonical_name, text.codec_context.codec.canonical_name] == codecs
        lines = [(p.pts * p.time_base, rect.dialogue) for p in written.demux(text) for rect in p.decode() if p.size]
    lines = [line for line in lines if line[1]]
    assert lines == [(Fraction(number, 10), f"line {number}".encode()) for number in range(10)]
    with av.open(str(tmp_path / f"out.{suffix}")) as written:
        samples = sum(frame.samples for frame in written.decode(audio=0))
    assert abs(samples - 48000) <= 2048


def test_what_cannot_go_along_is_said_before_work(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", attachment=b"hello")
    sink = VideoSink(tmp_path / "out.mp4", open_video(path))
    assert any("attachment" in line and "left out" in line for line in sink.warnings)


def test_tags_chapters_and_attachments_are_carried(tmp_path):
    chapters = [
        {"id": 1, "start": 0, "end": 200, "time_base": clips.MILLI, "metadata": {"title": "one"}},
        {"id": 2, "start": 200, "end": 400, "time_base": clips.MILLI, "metadata": {"title": "two"}},
    ]
    path = clips.clip(
        tmp_path / "in.mkv", tags={"title": "rain", "artist": "sky"}, chapters=chapters, attachment=b"hello"
    )
    copy(path, tmp_path / "out.mkv", **FAST)
    with av.open(str(tmp_path / "out.mkv")) as written:
        assert (written.metadata["title"], written.metadata["ARTIST"]) == ("rain", "sky")
        found = [(c["start"] * c["time_base"], c["metadata"]["title"]) for c in written.chapters()]
        assert found == [(0, "one"), (Fraction(1, 5), "two")]
        (attached,) = written.streams.attachments
        assert (attached.name, attached.mimetype, attached.data) == ("notes.txt", "text/plain", b"hello")
    copy(path, tmp_path / "out.mp4", **FAST)
    with av.open(str(tmp_path / "out.mp4")) as written:
        assert (written.metadata["title"], written.metadata["artist"]) == ("rain", "sky")
        assert [c["metadata"]["title"] for c in written.chapters()] == ["one", "two"]


def cover_clip(tmp_path):
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 32, 32, "yuvj420p", Fraction(1, 25)
    made = clips.smooth(0, size=(32, 32), pixel_format="yuvj420p")
    made.pts = 0
    with av.open(str(tmp_path / "in.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in context.encode(made):
            packet.stream, packet.pts, packet.dts, packet.time_base = cover, 0, 0, Fraction(1, 25)
            output.mux(packet)
        for index in range(5):
            frame = clips.smooth(index)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return tmp_path / "in.mp4"


@pytest.mark.parametrize("start", [None, 0.08])
def test_cover_art_is_carried(tmp_path, start):
    path = cover_clip(tmp_path)
    copy(path, tmp_path / "out.mp4", start=start, **FAST)
    covers = []
    for each in (path, tmp_path / "out.mp4"):
        with av.open(str(each)) as container:
            (cover,) = [s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic]
            covers.append([bytes(packet) for packet in container.demux(cover) if packet.size])
    assert covers[0] == covers[1] and len(covers[0]) == 1


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_start_and_duration_cut_everything(tmp_path, suffix):
    spans = [{"id": n, "start": 1000 * n, "end": 1000 * n + 1000, "time_base": clips.MILLI} for n in range(10)]
    chapters = [span | {"metadata": {"title": str(span["id"])}} for span in spans]
    path = clips.clip(tmp_path / "in.mkv", range(0, 10000, 40), sound="aac", subtitle="subrip", chapters=chapters)
    copy(path, tmp_path / f"out.{suffix}", start=6.5, duration=1, **FAST)
    with av.open(str(tmp_path / f"out.{suffix}")) as written:
        video_times = [p.pts * p.time_base for p in written.demux(video=0) if p.size]
    assert len(video_times) == 25 and 0 <= min(video_times) < Fraction(1, 25)
    with av.open(str(tmp_path / f"out.{suffix}")) as written:
        sound = [p.pts * p.time_base for p in written.demux(audio=0) if p.size]
        found = [(round(float(c["start"] * c["time_base"]), 2), c["metadata"]["title"]) for c in written.chapters()]
    assert 0 <= sound[0] < 0.03 and 0.95 < sound[-1] < 1
    assert found == [(0.0, "6"), (0.5, "7")]
    with av.open(str(tmp_path / f"out.{suffix}")) as written:
        text = [r.dialogue for p in written.demux(subtitles=0) if p.size for r in p.decode()]
    assert [line for line in text if line] == [f"line {n}".encode() for n in range(65, 75)]


def test_output_exists(tmp_path):
    path = clips.clip(tmp_path / "in.mkv")
    (tmp_path / "out.mkv").write_text("mine")
    with pytest.raises(DerainError, match=r"out.mkv exists; give another name or --overwrite"):
        VideoSink(tmp_path / "out.mkv", open_video(path))
    assert (tmp_path / "out.mkv").read_text() == "mine"
    copy(path, tmp_path / "out.mkv", overwrite=True, **FAST)
    assert len(read(tmp_path / "out.mkv")[1]) == 10


@pytest.mark.parametrize("link", ["itself", "symlink", "hardlink"])
def test_output_is_the_input(tmp_path, link):
    path = clips.clip(tmp_path / "in.mkv")
    output = path
    if link == "symlink":
        output = tmp_path / "link.mkv"
        output.symlink_to(path)
    elif link == "hardlink":
        output = tmp_path / "link.mkv"
        os.link(path, output)
    with pytest.raises(DerainError, match="is the input itself"):
        VideoSink(output, open_video(path), overwrite=True)
    assert len(read(path)[1]) == 10


@pytest.mark.parametrize(
    "output, options, message",
    [
        ("none/out.mkv", {}, "none does not exist; make the folder first"),
        ("in.mkv/out.mkv", {}, "in.mkv is no folder"),
        ("out.xyz", {}, "names no container for video"),
        ("out.png", {}, "names no container for video"),
        ("out.mkv", {"encoder": "x266"}, "there is no encoder x266; .*doctor"),
        ("out.mkv", {"encoder": "aac"}, "encodes audio"),
        ("out.mkv", {"preset": "warp"}, "libx264 has no preset 'warp'; give --preset ultrafast, superfast"),
        ("out.mkv", {"crf": 52}, "libx264 has no crf 52; give --crf from 0 to 51"),
        ("out.mkv", {"encoder": "libx265", "crf": 52}, "libx265 has no crf 52"),
        ("out.mkv", {"encoder": "libsvtav1", "preset": "99"}, "does not start for 64x48"),
        ("out.mkv", {"encoder": "ffv1", "crf": 3}, "it has no option crf"),
        ("out.mkv", {"encoder": "h264_nvenc"}, "encoder h264_nvenc does not start"),
        ("out.webm", {}, "webm does not hold h264"),
        ("out.mkv", {"container_format": "nonsense"}, "there is no container format nonsense"),
        ("%04d.xyz", {}, "no picture format that can be written"),
    ],
)
def test_what_cannot_be_written_is_said_before_work(tmp_path, output, options, message):
    path = clips.clip(tmp_path / "in.mkv")
    if options.get("encoder") == "h264_nvenc" and probe_encoder("h264_nvenc") is None:
        pytest.skip("this machine has NVENC")
    with pytest.raises(DerainError, match=message) as caught:
        VideoSink(tmp_path / output, open_video(path), **options)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize("output, reason", [("", "is empty"), ("a\0b.mkv", "cannot hold a NUL byte")])
def test_an_output_without_a_name_is_not_the_current_folder(tmp_path, monkeypatch, output, reason):
    path = clips.clip(tmp_path / "in.mkv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DerainError, match=f"a file name {reason}; give the path again"):
        VideoSink(output, open_video(path))
    assert os.listdir(tmp_path) == ["in.mkv"]


def test_an_unwritable_folder_is_said(tmp_path, monkeypatch):
    path = clips.clip(tmp_path / "in.mkv")

    def refused(*arguments):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("streamderain.outputs.os.open", refused)
    with pytest.raises(DerainError, match=r"cannot be written \(read-only file system\)"):
        VideoSink(tmp_path / "out.mkv", open_video(path))


def test_nothing_stands_before_finish_and_nothing_after_abort(tmp_path):
    source = open_video(clips.clip(tmp_path / "in.mkv", range(0, 4000, 40)))
    sink = VideoSink(tmp_path / "out.mkv", source, **FAST)
    for number, frame in enumerate(source):
        if number < 60:
            sink.write(frame)
    assert not (tmp_path / "out.mkv").exists()
    sink.abort()
    assert sorted(os.listdir(tmp_path)) == ["in.mkv", "out.partial.mkv"]
    assert sink.partial == tmp_path / "out.partial.mkv"
    assert len(read(sink.partial)[1]) == 60


def test_abort_before_the_first_frame_leaves_nothing(tmp_path):
    source = open_video(clips.clip(tmp_path / "in.mkv"))
    sink = VideoSink(tmp_path / "out.mkv", source)
    sink.abort()
    assert os.listdir(tmp_path) == ["in.mkv"] and sink.partial is None


def test_no_frames_is_said(tmp_path):
    sink = VideoSink(tmp_path / "out.mkv", open_video(clips.clip(tmp_path / "in.mkv")))
    with pytest.raises(DerainError, match="no frame came") as caught:
        sink.finish()
    assert caught.value.exit_code == 3 and os.listdir(tmp_path) == ["in.mkv"]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_few_frames(tmp_path, count, suffix):
    path = clips.clip(tmp_path / "in.mkv", range(0, 40 * count, 40))
    copy(path, tmp_path / f"out.{suffix}", **FAST)
    assert clips.times(tmp_path / f"out.{suffix}") == clips.times(path)


def test_a_short_input_leaves_the_output_and_exit_code_3(tmp_path):
    whole = clips.clip(tmp_path / "whole.mkv", range(0, 4000, 40), sound="aac").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(DerainError, match=r"cut.mkv is damaged or short: .*it ends after .* of 4.0 seconds") as caught:
        copy(tmp_path / "cut.mkv", tmp_path / "out.mkv", **FAST)
    assert caught.value.exit_code == 3
    assert len(read(tmp_path / "out.mkv")[1]) == len(read(tmp_path / "cut.mkv")[1])


def test_sound_whose_description_is_lost_is_left_out(tmp_path):
    path = clips.clip(tmp_path / "in.mp4", sound="aac")
    path.write_bytes(path.read_bytes().replace(b"esds", b"free"))
    sink = copy(path, tmp_path / "out.mkv", **FAST)
    assert sink.warnings == ["audio stream 1 (aac) is damaged: left out"]
    assert clips.times(tmp_path / "out.mkv") == clips.times(path)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_damage_anywhere_ends_in_one_line_or_well(tmp_path, suffix):
    whole = clips.clip(tmp_path / f"in.{suffix}", range(0, 1000, 40), sound="aac").read_bytes()
    codes = []
    for seed in range(12):
        rng, data = np.random.default_rng(seed), bytearray(whole)
        for place in rng.integers(0, len(data), len(data) // 500):
            data[place] ^= 1 << int(rng.integers(8))
        (tmp_path / f"bad.{suffix}").write_bytes(bytes(data))
        try:
            copy(tmp_path / f"bad.{suffix}", tmp_path / "out.mkv", overwrite=True, **FAST)
        except DerainError as error:
            codes.append(error.exit_code)
    assert set(codes) <= {1, 3} and 3 in codes


def test_a_full_disk_ends_with_exit_code_4(tmp_path):
    """/dev/full stands for the disk: every write to it fails as on a full one."""
    if not os.path.exists("/dev/full"):
        pytest.skip("/dev/full does not exist here")
    source = open_video(clips.clip(tmp_path / "in.mkv", range(0, 8000, 40), draw=clips.picture, size=(128, 128)))
    sink = VideoSink(tmp_path / "out.mkv", source, **FAST)
    sink._writer._place.path.symlink_to("/dev/full")
    with pytest.raises(DerainError, match="the disk is full") as caught:
        for frame in source:
            sink.write(frame)
        sink.finish()
    assert caught.value.exit_code == 4 and not (tmp_path / "out.mkv").exists()
    sink.abort()
    assert not (tmp_path / "out.mkv").exists()


class Pipe(io.RawIOBase):
    """A stdout that takes so many bytes and then has no reader."""

    def __init__(self, room=1 << 30):
        self.data, self.room = b"", room

    def writable(self):
        return True

    def write(self, data):
        if len(self.data) + len(data) > self.room:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        self.data += bytes(data)
        return len(data)


@pytest.mark.parametrize("container_format, length", [(None, 10), ("yuv4mpegpipe", 10), ("mp4", 10)])
def test_stdout(tmp_path, monkeypatch, container_format, length):
    path = clips.clip(tmp_path / "in.mkv")
    pipe = Pipe()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=pipe))
    copy(path, "-", container_format=container_format)
    monkeypatch.undo()
    (tmp_path / "back").write_bytes(pipe.data)
    _, frames = read(tmp_path / "back")
    assert len(frames) == length
    if container_format == "yuv4mpegpipe":
        for frame, before in zip(frames, read(path)[1], strict=True):
            np.testing.assert_array_equal(frame.planes[0], before.planes[0])


def test_y4m_refuses_a_variable_rate(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", [0, 40, 80, 300, 340])
    with pytest.raises(DerainError, match="holds a constant rate only"):
        copy(path, tmp_path / "out.y4m")
    assert not (tmp_path / "out.y4m").exists()


def test_a_closed_stdout_ends_quietly(tmp_path, monkeypatch):
    source = open_video(clips.clip(tmp_path / "in.mkv", draw=clips.picture))
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=Pipe(room=2000)))
    sink = VideoSink("-", source, encoder="ffv1")
    with pytest.raises(ReaderGone) as caught:
        for frame in source:
            sink.write(frame)
        sink.finish()
    sink.abort()
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "jpg", "ppm"])
def test_pictures_out(tmp_path, suffix):
    path = clips.clip(tmp_path / "in.mkv", [0, 40, 80], codec="ffv1", pixel_format="bgr0")
    (tmp_path / "out").mkdir()
    copy(path, tmp_path / "out" / f"f%04d.{suffix}")
    assert sorted(os.listdir(tmp_path / "out")) == [f"f{n:04d}.{suffix}" for n in (1, 2, 3)]
    for before, after in zip(read(path)[1], read(tmp_path / "out")[1], strict=True):
        for one, other in zip(before.planes, after.planes, strict=False):
            if suffix != "jpg":
                np.testing.assert_array_equal(one, other)


def test_a_folder_of_pictures_keeps_its_names(tmp_path):
    path = clips.clip(tmp_path / "in.mkv", [0, 40], codec="ffv1", pixel_format="gray10le")
    copy(path, tmp_path / "one")
    assert sorted(os.listdir(tmp_path / "one")) == ["000001.png", "000002.png"]
    (tmp_path / "one" / "000002.png").rename(tmp_path / "one" / "house.png")
    copy(tmp_path / "one", tmp_path / "two")
    assert sorted(os.listdir(tmp_path / "two")) == ["000001.png", "house.png"]
    for before, after in zip(read(tmp_path / "one")[1], read(tmp_path / "two")[1], strict=True):
        np.testing.assert_array_equal(before.planes[0], after.planes[0])
    assert sorted(os.listdir(tmp_path)) == ["in.mkv", "one", "two"]
    with pytest.raises(DerainError, match="exists"):
        copy(tmp_path / "one", tmp_path / "two")
    with pytest.raises(DerainError, match="is the input"):
        copy(tmp_path / "one", tmp_path / "one", overwrite=True)
    copy(tmp_path / "one", tmp_path / "two", overwrite=True)


def test_pictures_into_a_video(tmp_path):
    copy(clips.clip(tmp_path / "in.mkv", codec="ffv1", pixel_format="bgr0"), tmp_path / "frames")
    copy(tmp_path / "frames", tmp_path / "out.mp4", rate=Fraction(30000, 1001), **FAST)
    assert clips.times(tmp_path / "out.mp4") == [n * Fraction(1001, 30000) for n in range(10)]


def test_ts_output_starts_where_the_input_does(tmp_path):
    path = clips.clip(
        tmp_path / "in.ts", range(0, 36000, 3600), time_base=Fraction(1, 90000), options={"bf": "2"}, sound="aac"
    )
    copy(path, tmp_path / "out.ts", **FAST)
    assert clips.times(tmp_path / "out.ts") == clips.times(path)


def test_an_encoder_with_a_coarse_clock_is_said_and_exact_at_a_constant_rate(tmp_path):
    path = clips.clip(tmp_path / "in.ts", range(0, 36000, 3600), time_base=Fraction(1, 90000))
    sink = copy(path, tmp_path / "out.mp4", encoder="mpeg4")
    assert any("nearest tick" in line for line in sink.warnings)
    before, after = (np.diff([float(s) for s in clips.times(p)]) for p in (path, tmp_path / "out.mp4"))
    np.testing.assert_allclose(before, after, atol=1e-6)


def test_a_pixel_shape_that_is_lost_is_said(tmp_path):
    path = clips.clip(tmp_path / "in.mp4", [0, 40], size=(64, 64), aspect=Fraction(4, 3))
    assert any("pixels are 4/3 wide" in line for line in copy(path, tmp_path / "out.mkv", encoder="libsvtav1").warnings)


def test_a_frame_of_another_size_is_a_mistake(tmp_path):
    source = open_video(clips.clip(tmp_path / "in.mkv"))
    sink = VideoSink(tmp_path / "out.mkv", source, size=(128, 48))
    with pytest.raises(ValueError, match="announced were"):
        sink.write(next(iter(source)))
    sink.abort()


def test_probe_encoder():
    assert probe_encoder("libx264") is None and probe_encoder("ffv1") is None
    assert probe_encoder("libx265") is None
    assert "does not have it" in probe_encoder("x266")
    assert "not video" in probe_encoder("aac")
