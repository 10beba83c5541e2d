"""The page's server against a real client: pictures, figures, controls, health, and viewers that are slow or gone."""
from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import suppress

import aiohttp
import cv2
import numpy as np
import pytest
from live_fakes import make_frame
from live_pages import CANARY, fetch, pages, picture, served, talk
from live_peers import wait_until
from prometheus_client.parser import text_string_to_metric_families

from streamderain.errors import DerainError
from streamderain.live import door as door_module
from streamderain.live import viewers
from streamderain.live.address import Address
from streamderain.live.controls import Settings
from streamderain.live.page import Page

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def serve():
    """Makes pages on free ports and closes them."""
    with pages() as make:
        yield make


def decode(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


# --- pictures ---
def parts_of(message):
    length = int.from_bytes(message[:4], "big")
    header, at, parts = json.loads(message[4 : 4 + length]), 4 + length, []
    for size in header["parts"]:
        parts.append(decode(message[at : at + size]))
        at += size
    assert at == len(message)
    return header, parts


def test_a_viewer_gets_before_and_after_and_the_next_only_when_it_has_shown_them(serve):
    page = serve()

    async def work(session):
        async with session.ws_connect(page.url + "live?view=wipe&width=160", origin=page.url.rstrip("/")) as viewer:
            page.show(picture(0))
            header, (before, after) = parts_of((await viewer.receive(10)).data)
            assert before.shape == (108, 192, 3) and header["width"] == 192 and header["live"] is True
            assert before.mean() - after.mean() == pytest.approx(5 * 255 / 219, abs=1.5)
            page.show(picture(1))
            with pytest.raises(asyncio.TimeoutError):
                await viewer.receive(0.3)
            page.show(picture(50))
            await viewer.send_json({"got": True, "view": "after", "width": 0})
            header, (after,) = parts_of((await viewer.receive(10)).data)
            assert after.shape == (180, 320, 3) and header["pts"] == pytest.approx(50 * 0.04)

    talk(work)


@pytest.mark.parametrize("said", ["no json", "[1]", "x" * 2000, json.dumps({"view": 7, "width": -3}), '{"view":"xx"}'])
def test_what_a_viewer_says_cannot_break_anything(serve, said):
    page = serve()

    async def work(session):
        async with session.ws_connect(page.url + "live?view=no&width=zzz", origin=page.url.rstrip("/")) as viewer:
            await viewer.send_str(said)
            page.show(picture(0))
            return (await viewer.receive(10)).type

    talk(work)
    assert fetch(page, "api/status")[0] == 200


def test_snapshots_say_whether_they_are_live(serve):
    page = serve()
    assert fetch(page, "snapshot.jpg")[0] == 503
    page.show(picture(3))
    status, headers, body = fetch(page, "snapshot.jpg?view=before")
    assert (status, headers["Content-Type"], headers["X-Streamderain-Live"]) == (200, "image/jpeg", "1")
    assert decode(body).mean() == pytest.approx((40 + 3 - 16) * 255 / 219, abs=1.5)
    page.show(picture(3, live=False))
    assert fetch(page, "snapshot.jpg")[1]["X-Streamderain-Live"] == "0"


def test_mjpeg_moves(serve):
    page = serve()

    async def work(session):
        async with session.get(page.url + "stream.mjpg") as answer:
            found = b""
            for number in range(3):
                page.show(picture(number))
                while found.count(b"\xff\xd8\xff") <= number:
                    found += await asyncio.wait_for(answer.content.readany(), 10)
            return found

    assert talk(work).count(b"image/jpeg") == 3


@pytest.mark.parametrize("rotation, shape", [(0, (24, 32)), (90, (32, 24)), (180, (24, 32))])
def test_pictures_are_upright(serve, rotation, shape):
    from streamderain.live.pictures import to_bgr

    assert to_bgr(make_frame(rotation=rotation)).shape == (*shape, 3)


def test_colours_are_those_of_the_frames_own_matrix():
    from streamderain.core import colour
    from streamderain.core.colour import PixelFormat
    from streamderain.frame import Frame
    from streamderain.live.pictures import to_bgr

    rng = np.random.default_rng(0)
    for matrix in ("bt601", "bt709", "bt2020"):
        for depth, full in ((8, False), (8, True), (10, False)):
            format = PixelFormat("yuv", depth, (0, 0), matrix, full_range=full)
            low, high = (60, 180)
            planes = tuple(
                (rng.integers(low, high, (8, 8)) << (depth - 8)).astype(np.uint8 if depth == 8 else np.uint16)
                for _ in range(3)
            )
            expected = colour.to_rgb(planes, format).transpose(1, 2, 0)[..., ::-1].astype(int)
            assert np.abs(to_bgr(Frame(planes, format)) - expected).max() <= 1


def test_nothing_is_encoded_when_nobody_looks_and_once_for_all_who_do(serve, monkeypatch):
    from streamderain.live import pictures

    calls, real = [], pictures._encode
    monkeypatch.setattr(pictures, "_encode", lambda *args: calls.append(args[2]) or real(*args))
    page = serve()
    for number in range(5):
        page.show(picture(number))
    time.sleep(0.1)
    assert calls == []

    async def work(session):
        async def ask():
            async with session.get(page.url + "snapshot.jpg") as answer:
                return await answer.read()

        return await asyncio.gather(*(ask() for _ in range(6)))

    assert len(set(talk(work))) == 1 and calls == ["after"]


# --- figures and controls ---
def test_status_settings_and_snapshot_wishes(serve):
    page = serve(name="garden")
    page.status.came()
    told = json.loads(fetch(page, "api/status")[2])
    assert told["name"] == "garden" and told["frames_in"] == 1 and told["profiles"] == ["auto", "tiny"]
    status, _, body = fetch(page, "api/settings", "POST", data='{"strength": 0.5, "profile": "tiny"}', headers=JSON)
    assert (status, json.loads(body)) == (200, {"profile": "tiny", "strength": 0.5})
    assert page.controls.settings == Settings("tiny", 0.5)
    assert fetch(page, "api/snapshot", "POST", headers=JSON)[0] == 202 and page.controls.take_snapshots() == 1


@pytest.mark.parametrize("body", ['{"strength": 9}', "nonsense", "[]", '{"profile": "realtime"}', '{"x": 1}', '"a"'])
def test_settings_that_cannot_be_are_refused_in_one_line(serve, body):
    page = serve()
    status, _, answer = fetch(page, "api/settings", "POST", data=body, headers=JSON)
    assert status == 400 and json.loads(answer)["error"] and page.controls.settings == Settings()


def test_a_setting_named_like_our_own_words_is_unknown_as_any_other(serve):
    _, _, answer = fetch(serve(), "api/settings", "POST", data='{"self": 1}', headers=JSON)
    assert json.loads(answer)["error"].startswith("there is no setting 'self'")


def test_nothing_changes_by_get(serve):
    page = serve()
    for path in ("api/settings", "api/snapshot", "login"):
        assert fetch(page, path + "?strength=2")[0] in (200, 404, 405)
    for method in ("PUT", "DELETE", "PATCH"):
        assert fetch(page, "api/settings", method, data="{}", headers=JSON)[0] == 405
    assert page.controls.settings == Settings() and page.controls.take_snapshots() == 0


def test_a_large_body_is_refused(serve):
    page = serve()
    assert fetch(page, "api/settings", "POST", data=b" " * 5000 + b"{}", headers=JSON)[0] in (400, 413)


def test_health_is_about_camera_frames(serve):
    page = serve()
    assert fetch(page, "health")[0] == 503
    page.show(picture(0, live=False))
    page.status.stood_in()
    assert fetch(page, "health")[0] == 503
    page.status.left(time.monotonic())
    assert fetch(page, "health")[0] == 200


def test_metrics_are_prometheus_and_know_the_camera(serve):
    page = serve(name="garden")
    page.status.came()
    page.status.left(time.monotonic() - 0.03)
    page.status.drop("late")
    page.status.add_output("record x.mkv").taken = 4
    _, headers, body = fetch(page, "metrics")
    samples = {
        (sample.name, sample.labels.get("reason") or sample.labels.get("output") or sample.labels.get("le")): sample
        for family in text_string_to_metric_families(body.decode()) for sample in family.samples
    }  # fmt: skip
    assert "version=0.0.4" in headers["Content-Type"]
    assert all(sample.labels["camera"] == "garden" for sample in samples.values())
    for name, label, value in (
        ("frames_in_total", None, 1), ("frames_out_total", None, 1), ("frames_dropped_total", "late", 1),
        ("output_taken_total", "record x.mkv", 4), ("healthy", None, 1), ("latency_seconds_count", None, 1),
        ("latency_seconds_bucket", "0.02", 0), ("latency_seconds_bucket", "0.04", 1),
    ):  # fmt: skip
        assert samples[f"streamderain_{name}", label].value == value
    assert not any("per_second" in name or "fps" in name for name, _ in samples)


def test_no_answer_holds_the_password(serve):
    page = serve()
    page.status.tell("lost", str(Address(f"rtsp://me:{CANARY}@cam.example/live")))
    page.show(picture(0))
    for path in ("", "api/status", "metrics", "health", "snapshot.jpg", "static/app.js", "nothing"):
        _, headers, body = fetch(page, path)
        assert CANARY.encode() not in body and CANARY not in str(headers)


# --- who may look ---
@pytest.mark.parametrize("host, status", [
    ("127.0.0.1", 200), ("localhost:1", 200), ("[::1]:80", 200), ("192.168.1.5:8088", 200), ("cam.lan", 200),
    ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403), ("", 400), ("[", 403),
])  # fmt: skip
def test_only_our_names_are_answered(serve, host, status):
    page = serve(allowed_hosts=("cam.lan",))
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as line:
        line.sendall(f"GET /api/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        found = int(line.makefile("rb").readline().split()[1])
    assert found == status or (status == 400 and found in (400, 403))


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1.evil.x"])
def test_another_page_gets_nothing(serve, origin):
    page = serve()
    assert fetch(page, "api/settings", "POST", data='{"strength":2}', headers={**JSON, "Origin": origin})[0] == 403
    assert fetch(page, "api/status", headers={"Origin": origin})[0] == 403

    async def work(session):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(page.url + "live", origin=origin)
        assert refused.value.status == 403

    talk(work)
    assert page.controls.settings == Settings()


def test_a_form_of_another_page_changes_nothing(serve):
    page = serve()
    headers = {"Content-Type": "text/plain"}
    assert fetch(page, "api/settings", "POST", data='{"strength":2}', headers=headers)[0] == 403
    headers = {**JSON, "Sec-Fetch-Site": "cross-site"}
    assert fetch(page, "api/settings", "POST", data='{"strength":2}', headers=headers)[0] == 403
    assert page.controls.settings == Settings()


def test_beyond_this_machine_a_token_is_needed(serve):
    with pytest.raises(DerainError, match="a token is needed"):
        serve(host="0.0.0.0")
    with pytest.raises(DerainError, match="too short"):
        serve(host="0.0.0.0", token="short")
    page = serve(host="0.0.0.0", token="a-long-token")
    assert fetch(page, "api/status")[0] == 401 and fetch(page, "health")[0] == 503
    for path in ("metrics", "snapshot.jpg", "stream.mjpg", "static/app.js", "live"):
        assert fetch(page, path)[0] in (401, 403)
    bearer = {"Authorization": "Bearer a-long-token"}
    assert fetch(page, "api/status", headers=bearer)[0] == 200
    assert fetch(page, "api/settings", "POST", data="{}", headers=bearer)[0] == 200


def test_a_browser_exchanges_the_token_for_a_cookie(serve):
    page = serve(token="a-long-token")
    assert fetch(page, "")[1]["Location"] == "login"
    assert fetch(page, "cameras/a/")[1]["Location"] == "../../login"  # a bookmark
    assert b"<form" in fetch(page, "login")[2]
    status, headers, body = fetch(page, "?token=a-long-token")
    cookie = headers["Set-Cookie"]
    assert status == 303 and headers["Location"] == "./" and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert "a-long-token" not in str(headers) + body.decode()
    name, _, value = cookie.partition(";")[0].partition("=")
    assert fetch(page, "api/status", headers={"Cookie": f"{name}={value}"})[0] == 200
    assert fetch(page, "api/status", headers={"Cookie": f"{name}={value[:-1]}0x"})[0] == 401
    origin = {"Origin": page.url.rstrip("/")}
    assert fetch(page, "login", "POST", data={"token": "a-long-token"}, headers=origin)[0] == 303
    assert fetch(page, "login", "POST", data={"token": "wrong-token"}, headers=origin)[0] == 401


def test_every_answer_carries_the_rules_for_browsers(serve):
    page = serve()
    for path in ("", "api/status", "nothing", "metrics"):
        headers = fetch(page, path)[1]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert "Server" not in headers


@pytest.mark.parametrize("path", ["static/../page.py", "static/%2e%2e/page.py", "static/..%2fpage.py", "static/x.py"])
def test_no_path_leads_out_of_the_pages_files(serve, path):
    assert fetch(serve(), path)[0] in (400, 404)


# --- many, slow and stuck ---
def test_a_port_that_is_taken_is_said(serve):
    page = serve()
    with pytest.raises(DerainError, match=r"cannot serve on 127\.0\.0\.1"):
        Page("127.0.0.1", page.port, status=page.status, controls=page.controls)


def test_a_viewer_that_waits_for_the_first_picture_hears_that_the_line_is_good(serve, monkeypatch):
    monkeypatch.setattr(viewers, "WORD_SECONDS", 0.1)
    page = serve()

    async def work(session):
        async with session.ws_connect(page.url + "live", headers={"Origin": page.url.rstrip("/")}) as viewer:
            first = await viewer.receive(20)
            page.show(picture())
            while (message := await viewer.receive(20)).type is aiohttp.WSMsgType.TEXT:
                pass
            return first, message

    first, message = talk(work)
    assert (first.type, first.data) == (aiohttp.WSMsgType.TEXT, "{}")
    assert message.type is aiohttp.WSMsgType.BINARY


def test_of_ten_viewers_one_that_is_stuck_holds_up_no_other(serve):
    page = serve()
    stuck = socket.create_connection(("127.0.0.1", page.port))
    stuck.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")

    async def look(session):
        async with session.ws_connect(page.url + "live?view=after", origin=page.url.rstrip("/")) as viewer:
            seen = []
            for _ in range(20):
                seen.append(parts_of((await viewer.receive(20)).data)[0]["pts"])
                await viewer.send_json({"got": True})
            return seen

    async def work(session):
        looking = [asyncio.ensure_future(look(session)) for _ in range(9)]
        number = 0
        while not all(each.done() for each in looking):
            page.show(picture(number, width=640, height=360))
            number += 1
            await asyncio.sleep(0.01)
        return [each.result() for each in looking]

    for seen in talk(work):
        assert seen == sorted(set(seen)) and len(seen) == 20
    stuck.close()


def test_connections_are_limited_and_silent_ones_closed(serve, monkeypatch):
    monkeypatch.setattr(door_module, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(door_module.Door.__init__, "__defaults__", (0.5,))
    page = serve()
    lines = []
    for _ in range(40):
        lines.append(socket.create_connection(("127.0.0.1", page.port), timeout=20))
        with suppress(ConnectionError):  # it may have been silent for too long already
            lines[-1].sendall(b"GET / HT")  # and no more
    over = [line.recv(10) if line else b"" for line in _quietly(lines)]
    assert over == [b""] * 40
    wait_until(lambda: served(page), what="being served again")


def _quietly(lines):
    """Lines whose reset counts as an end."""

    class Quiet:
        def __init__(self, line):
            self.line = line

        def recv(self, count):
            try:
                return self.line.recv(count)
            except ConnectionResetError:
                return b""

    return [Quiet(line) for line in lines]


def test_closing_takes_no_longer_because_somebody_looks(serve):
    page = serve()
    viewers = [socket.create_connection(("127.0.0.1", page.port), timeout=20) for _ in range(5)]
    for viewer in viewers:
        viewer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    page.show(picture(0))
    for viewer in viewers:
        assert viewer.recv(10)
    page.close()
    assert not page._served._thread.is_alive()
    page.show(picture(1))  # afterwards nothing happens
