"""What a user could lose without a word: their own files, seconds of video, sound, a picture's turn."""
from __future__ import annotations

import errno
import io
import os
import struct
from contextlib import ExitStack
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import clip, packets, picture, smooth, times

from streamderain import planes, timecode
from streamderain.errors import DerainError
from streamderain.outputs import Unfinished
from streamderain.sinks import VideoSink
from streamderain.video import open_video

RARE_KEY_FRAMES = {"g": "250", "sc_threshold": "0", "preset": "ultrafast"}
HDR = ("log-level=error:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):"
       "max-cll=1000,400")  # fmt: skip


def copy(path, output, start=None, **options):
    """Every frame into another file; the sink, for its warnings."""
    source = open_video(path, start=start)
    sink = VideoSink(output, source, **options)
    for frame in source:
        sink.write(frame)
    sink.finish()
    source.close()
    return sink


def together(path, *parts):
    """The first streams of some files in one, each moved by so many seconds: (file, seconds)."""
    with av.open(str(path), "w") as output, ExitStack() as opened:
        inputs = [opened.enter_context(av.open(str(part))) for part, _ in parts]
        added = [output.add_stream_from_template(each.streams[0]) for each in inputs]
        moved = [(packet, stream, seconds) for each, stream, (_, seconds) in zip(inputs, added, parts, strict=True)
                 for packet in each.demux(each.streams[0]) if packet.size]  # fmt: skip
        for packet, stream, seconds in sorted(moved, key=lambda each: each[0].dts * each[0].time_base + each[2]):
            ticks = round(seconds / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
            output.mux(packet)
    return path


def tone(path, seconds):
    """Sound alone."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mp2", rate=48000)
        for number in range(seconds * 40):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 2400), np.int16), format="s16", layout="stereo")
            frame.sample_rate, frame.pts = 48000, 1200 * number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def still(path):
    """A small picture file."""
    path.parent.mkdir(exist_ok=True)
    av.VideoFrame(16, 16, "rgb24").to_image().save(path)


def of_two_fields(index, **shape):
    """A picture that says that it is interlaced."""
    made, graph = smooth(index, **shape), av.filter.Graph()
    buffer = graph.add_buffer(width=made.width, height=made.height, format=made.format, time_base=1)
    graph.link_nodes(buffer, graph.add("setfield", "tff"), graph.add("buffersink")).configure()
    graph.push(made)
    done = graph.pull()
    done.pict_type = 0
    return done


# --- a user's own files ---
def test_an_input_whose_name_says_partial_outlives_an_interrupted_run(tmp_path):
    path = clip(tmp_path / "v.partial.mkv")
    before = path.read_bytes()
    source = open_video(path)
    sink = VideoSink(tmp_path / "v.mkv", source)
    sink.write(next(iter(source)))
    sink.abort()
    assert path.read_bytes() == before and sink.partial == tmp_path / "v.partial-2.mkv"


def test_pictures_are_not_written_over_those_they_are_made_of(tmp_path):
    still(tmp_path / "in" / "1.png")
    with pytest.raises(DerainError, match="is the input"):
        VideoSink(tmp_path / "in" / "%d.png", open_video(tmp_path / "in" / "%d.png"), overwrite=True)


def test_two_pictures_that_would_become_one_are_refused(tmp_path):
    still(tmp_path / "in" / "1.png")
    still(tmp_path / "in" / "1.bmp")
    with pytest.raises(DerainError, match="same output name"):
        VideoSink(tmp_path / "out", open_video(tmp_path / "in"))


def test_pictures_go_into_the_folder_that_one_stands_in(tmp_path, monkeypatch):
    path = clip(tmp_path / "in.mkv")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    copy(path, "%02d.png")
    assert sorted(os.listdir()) == [f"{n:02}.png" for n in range(1, 11)]


def test_a_folder_is_filled_from_within(tmp_path):
    """It may be another file system than the one above it."""
    place = Unfinished(tmp_path, folder=True)
    assert place.path.parent == tmp_path


def test_a_file_is_no_folder_for_pictures(tmp_path):
    (tmp_path / "plain").write_bytes(b"x")
    with pytest.raises(DerainError, match="no folder"):
        VideoSink(tmp_path / "plain", open_video(clip(tmp_path / "in.mkv")))


def test_what_cannot_be_finished_is_kept(tmp_path, monkeypatch):
    source = open_video(clip(tmp_path / "in.mkv"))
    sink = VideoSink(tmp_path / "out.mkv", source)
    for frame in source:
        sink.write(frame)

    def refuse(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Unfinished, "commit", refuse)
    with pytest.raises(DerainError, match="the disk is full"):
        sink.finish()
    assert sink.partial == tmp_path / "out.partial.mkv"
    assert sorted(os.listdir(tmp_path)) == ["in.mkv", "out.partial.mkv"]


# --- frames ---
@pytest.mark.parametrize("suffix", ["ts", "mkv", "avi", "h264"])
@pytest.mark.parametrize("start", [4, 6, 9])
def test_a_start_between_rare_key_frames_loses_nothing(tmp_path, suffix, start):
    sound = None if suffix == "h264" else "libmp3lame"
    path = clip(tmp_path / f"in.{suffix}", range(0, 12_000, 40), size=(32, 32), options=RARE_KEY_FRAMES, sound=sound)
    assert len(list(open_video(path, start=start))) == pytest.approx(300 - 25 * start, abs=1)


def test_a_duration_of_nothing_is_said(tmp_path):
    with pytest.raises(DerainError, match="above zero"):
        open_video(clip(tmp_path / "in.mkv"), duration=0)


def test_a_video_of_which_an_edit_list_shows_a_part_is_whole(tmp_path):
    path = clip(tmp_path / "in.mp4", range(0, 4000, 40), options={"g": "10"})
    data = bytearray(path.read_bytes())
    entry = data.find(b"elst") + 12  # its duration in milliseconds, and where it begins in the track's ticks
    duration, begin = struct.unpack_from(">II", data, entry)
    (ticks,) = struct.unpack_from(">I", data, data.find(b"mdhd") + 16)
    struct.pack_into(">II", data, entry, duration - 3000, begin + 3 * ticks)
    path.write_bytes(data)
    source = open_video(path)
    assert len(list(source)) == 25 and source.shortfall is None


def test_interlaced_video_that_changes_its_size_is_resized(tmp_path):
    how = {"codec": "mpeg2video", "options": {"flags": "+ilme+ildct"}, "draw": of_two_fields}
    parts = [clip(tmp_path / f"{width}.ts", range(10), time_base=Fraction(1, 25), size=(width, width), **how)
             for width in (320, 160)]  # fmt: skip
    (tmp_path / "in.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    source = open_video(tmp_path / "in.ts")
    assert source.info.interlaced
    assert {(frame.width, frame.height) for frame in source} == {(320, 320)} and source.frames >= 19


# --- what travels beside them ---
@pytest.mark.parametrize("container", ["matroska", "mp4", "mov"])
def test_the_sound_of_a_transport_stream_goes_through_a_pipe(tmp_path, capfdbinary, container):
    copy(clip(tmp_path / "in.ts", range(0, 1200, 40), sound="aac"), "-", container_format=container)
    (tmp_path / "got").write_bytes(capfdbinary.readouterr().out)
    with av.open(str(tmp_path / "got")) as got:
        assert [stream.codec_context.name for stream in got.streams] == ["h264", "aac"]
        assert sum(packet.size > 0 for packet in got.demux(got.streams.audio[0])) > 40


def test_a_transport_stream_gets_sound_that_it_knows(tmp_path):
    sink = copy(clip(tmp_path / "in.mkv", sound="pcm_s16le"), tmp_path / "out.ts")
    with av.open(str(tmp_path / "out.ts")) as got:
        assert [stream.type for stream in got.streams] == ["video", "audio"]
    assert any("converted with aac" in line for line in sink.warnings)


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.ts"])
@pytest.mark.parametrize("sound", ["aac", "mp2"])
def test_transport_streams_one_after_the_other_keep_their_sound(tmp_path, name, sound):
    one = clip(tmp_path / "one.ts", range(0, 2000, 40), sound=sound)
    (tmp_path / "in.ts").write_bytes(3 * one.read_bytes())
    sink = copy(tmp_path / "in.ts", tmp_path / name)
    assert sink.warnings == [] and sink.frames == 150
    assert len(packets(tmp_path / name, "audio")) == len(packets(tmp_path / "in.ts", "audio"))
    with av.open(str(tmp_path / name)) as got:
        found = [(packet.stream.type, float(packet.pts * packet.time_base)) for packet in got.demux() if packet.size]
    for kind in ("video", "audio"):
        assert np.ptp([time for each, time in found if each == kind]) == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.mov"])
def test_chapters_that_are_kept_are_not_said_to_be_left_out(tmp_path, name):
    chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
    path = clip(tmp_path / "in.mp4", chapters=[chapter])
    assert copy(path, tmp_path / name).warnings == []
    with av.open(str(tmp_path / name)) as got:
        assert [each["metadata"]["title"] for each in got.chapters()] == ["One"]


@pytest.mark.parametrize("start", [None, 0.2])
@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_a_cover_stays_a_cover(tmp_path, name, start):
    clip(tmp_path / "video.mp4", range(0, 800, 40))
    with av.open(str(tmp_path / "video.mp4")) as video, av.open(str(tmp_path / "in.mp4"), "w") as output:
        streams = output.add_stream_from_template(video.streams[0]), output.add_stream("mjpeg")
        streams[1].width, streams[1].height, streams[1].pix_fmt = 64, 48, "yuvj420p"
        streams[1].disposition = av.stream.Disposition.attached_pic
        cover, = streams[1].encode(smooth(0, pixel_format="yuvj420p"))
        output.mux(cover)
        for packet in video.demux():
            packet.stream = streams[0]
            output.mux([packet] if packet.size else [])
    copy(tmp_path / "in.mp4", tmp_path / name, start=start)
    with av.open(str(tmp_path / name)) as got:
        assert [bool(each.disposition & av.stream.Disposition.attached_pic) for each in got.streams] == [False, True]
        assert [bytes(packet) for packet in got.demux(got.streams[1]) if packet.size] == [bytes(cover)]


@pytest.mark.parametrize("name", ["out.mov", "out.mp4", "out.mkv"])
def test_a_timecode_track_is_kept(tmp_path, name):
    path = clip(tmp_path / "in.mov", tags={"timecode": "01:00:00:00"})
    with av.open(str(path)) as made:
        assert made.streams[1].type == "data"
    assert bool(copy(path, tmp_path / name).warnings) == (name == "out.mkv")
    with av.open(str(tmp_path / name)) as got:
        assert "01:00:00:00" in got.streams.video[0].metadata.values()
        assert len(got.streams) == 1 + (name != "out.mkv")


@pytest.mark.parametrize("name", ["out.mov", "out.mkv"])
def test_a_timecode_moves_with_the_start(tmp_path, name):
    path = clip(tmp_path / "in.mov", range(0, 2000, 40), tags={"timecode": "01:59:59:20"})
    copy(path, tmp_path / name, start=1.2)
    with av.open(str(tmp_path / name)) as got:
        assert "02:00:01:00" in got.streams.video[0].metadata.values()


def test_chapters_of_an_mp4_from_a_pipe_are_no_subtitles(tmp_path, monkeypatch):
    spans = [{"id": n, "start": 200 * n, "end": 200 * n + 200, "time_base": Fraction(1, 1000),
              "metadata": {"title": str(n)}} for n in range(2)]  # fmt: skip
    path = clip(tmp_path / "in.mp4", chapters=spans, subtitle="mov_text", container_options={"movflags": "faststart"})
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    copy("-", tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as got:
        assert len(got.streams) == 2 and len(got.chapters()) == 2


def test_an_mp4_that_a_pipe_cannot_give_is_said_to_be_one(tmp_path, monkeypatch):
    path = clip(tmp_path / "in.mp4", range(0, 2000, 40), size=(640, 480), draw=picture)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))
    with pytest.raises(DerainError, match="an MP4 whose index comes last, or damaged; give the file itself") as caught:
        open_video("-")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("label, frames, rate, later", [
    ("00:00:59;29", 1, Fraction(30000, 1001), "00:01:00;02"),
    ("00:09:59;29", 1, Fraction(30000, 1001), "00:10:00;00"),
    ("00:00:00;00", 17982, Fraction(30000, 1001), "00:10:00;00"),
    ("00:00:00;00", 107892, Fraction(30000, 1001), "01:00:00;00"),
    ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
    ("00:00:59:29", 1, Fraction(30000, 1001), "00:01:00:00"),
    ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
    ("00:00:00:99", 1, Fraction(25), None),
    ("noon", 1, Fraction(25), None),
])  # fmt: skip
def test_timecodes_count_as_smpte_does(label, frames, rate, later):
    assert timecode.moved(label, frames, rate) == later


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_sound_before_the_zero_of_a_transport_stream_is_kept(tmp_path, name):
    how = {"size": (32, 32), "options": RARE_KEY_FRAMES}
    path = clip(tmp_path / "in.ts", range(0, 12_000, 40), sound="libmp3lame", **how)
    with av.open(str(path)) as container:
        assert container.duration > 1e9  # the first packet's time is a whole round of the clock
    assert copy(path, tmp_path / name).warnings == []
    assert len(packets(tmp_path / name, "audio")) == len(packets(path, "audio"))
    with av.open(str(tmp_path / name)) as got:
        assert got.duration < 13e6


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_the_opacity_of_vp8_and_vp9_is_kept_or_told(tmp_path, codec):
    options = {"auto-alt-ref": "0", "crf": "4", "b": "2M"}
    path = clip(tmp_path / "in.webm", codec=codec, pixel_format="yuva420p", options=options)
    copy(path, tmp_path / "kept.mkv", encoder="ffv1")
    drawn, kept = smooth(0, pixel_format="yuva420p"), next(iter(open_video(tmp_path / "kept.mkv"))).alpha
    assert abs(planes.read(drawn, bit_depth=8)[3].astype(int) - kept).max() < 16
    assert "yuva420p" in copy(path, tmp_path / "lost.mkv").warnings[0]
    with av.open(str(tmp_path / "lost.mkv")) as lost:
        assert "alpha_mode" not in {key.lower() for key in lost.streams.video[0].metadata}


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_a_second_h264_video_goes_into_avi(tmp_path, suffix):
    first = clip(tmp_path / "first.mp4", range(0, 1000, 40))
    path = together(tmp_path / f"in.{suffix}", (first, 0), (first, 0))
    assert copy(path, tmp_path / "out.avi").warnings == []
    with av.open(str(tmp_path / "out.avi")) as got:
        times = [(packet.stream.index, packet.dts) for packet in got.demux() if packet.size]
    assert sorted(times) == [(index, time) for index in (0, 1) for time in range(25)]


@pytest.mark.parametrize("frames", ["0", "2"])
def test_h264_in_avi_has_rising_times_at_its_rate(tmp_path, frames):
    path = clip(tmp_path / "in.avi", range(50), time_base=Fraction(1, 25), options={"bf": frames})
    source = open_video(path)
    assert [frame.pts * frame.time_base * 25 for frame in source] == list(range(50)) and source.warnings == []
    source.close()
    assert copy(path, tmp_path / "out.avi").warnings == []


def test_avi_keeps_sound_beside_a_picture_that_begins_later(tmp_path):
    parts = (clip(tmp_path / "video.mp4"), 1), (tone(tmp_path / "sound.mp2", 2), 0)
    copy(together(tmp_path / "in.mp4", *parts), tmp_path / "out.avi")
    assert times(tmp_path / "out.avi")[0] == pytest.approx(1, abs=0.05)
    assert len(packets(tmp_path / "out.avi", "audio")) == len(packets(tmp_path / "in.mp4", "audio"))


def test_sound_that_avi_plays_early_is_told(tmp_path):
    parts = (clip(tmp_path / "video.mp4"), 0), (tone(tmp_path / "sound.mp2", 2), 1)
    sink = copy(together(tmp_path / "in.mp4", *parts), tmp_path / "out.avi")
    assert [line for line in sink.warnings if "plays 1.0 s early" in line]


def test_sound_with_a_gap_goes_into_avi_whole_and_is_told(tmp_path):
    path = clip(tmp_path / "in.mp4", range(0, 2000, 40), sound="libmp3lame")
    with av.open(str(path)) as container, av.open(str(tmp_path / "gap.mp4"), "w") as output:
        added = [output.add_stream_from_template(stream) for stream in container.streams]
        for packet in container.demux():
            late = packet.stream.type == "audio" and packet.dts is not None and packet.dts * packet.time_base > 1
            if packet.size:
                ticks = late * int(0.51 / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = added[packet.stream.index]
                output.mux(packet)
    sink = copy(tmp_path / "gap.mp4", tmp_path / "out.avi")
    assert len(sink.warnings) == 1 and "plays 0.5 s early" in sink.warnings[0]
    assert len(packets(tmp_path / "out.avi", "audio")) == len(packets(path, "audio"))


@pytest.mark.parametrize("start", [None, 0.4])
def test_sound_that_a_cut_mp4_lacks_is_told(tmp_path, start):
    how = {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "sound": "aac"}
    data = clip(tmp_path / "whole.mp4", range(0, 2000, 40), **how).read_bytes()
    copy(tmp_path / "whole.mp4", tmp_path / "whole.mkv", start=start)
    (tmp_path / "in.mp4").write_bytes(data[: len(data) - 4000])
    with pytest.raises(DerainError, match="packets of audio 1 are missing") as caught:
        copy(tmp_path / "in.mp4", tmp_path / "out.mkv", start=start)
    assert caught.value.exit_code == 3 and (tmp_path / "out.mkv").exists()


def test_a_late_start_is_not_taken_for_missing_frames(tmp_path):
    path = clip(tmp_path / "in.mp4", range(0, 12_000, 40), size=(32, 32), sound="aac", options={"g": "25"})
    assert copy(path, tmp_path / "out.mkv", start=10).frames == 50


@pytest.mark.parametrize("text, name", [("subrip", "out.mkv"), ("ass", "out.mkv"), ("mov_text", "out.mp4")])
def test_subtitles_are_cut_to_what_is_shown(tmp_path, text, name):
    path = clip(tmp_path / f"in{name[3:]}", range(0, 2000, 40), subtitle=text)
    source = open_video(path, start=0.55, duration=0.6)
    sink = VideoSink(tmp_path / name, source)
    for frame in source:
        sink.write(frame)
    sink.finish()
    with av.open(str(tmp_path / name)) as got:
        lines = [(float(p.pts * p.time_base), float((p.pts + p.duration) * p.time_base))
                 for p in got.demux(got.streams.subtitles[0]) if b"line" in bytes(p)]  # fmt: skip
    assert len(lines) == 7
    assert lines[0] == pytest.approx((0, 0.03), abs=0.002) and lines[-1][1] == pytest.approx(0.6, abs=0.002)


@pytest.mark.parametrize("name", ["out.mkv", "pictures/%d.png"])
@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, monkeypatch, name, links, overwrite):
    (tmp_path / "pictures").mkdir()
    appeared = tmp_path / name.replace("%d", "1")
    sink = VideoSink(tmp_path / name, source := open_video(clip(tmp_path / "in.mkv")), overwrite=overwrite)
    for frame in source:
        sink.write(frame)
    appeared.write_bytes(b"mine")
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: os.stat("/nowhere/at/all"))
    if overwrite:
        sink.finish()
        assert appeared.read_bytes() != b"mine"
        return
    with pytest.raises(DerainError, match="another file of that name has appeared; what is finished is kept") as caught:
        sink.finish()
    assert appeared.read_bytes() == b"mine" and caught.value.exit_code == 4
    assert len(list(open_video(sink.partial))) == 10


def test_pictures_from_a_start_on(tmp_path):
    copy(clip(tmp_path / "in.mkv"), tmp_path / "in")
    assert copy(tmp_path / "in", tmp_path / "out.mkv", start=0.2).frames == 5


@pytest.mark.parametrize("names, told", [
    (["f1", "f2", "f4", "f5", "f9", "f10"], "4 pictures are missing, the first between f2.png and f4.png"),
    (["f1", "f2", "f3", "f5"], "a picture is missing between f3.png and f5.png"),
    (["f010", "f020", "f030"], None),
    (["f1", "f2", "f3"], None),
    (["a", "b", "c"], None),
    (["a1", "a2", "b5", "b6"], None),
    (["DSC_0012", "DSC_0040", "DSC_0041"], None),
    (["1", "2"], None),
])  # fmt: skip
def test_gaps_in_the_numbers_of_pictures_are_told(tmp_path, names, told):
    for name in names:
        picture(0).save(tmp_path / f"{name}.png")
    warnings = open_video(tmp_path / "*.png").warnings
    assert warnings == ([f"{told}: what is there follows without a gap"] if told else [])


class FullDisk:
    """A file on a disk that has no more room than `room` bytes, and what is given back."""

    def __init__(self, spare, room, back):
        self._spare, self._file, self._room, self._back = spare, spare._file, room, back

    def write(self, data):
        self._room -= len(data)
        if self._room < 0 and not (self._back and self._spare.full):
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_what_a_full_disk_leaves_of_an_mp4_plays_or_is_said_not_to(tmp_path, name, back):
    source = open_video(clip(tmp_path / "in.mkv", range(0, 8000, 40), sound="aac"))
    sink = VideoSink(tmp_path / name, source, crf=0)
    with pytest.raises(DerainError, match="the disk is full") as caught:
        for frame in source:
            sink.write(frame)
            spare = sink._writer._spare
            spare._file = spare._file if isinstance(spare._file, FullDisk) else FullDisk(spare, 100_000, back)
        sink.finish()
    sink.abort()
    assert caught.value.exit_code == 4 and not (tmp_path / name).exists()
    assert any("does not play" in line for line in sink.warnings) == (not back)
    if back:
        assert len(times(sink.partial)) == len(list(open_video(sink.partial))) > 20
        assert len(packets(sink.partial, "audio")) > 20


@pytest.mark.parametrize("name", ["out.avi", "out.y4m"])
@pytest.mark.parametrize("at", [[0, 40, 80, 480], [*range(0, 1600, 40), *range(2000, 4000, 40)]])
def test_a_variable_rate_is_refused_before_work_where_frames_are_numbered(tmp_path, name, at):
    source = open_video(clip(tmp_path / "in.mp4", at))
    with pytest.raises(DerainError, match="varies; write mkv or mp4 instead") as caught:
        VideoSink(tmp_path / name, source)
    assert caught.value.exit_code == 1


def test_the_constant_part_of_a_video_goes_into_avi(tmp_path):
    path = clip(tmp_path / "in.mp4", [*range(0, 2000, 40), *range(3000, 4000, 40)])
    assert copy(path, tmp_path / "out.avi", start=3.0).frames == 25


@pytest.mark.parametrize("name", ["out.ts", "out.avi", "pictures"])
def test_a_turn_that_is_lost_is_told(tmp_path, name):
    sink = copy(clip(tmp_path / "in.mp4", rotation=90), tmp_path / name)
    assert any("turned by 90 degrees" in line for line in sink.warnings)


@pytest.mark.parametrize("encoder, told", [("ffv1", True), ("libx265", False)])
def test_hdr_metadata_that_is_lost_is_told(tmp_path, encoder, told):
    path = clip(tmp_path / "in.mp4", codec="libx265", pixel_format="yuv420p10le", options={"x265-params": HDR})
    assert any("HDR" in line for line in copy(path, tmp_path / "out.mkv", encoder=encoder).warnings) == told
