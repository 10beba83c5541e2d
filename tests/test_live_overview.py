"""One page for all cameras: real pages of cameras behind it, real requests before it."""
from __future__ import annotations

import asyncio
import http.client
import json
from dataclasses import dataclass

import pytest
from live_command import get, until
from live_fakes import shown

pytest.importorskip("aiohttp", reason="the live extra is not installed")

import aiohttp

from streamderain.errors import DerainError
from streamderain.live.controls import Controls
from streamderain.live.options import PageOptions
from streamderain.live.overview import Overview, merged
from streamderain.live.page import Page, listen
from streamderain.live.status import Status

INSIDE, OUTSIDE = "inside-token", "outside-token"
ANY_PORT = PageOptions(port=0)


@dataclass
class Kept:
    """What the overview wants of a keeper, without a process."""

    name: str
    page: Page | None
    token: str = INSIDE
    restarts: int = 0

    @property
    def port(self):
        return self.page.port if self.page else None

    @property
    def running(self):
        return self.page is not None

    def status(self):
        return self.page.status.as_dict() if self.page else {"healthy": False, "connected": False}


def camera_page(name):
    """A camera's own page that has shown one picture."""
    status = Status(f"rtsp://***@{name}/1")
    page = Page("127.0.0.1", 0, status=status, controls=Controls(), token=INSIDE, name=name)
    status.came()
    status.left(status.began)
    page.show(shown(width=64, height=48))
    return page


@pytest.fixture
def cameras():
    kept = {name: Kept(name, camera_page(name)) for name in ("a", "b")}
    pages = [each.page for each in kept.values()]
    yield kept
    for page in pages:
        page.close()


@pytest.fixture
def url(cameras):
    overview = Overview(ANY_PORT, cameras)
    yield overview.url
    overview.close()


def post(url, body, **headers):
    """Status and body of a POST of JSON."""
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=20)
    path = "/" + url.split("/", 3)[3]
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_list_of_cameras(url):
    code, body = get(f"{url}api/cameras")
    listed = json.loads(body)
    assert code == 200 and [each["name"] for each in listed] == ["a", "b"]
    assert [each["path"] for each in listed] == ["cameras/a/", "cameras/b/"]
    assert listed[0]["status"]["frames_out"] == 1 and listed[0]["status"]["healthy"] is True


def test_a_cameras_page_stands_behind_its_path(url):
    code, body = get(f"{url}cameras/b/api/status")
    assert code == 200 and json.loads(body)["name"] == "b"
    code, body = get(f"{url}cameras/a/snapshot.jpg?view=before")
    assert code == 200 and body.startswith(b"\xff\xd8")


def test_the_path_without_its_slash_leads_to_the_one_with_it(url):
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=20)
    connection.request("GET", "/cameras/a")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (302, "a/")


def test_settings_reach_the_right_camera(url, cameras):
    code, _ = post(f"{url}cameras/b/api/settings", {"strength": 0.5})
    assert code == 200
    assert [each.page.controls.settings.strength for each in cameras.values()] == [1.0, 0.5]


def test_no_change_from_another_page_and_none_by_get(url, cameras):
    assert post(f"{url}cameras/b/api/settings", {"strength": 0.5}, Origin="http://evil.example")[0] == 403
    assert get(f"{url}cameras/b/api/settings?strength=0.5")[0] in (404, 405)
    assert cameras["b"].page.controls.settings.strength == 1.0


def test_a_body_that_is_too_long_is_refused(url):
    assert post(f"{url}cameras/b/api/settings", {"strength": 0.5, "x": "y" * 10_000})[0] == 413


@pytest.mark.parametrize("path", ["cameras/c/", "cameras/c", "cameras/a/login", "cameras/..%2f/", "cameras/a/../c/"])
def test_what_is_not_there(url, path):
    assert get(url + path)[0] == 404


def test_a_strange_method_is_refused(url):
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=20)
    connection.request("DELETE", "/cameras/a/api/status")
    assert connection.getresponse().status == 405


def test_the_live_pictures_come_through(url, cameras):
    async def look():
        async with aiohttp.ClientSession() as session, session.ws_connect(
            f"{url}cameras/a/live", origin=url.rstrip("/")
        ) as socket:
            first = await socket.receive_bytes(timeout=20)
            await socket.send_str(json.dumps({"view": "after", "got": 1}))
            cameras["a"].page.show(shown(1, width=64, height=48))
            return first, await socket.receive_bytes(timeout=20)

    for message in asyncio.run(look()):
        assert b"\xff\xd8" in message  # a JPEG behind the header


def test_a_live_picture_for_another_page_is_refused(url):
    async def look():
        async with aiohttp.ClientSession() as session:
            await session.ws_connect(f"{url}cameras/a/live", origin="http://evil.example")

    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        asyncio.run(look())


def test_an_endless_stream_comes_through(url, cameras):
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=20)
    connection.request("GET", "/cameras/a/stream.mjpg")
    answer = connection.getresponse()
    assert answer.status == 200 and "multipart" in answer.headers["Content-Type"]
    assert b"image/jpeg" in answer.read(40 + 30)
    connection.close()


def test_a_dead_worker_is_told_and_the_rest_goes_on(url, cameras):
    cameras["a"].page.close()  # its port answers no more
    code, body = get(f"{url}cameras/a/")
    assert code == 502 and body.count(b"\n") == 1 and b"camera a" in body
    cameras["a"].page = None
    assert get(f"{url}cameras/a/snapshot.jpg")[0] == 502
    assert get(f"{url}cameras/b/api/status")[0] == 200
    code, body = get(f"{url}health")
    assert code == 503 and body.startswith(b"a: ") and b"b:" not in body
    assert json.loads(get(f"{url}api/cameras")[1])[0]["running"] is False
    assert b'streamderain_worker_running{camera="a"} 0.0' in get(f"{url}metrics")[1]


def test_metrics_of_all_cameras_in_one_text(url):
    pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    code, body = get(f"{url}metrics")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    frames = {sample.labels["camera"]: sample.value for sample in families["streamderain_frames_out"].samples}
    assert code == 200 and frames == {"a": 1.0, "b": 1.0}
    assert {sample.value for sample in families["streamderain_worker_running"].samples} == {1.0}
    assert body.count(b"# TYPE streamderain_frames_out_total counter") == 1


def test_merging_keeps_every_family_together():
    one = "# HELP x Text.\n# TYPE x counter\nx{c=\"1\"} 1\n# HELP y Other.\n# TYPE y gauge\ny 2\n"
    two = "# HELP x Text.\n# TYPE x counter\nx{c=\"2\"} 3\n"
    assert merged([one, "", two]) == (
        "# HELP x Text.\n# TYPE x counter\nx{c=\"1\"} 1\nx{c=\"2\"} 3\n# HELP y Other.\n# TYPE y gauge\ny 2\n"
    )


def test_a_label_with_odd_line_ends_stays_on_its_line():
    text = 'x{c="a\u2028b\x85c\x0cd\r"} 1\n'
    assert merged([text]) == text


def test_healthy_when_all_are(url):
    assert get(f"{url}health") == (200, b"ok\n")


def test_the_same_guard_as_before_a_cameras_page(cameras):
    with pytest.raises(DerainError, match="token"):
        Overview(PageOptions("0.0.0.0", 0), cameras)
    overview = Overview(PageOptions(port=0, token=OUTSIDE), cameras)
    try:
        url = overview.url
        assert get(f"{url}cameras/a/") == get(f"{url}login")  # a bookmark
        for path in ("api/cameras", "cameras/a/snapshot.jpg", "cameras/a/", "metrics"):
            assert path == "cameras/a/" or get(url + path)[0] == 401
            assert get(url + path, Authorization=f"Bearer {INSIDE}")[0] == 401
        assert get(f"{url}api/cameras", Authorization=f"Bearer {OUTSIDE}")[0] == 200
        assert get(f"{url}cameras/a/snapshot.jpg", Authorization=f"Bearer {OUTSIDE}")[0] == 200
        assert get(f"{url}api/cameras", Host="evil.example")[0] == 403
        assert get(f"{url}health")[0] == 200
    finally:
        overview.close()


def test_nothing_of_the_inside_is_shown_and_nothing_of_the_outside_goes_in(url, cameras):
    seen = []
    guard = cameras["a"].page._guard
    refuse = guard.refuse

    def listening(method, headers):
        seen.append(dict(headers))
        return refuse(method, headers)

    object.__setattr__(guard, "refuse", listening)
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=20)
    connection.request("GET", "/cameras/a/api/status", headers={"Cookie": "x=y", "Authorization": "Bearer zzz"})
    answer = connection.getresponse()
    assert INSIDE not in str(answer.headers) + answer.read().decode()
    (headers,) = seen
    assert headers["Authorization"] == f"Bearer {INSIDE}" and "Cookie" not in headers and "zzz" not in str(headers)
    assert "Set-Cookie" not in answer.headers and "Server" not in answer.headers


def test_the_next_free_port_where_it_is_taken(cameras):
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(DerainError, match=f"127.0.0.1:{port}"):
        Overview(PageOptions(port=port), cameras)
    overview = Overview(PageOptions(port=port, next_ports=20), cameras)
    assert port < overview.port <= port + 20
    overview.close()
    taken.close()


def test_it_ends_while_somebody_looks(cameras):
    overview = Overview(ANY_PORT, cameras)
    connection = http.client.HTTPConnection("127.0.0.1", overview.port, timeout=20)
    connection.request("GET", "/cameras/a/stream.mjpg")
    assert connection.getresponse().status == 200
    overview.close()
    until(lambda: get(overview.url)[0] == 0, 20)
