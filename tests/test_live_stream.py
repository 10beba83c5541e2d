"""What a network stream may do in the middle: lose its picture, number its streams otherwise, end a playlist."""
from __future__ import annotations

import http.server
import io
import threading
from contextlib import contextmanager
from functools import partial

import av
import numpy as np
import pytest
from live_fakes import FakeClock
from live_receivers import TcpPeer

from streamderain.live.address import Address
from streamderain.live.cameras import open_camera
from streamderain.live.connection import CameraError, Heard, Picture, Wish
from streamderain.live.timing import MONOTONIC

RATE = 25


def transport_stream(pictures, *, sound_s=0, begins_s=0.0, **options):
    """MPEG-TS of so many pictures and so many seconds of sound, the first at `begins_s`."""
    made = io.BytesIO()
    with av.open(made, "w", format="mpegts", container_options=options) as container:
        video = container.add_stream("libx264", RATE, width=64, height=48, pix_fmt="yuv420p", options={"g": "5"})
        sound = container.add_stream("aac", 16_000, layout="mono") if sound_s else None
        for number in range(pictures):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * number % 256, np.uint8))
            frame.pts = round(RATE * begins_s) + number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number in range(sound_s * 16_000 // 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, 1024 * number
            container.mux(sound.encode(frame))
        if sound_s:
            container.mux(sound.encode(None))
    return made.getvalue()


@contextmanager
def camera(data, **wish):
    """A camera that sends these bytes over TCP and hangs up."""

    def send(connection):
        connection.sendall(data)
        connection.close()

    with TcpPeer(send) as peer:
        stream = open_camera(Address(f"tcp://127.0.0.1:{peer.port}"), Wish(**wish), MONOTONIC)
        try:
            yield stream
        finally:
            stream.close()


def arrivals(data, **wish):
    """All that such a camera gives."""
    found = []
    with camera(data, **wish) as stream, pytest.raises(CameraError, match="ended the stream"):
        for arrival in stream:
            found.append(arrival)
    return found


def test_the_rate_is_that_of_pictures_and_not_of_fields():
    with camera(transport_stream(25)) as stream:
        assert stream.info.rate == RATE


def test_sound_that_nobody_wants_shows_that_no_picture_comes():
    found = arrivals(transport_stream(10, sound_s=20), sound=False)
    assert sum(each is None for each in found) > 100, "the receiver could not see that only sound comes"
    assert not any(isinstance(each, Heard) for each in found)


def test_an_encoder_that_begins_anew_with_other_stream_numbers_is_still_seen():
    data = transport_stream(20, mpegts_start_pid="256")
    data += transport_stream(20, begins_s=0.8, mpegts_start_pid="300", tables_version="1")
    assert sum(isinstance(each, Picture) for each in arrivals(data)) >= 35


@contextmanager
def web_server(folder):
    """Serves a folder's files; gives its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_live_playlist_that_ends_is_lost_and_not_played_again(tmp_path):
    pieces = [transport_stream(25, begins_s=begins) for begins in range(3)]
    for number, piece in enumerate(pieces):
        (tmp_path / f"{number}.ts").write_bytes(piece)
    listed = "".join(f"#EXTINF:1.0,\n{number}.ts\n" for number in range(3))
    playlist = tmp_path / "live.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n{listed}")
    with web_server(tmp_path) as url:
        address, wish = Address(f"{url}/live.m3u8"), Wish()
        live = open_camera(address, wish, FakeClock())
        assert live.info.growing
        playlist.write_text(playlist.read_text() + "#EXT-X-ENDLIST\n")
        pictures = 0
        with pytest.raises(CameraError, match="ended the stream"):
            for arrival in live:
                pictures += isinstance(arrival, Picture)
                assert pictures <= 75, "the past is shown again"
        live.close()
        with pytest.raises(CameraError, match="has ended its playlist"):
            open_camera(address, Wish(growing=True), FakeClock())
        finished = open_camera(address, wish, FakeClock())  # it never was live: a film, which begins again at its end
        assert not finished.info.growing and isinstance(next(each for each in finished if each), Picture)
        finished.close()
