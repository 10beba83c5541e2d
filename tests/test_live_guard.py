"""Attacks on the page's server: guessed tokens, odd bytes, slow senders, stuck readers and crowds, by bare sockets."""
from __future__ import annotations

import asyncio
import json
import logging
import struct
import threading
import time
from contextlib import suppress

import psutil
import pytest
from browser import Browser, needs_chromium
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_pages import TOKEN, ended, fetch, line_to, pages, picture, request, served, status_of, talk, upgrade
from live_peers import wait_until

from streamderain.live import desk, door, viewers
from streamderain.live.controls import Settings
from streamderain.live.door import MOST_CONNECTIONS, MOST_PER_ADDRESS, most_from
from streamderain.live.guard import Guard, is_loopback
from streamderain.live.tries import MOST_WRONG, Tries, neighbourhood

BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def serve(monkeypatch):
    """Makes pages; a wrong token costs no time."""
    monkeypatch.setattr(desk, "_WRONG_TOKEN_SECONDS", 0.0)
    with pages() as make:
        yield make


@pytest.fixture
def showing():
    """Shows pictures on a page again and again until the end of the test."""
    over = threading.Event()
    threads = []

    def begin(page, **options):
        def work():
            number = 0
            while not over.wait(0.02):
                page.show(picture(number, **options))
                number += 1

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield begin
    over.set()
    for thread in threads:
        thread.join()


# --- tokens ---
def test_wrong_tokens_exhaust_a_neighbourhood_and_are_forgotten():
    tries = Tries(most=3, forgiven_seconds=10)
    for second in range(3):
        assert not tries.exhausted("2001:db8::1", second)
        tries.wrong("2001:db8::1", second)
    assert tries.exhausted("2001:db8::1", 2) and tries.exhausted("2001:db8::ffff", 2)
    assert not tries.exhausted("2001:db8:0:1::1", 2) and not tries.exhausted("192.0.2.1", 2)
    assert not tries.exhausted("2001:db8::1", 13)
    tries.wrong("2001:db8::1", 13)
    assert tries.exhausted("2001:db8::1", 13) and not tries.exhausted("2001:db8::1", 1000)


def test_the_memory_of_wrong_tokens_is_bounded():
    tries = Tries()
    for number in range(5000):
        tries.wrong(f"10.0.{number // 250}.{number % 250}", float(number) / 1000)
    assert len(tries._wrong) <= 1024


@pytest.mark.parametrize("address, place", [
    ("192.0.2.7", "192.0.2.7"), ("::1", "::1"), ("::ffff:192.0.2.7", "192.0.2.7"), ("fe80::1%eth0", "fe80::/64"),
    ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), ("nonsense", "nonsense"), ("", ""),
])  # fmt: skip
def test_neighbourhoods(address, place):
    assert neighbourhood(address) == place


@pytest.mark.parametrize("way", ["bearer", "query", "form"])
def test_a_token_cannot_be_guessed_quickly(serve, way):
    page = serve(token=TOKEN)
    origin = {"Origin": page.url.rstrip("/")}

    def attempt(token):
        if way == "bearer":
            return fetch(page, "api/status", headers={"Authorization": f"Bearer {token}"})[0]
        if way == "query":
            return fetch(page, f"?token={token}")[0]
        return fetch(page, "login", "POST", data={"token": token}, headers=origin)[0]

    right = 200 if way == "bearer" else 303
    cookie = fetch(page, f"?token={TOKEN}")[1]["Set-Cookie"].partition(";")[0]
    assert attempt(TOKEN) == right
    assert [attempt(f"wrong-{number}") for number in range(MOST_WRONG)] == [401] * MOST_WRONG
    assert attempt("wrong-again") == 429 and attempt(TOKEN) == 429, "a right one must not tell the guesser"
    assert fetch(page, "api/status", headers={"Cookie": cookie})[0] == 200, "who is in stays in"
    assert fetch(page, "health")[0] == 503


@pytest.mark.parametrize("kind, body", [
    ("application/x-www-form-urlencoded", b"token=\xe4\xff"),
    ("application/x-www-form-urlencoded; charset=no", b"token=a"),
    ("multipart/form-data", b"token"), ("multipart/form-data; boundary=x", b"--x\r\ntoken"),
    ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n\xff\r\n--x--'),
])  # fmt: skip
def test_a_form_that_cannot_be_read_is_a_wrong_token(serve, kind, body):
    page = serve(token=TOKEN)
    headers = {"Origin": page.url.rstrip("/"), "Content-Type": kind}
    assert fetch(page, "login", "POST", data=body, headers=headers)[0] == 401


def test_a_token_of_any_bytes_lets_in(serve):
    page = serve(token="gehe\udce4m-\udcff-123")
    line = "Authorization: Bearer gehe\xe4m-\xff-123"
    with line_to(page, request("/api/status", line, f"Cookie: streamderain_{page.port}=wrong")) as line:
        assert status_of(line) == 200


def test_the_login_page_says_what_is_wrong_and_looks_like_the_others(serve):
    page = serve(token=TOKEN)
    origin = {"Origin": page.url.rstrip("/")}
    status, headers, body = fetch(page, "login", "POST", data={"token": "wrong"}, headers=origin)
    assert status == 401 and b"this is not the token" in body and b"<form" in body
    assert headers["Content-Type"].startswith("text/html")
    assert b"this is not the token" not in fetch(page, "login")[2]
    assert fetch(page, "static/style.css")[0] == 200 and fetch(page, "static/app.js")[0] == 401


def test_without_a_token_one_in_the_address_does_no_harm(serve):
    status, headers, _ = fetch(serve(), "?token=anything")
    assert (status, headers["Location"]) == (303, "./") and "Set-Cookie" not in headers


def test_who_is_known_already_is_asked_for_no_token_again(serve):
    page = serve(token=TOKEN)
    name, value = fetch(page, f"?token={TOKEN}")[1]["Set-Cookie"].partition(";")[0].split("=")
    status, headers, _ = fetch(page, "?token=old", headers={"Cookie": f"{name}={value}"})
    assert (status, headers["Location"]) == (303, "./")
    assert fetch(page, "?token=old", headers=BEARER)[0] == 200


def test_a_token_of_the_user_may_hold_any_letters(serve):
    page = serve(token="Schlüßel-☔")
    assert fetch(page, "?token=Schl%C3%BC%C3%9Fel-%E2%98%94")[0] == 303
    assert fetch(page, "?token=Schl%C3%BC%C3%9Fel-x")[0] == 401


@needs_chromium
@pytest.mark.slow
def test_a_browser_logs_in(serve):
    page = serve(token=TOKEN)
    with Browser() as browser:
        tab = browser.open(page.url)
        for token, sign in (("wrong", "document.querySelector('.complaint').textContent.includes('not the token')"),
                            (TOKEN, "location.pathname == '/' && !document.querySelector('#token')")):  # fmt: skip
            tab.wait_for("!!document.querySelector('#token')")
            tab.evaluate(f"document.querySelector('#token').value = '{token}'")
            tab.click("button")
            tab.wait_for(f"document.readyState == 'complete' && {sign}")
        assert tab.evaluate("document.cookie") == "", "scripts must not read the cookie"


# --- who asks, and how ---
@pytest.mark.parametrize("host, loopback", [
    ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("LOCALHOST", True),
    ("0.0.0.0", False), ("0", False), ("", False), ("::", False), ("192.168.1.2", False), ("127.1", False),
    ("localhost.example", False),
])  # fmt: skip
def test_which_addresses_are_of_this_machine_alone(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("method, headers, allowed", [
    ("GET", {}, True),
    ("GET", {"Origin": "http://localhost:8088"}, True),
    ("GET", {"Origin": "https://localhost:8088"}, True),  # behind a proxy that speaks TLS
    ("GET", {"Origin": "http://localhost:8089"}, False),
    ("GET", {"Origin": "null"}, False),
    ("GET", {"Origin": ""}, False),
    ("GET", {"Sec-Fetch-Site": "cross-site"}, True),  # a link on another page
    ("WEBSOCKET", {}, False),
    ("WEBSOCKET", {"Origin": "http://localhost:8088"}, True),
    ("WEBSOCKET", {"Origin": "http://localhost"}, False),
    ("WEBSOCKET", {"Authorization": "Bearer x"}, True),
    ("WEBSOCKET", {"Origin": "http://evil.example", "Authorization": "Bearer x"}, False),
    ("POST", {}, False),
    ("POST", {"Content-Type": "text/plain"}, False),
    ("POST", {"Content-Type": "application/json"}, True),
    ("POST", {"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"}, False),
    ("POST", {"Content-Type": "application/json", "Origin": "http://evil.example"}, False),
    ("POST", {"Origin": "http://localhost:8088"}, True),
    ("POST", {"Origin": "http://LocalHost:8088"}, True),
    ("POST", {"Origin": "http://localhost:8088.evil.example"}, False),
    ("POST", {"Origin": "http://localhost:8088@evil.example"}, False),
    ("POST", {"Origin": "file://"}, False),
    ("POST", {"Authorization": "Bearer x"}, True),
])  # fmt: skip
def test_what_comes_from_another_page_is_refused(method, headers, allowed):
    assert (Guard("127.0.0.1").refuse(method, {"Host": "localhost:8088", **headers}) is None) is allowed


@pytest.mark.parametrize("line", [
    "Authorization: Bearer \xff\xfe", "Authorization: Bearer", "Authorization: \xff", "Cookie: a=\xff; =;;",
    "Origin: \xff", "Origin: http://[", "Sec-Fetch-Site: \xff", "Accept: \xff", "Content-Length: -1", "Host: x",
    "Transfer-Encoding: chunked, chunked", "Upgrade: websocket", "Connection: \xff", "Content-Length: 99999999999999",
])  # fmt: skip
def test_odd_headers_are_refused_and_break_nothing(serve, caplog, line):
    page = serve(token=TOKEN)
    cookie = f"Cookie: streamderain_{page.port}=\xff"
    for method in ("GET", "POST"):
        with line_to(page, request("/api/status", line, cookie, method=method)) as connection:
            assert status_of(connection) in (400, 401, 403, 413)
    assert fetch(page, "api/status", headers=BEARER)[0] == 200
    assert "Traceback" not in caplog.text


def test_what_cannot_be_read_is_not_logged(serve, caplog):
    page = serve(token=TOKEN)
    caplog.set_level(logging.DEBUG, "streamderain")
    caplog.set_level(logging.INFO, "aiohttp")
    for bad in (b"GET /?token=" + TOKEN.encode() + b"\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: " + TOKEN.encode() + b"\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01" + TOKEN.encode() + b"\r\n\r\n"):  # fmt: skip
        with line_to(page, bad) as connection:
            assert status_of(connection) in (400, None)
    with line_to(page, request(f"/?token={TOKEN}")) as connection:
        assert status_of(connection) == 303
    assert TOKEN not in caplog.text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    target=st.text(st.characters(codec="latin-1", exclude_characters="\r\n "), max_size=60),
    lines=st.lists(st.tuples(
        st.sampled_from(["Host", "Origin", "Cookie", "Authorization", "Upgrade", "Content-Type", "Content-Length"]),
        st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=40),
    ), max_size=4),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "CONNECT", "get", "X"]),
    body=st.binary(max_size=64),
)  # fmt: skip
def test_no_request_makes_the_server_fail(one_page, target, lines, method, body):
    head = f"{method} /{target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines)
    if not any(name == "Host" for name, _ in lines):
        head += "Host: localhost\r\n"
    with line_to(one_page, head.encode("latin-1") + b"Connection: close\r\n\r\n" + body) as connection:
        connection.shutdown(1)
        status = status_of(connection)
    assert status is None or status < 500 or status == 503, (head, body)
    assert one_page.controls.settings == Settings()


@pytest.fixture
def one_page():
    with pages() as make:
        yield make(token=TOKEN)


@pytest.mark.parametrize("body, status", [
    (b'{"strength": ' + b"9" * 400 + b"}", 400), (b"[" * 4000, 400), (b"\xff", 400), (b'{"self": 1}', 400),
    (b'{"strength": NaN}', 400), (b'{"strength": Infinity}', 400), (b'{"strength": true}', 400), (b"", 400),
    (b'{"strength": null}', 400), (b'{"profile": []}', 400), (b'{"profile": {}}', 400), (b" " * 4095 + b"{}", 413),
])  # fmt: skip
def test_settings_that_are_nonsense(serve, body, status):
    page = serve()
    assert fetch(page, "api/settings", "POST", data=body, headers=JSON)[0] == status
    assert page.controls.settings == Settings()


def test_an_unknown_charset_is_no_trouble(serve):
    headers = {"Content-Type": "application/json; charset=no-such"}
    assert fetch(serve(), "api/settings", "POST", data=b'{"strength": 2}', headers=headers)[0] == 200


def test_heads_of_moving_pictures_are_not_served(serve):
    page = serve()
    assert [fetch(page, path, "HEAD")[0] for path in ("stream.mjpg", "live", "api/status")] == [405, 405, 200]


# --- slow senders and crowds ---
def test_a_body_that_does_not_come_is_not_waited_for(serve, monkeypatch):
    monkeypatch.setattr(desk, "_BODY_SECONDS", 0.3)
    page = serve(token=TOKEN)
    origin = f"Origin: http://localhost:{page.port}"
    form = (origin, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 4000")
    with line_to(page, request("/login", *form, method="POST", host=f"localhost:{page.port}") + b"tok") as line:
        assert status_of(line) == 408


def test_a_head_that_comes_drop_by_drop_is_cut_off(serve, monkeypatch):
    monkeypatch.setattr(door.Door.__init__, "__defaults__", (0.5,))
    page = serve()
    end = time.monotonic() + 60
    with line_to(page, b"GET / HTTP/1.1\r\n") as line, pytest.raises(ConnectionError):
        while time.monotonic() < end:
            line.sendall(b"a")
            time.sleep(0.1)


def test_two_hundred_silent_connections_keep_nobody_out(serve, monkeypatch):
    monkeypatch.setattr(door.Door.__init__, "__defaults__", (3600.0,))
    page = serve()
    crowd = [line_to(page) for _ in range(200)]
    with line_to(page, request("/api/status")) as line:  # a client of aiohttp would try twice
        assert status_of(line) == 200
    server = psutil.Process()

    def held():
        return sum(
            each.laddr.port == page.port and each.status == "ESTABLISHED" for each in server.net_connections("tcp")
        )

    wait_until(lambda: held() <= MOST_CONNECTIONS, 15, what="the crowd being bounded")
    for line in crowd:
        line.close()


def test_busy_connections_are_not_given_up_for_new_ones(serve, monkeypatch):
    monkeypatch.setattr(door, "MOST_CONNECTIONS", 3)
    page = serve()
    page.show(picture(0))
    watching = [line_to(page, request("/stream.mjpg")) for _ in range(3)]
    for line in watching:
        assert status_of(line) == 200
    with line_to(page, request("/api/status")) as late:
        assert status_of(late) is None
    page.show(picture(1))
    for line in watching:
        assert line.recv(100)
        line.close()
    wait_until(lambda: served(page), what="room again")


def test_another_machine_gets_a_share_of_the_connections():
    assert most_from("192.0.2.1") == most_from("2001:db8::/64") == most_from("nonsense") == MOST_PER_ADDRESS
    assert most_from("127.0.0.1") == most_from("::1") == MOST_CONNECTIONS > MOST_PER_ADDRESS


# --- viewers ---
def test_viewers_that_left_before_the_first_picture_take_no_places(serve, monkeypatch):
    monkeypatch.setattr(viewers, "MOST_VIEWERS", 2)
    page = serve()
    for _ in range(2):
        with line_to(page, request("/stream.mjpg")) as line:
            assert status_of(line) == 200
    wait_until(lambda: _opens(page), what="the places being free")


def test_there_are_so_many_places(serve, monkeypatch):
    monkeypatch.setattr(viewers, "MOST_VIEWERS", 1)
    page = serve()
    with line_to(page, upgrade(page)) as line:
        assert status_of(line) == 101
        assert not _opens(page)
        assert fetch(page, "api/status")[0] == 200


def _opens(page):
    with line_to(page, request("/stream.mjpg")) as line:
        return status_of(line) == 200


@pytest.mark.parametrize("kind", ["mjpeg", "websocket"])
def test_a_viewer_that_does_not_read_is_dropped(serve, showing, monkeypatch, kind):
    monkeypatch.setattr(viewers, "WRITE_SECONDS", 0.5)
    monkeypatch.setattr(viewers, "MOST_VIEWERS", 1)
    page = serve()
    with line_to(page, request("/stream.mjpg") if kind == "mjpeg" else upgrade(page, "/live?view=side")) as line:
        assert line.recv(12).startswith(b"HTTP/1.1 ")
        assert not _opens(page)
        showing(page, width=1280, height=720)

        def dropped():
            with suppress(ConnectionError):
                for _ in range(100 if kind == "websocket" else 0):  # it says that it has shown what it never read
                    line.sendall(_frame(0x81, b'{"got": true}'))
                    time.sleep(0.002)
            return _opens(page)

        wait_until(dropped, what="its place being free")


def test_a_viewer_that_acknowledges_nothing_is_dropped(serve, monkeypatch):
    monkeypatch.setattr(viewers, "ACKNOWLEDGE_SECONDS", 0.5)
    page = serve()
    page.show(picture(0))
    with line_to(page, upgrade(page)) as line:
        assert status_of(line) == 101 and ended(line)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("sent", [
    b"\x81\xff" + struct.pack(">Q", 1 << 40) + b"mask" + b"x" * 5000, b"\x82\x80mask", b"\xff\xff\xff\xff",
    b"\x88\x80mask", b"\x81\x81mask\0",
], ids=["huge", "binary", "nonsense", "close", "no json"])  # fmt: skip
def test_what_no_viewer_says_ends_the_connection(serve, sent, apart):
    page = serve()
    with line_to(page, upgrade(page) + (b"" if apart else sent)) as line:
        if apart:
            assert line.recv(12) == b"HTTP/1.1 101"
            line.sendall(sent)
        assert ended(line)
    assert fetch(page, "api/status")[0] == 200


def test_stuck_viewers_cost_little_memory(serve, showing):
    page = serve()
    showing(page, width=1920, height=1080)
    wait_until(lambda: fetch(page, "snapshot.jpg")[0] == 200, what="the first picture")
    process = psutil.Process()
    before = process.memory_info().rss
    stuck = [line_to(page, request("/stream.mjpg?view=side")) for _ in range(20)]
    time.sleep(2)
    grown = process.memory_info().rss - before
    for line in stuck:
        line.close()
    assert grown < 120 * 1024 * 1024


def test_the_age_of_a_picture_is_that_when_it_is_sent(serve):
    page = serve()
    page.show(picture(0, at=time.monotonic() - 100))

    async def work(session):
        ages = []
        for _ in range(2):
            async with session.ws_connect(page.url + "live?view=after", origin=page.url.rstrip("/")) as viewer:
                data = (await viewer.receive(20)).data
                length = int.from_bytes(data[:4], "big")
                ages.append(json.loads(data[4 : 4 + length])["age_ms"])
            await asyncio.sleep(0.3)
        return ages

    first, second = talk(work)
    assert first >= 100_000 and second >= first + 300


def test_closing_takes_no_longer_because_viewers_are_stuck(serve, showing):
    page = serve()
    showing(page, width=1280, height=720)
    stuck = [line_to(page, request("/stream.mjpg?view=side")) for _ in range(5)]
    stuck += [line_to(page, upgrade(page)) for _ in range(5)]
    stuck += [line_to(page, b"GET / HT") for _ in range(5)]
    for line in stuck[:10]:
        assert line.recv(20)
    time.sleep(0.5)
    page.close()
    assert not any(thread.name == "page" for thread in threading.enumerate())
    assert all(ended(line) for line in stuck)
    page.close()


def _frame(head, payload):
    """A masked WebSocket frame of under 126 bytes."""
    mask = b"\1\2\3\4"
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([head, 0x80 | len(payload)]) + mask + masked
