"""The live page in a real browser, against the real server: what a person sees, drags, types and is refused."""
from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from browser import Browser, needs_chromium
from live_demo import feeding
from live_fakes import make_frame
from live_peers import free_port, wait_until

from streamderain.live.controls import Controls, Settings
from streamderain.live.moments import SessionInfo, Shown
from streamderain.live.options import PageOptions
from streamderain.live.overview import Overview
from streamderain.live.page import Page
from streamderain.live.status import Status

pytestmark = [pytest.mark.slow, needs_chromium]

BEFORE, AFTER = 190, 70  # luma of the two pictures
SEEN_BEFORE, SEEN_AFTER = ((luma - 16) * 255 / 219 for luma in (BEFORE, AFTER))  # limited range on a screen
LIVE = "document.body?.dataset.state === 'live'"
TOKEN = "a-long-enough-token"


class Camera:
    """A page that gets twenty pictures a second, bright before and dark after, until it is told otherwise."""

    def __init__(self, size=(640, 360), **options):
        self.status, self.controls = Status("rtsp://***@cam.example/live"), Controls(Settings(), ("auto", "tiny"))
        self.page = Page("127.0.0.1", options.pop("port", 0), status=self.status, controls=self.controls, **options)
        self.size, self.mode, self.asked = size, "live", set()
        self._newer, self.page.newer = self.page.newer, self._remember
        self._stop = threading.Event()
        self.status.opened(SessionInfo(1, *size, None, "h264", "yuv420p"))
        self.status.describe_network(profile="tiny", scale=1, device="cpu", backend="eager", precision="bf16", ms=21.3)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def lose(self):
        self.mode = "lost"
        self.status.lost_camera()
        self.status.tell("lost", "rtsp://***@cam.example/live sends no picture any more; check the camera")

    def find(self):
        self.mode = "live"
        self.status.opened(SessionInfo(2, *self.size, None, "h264", "yuv420p"))

    def close(self):
        self._stop.set()
        self._thread.join(10)
        self.page.close()

    async def _remember(self, number, view, width):
        self.asked.add((view, width))
        return await self._newer(number, view, width)

    def _work(self):
        (width, height), number = self.size, 0
        while not self._stop.wait(0.05):
            number, now = number + 1, time.monotonic()
            make = partial(make_frame, number, width=width, height=height)
            if self.mode == "live":
                self.status.came()
                self.page.show(Shown(make(level=BEFORE), make(level=AFTER), now))
                self.status.left(now)
            elif self.mode == "lost":
                dim = make(level=40)
                self.page.show(Shown(dim, dim, now, live=False))
                self.status.stood_in()


@contextmanager
def running(**options):
    camera = Camera(**options)
    try:
        yield camera
    finally:
        camera.close()


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture
def camera():
    with running(name="garden") as camera:
        yield camera


@pytest.fixture
def tab(browser, camera):
    """A desktop's tab with the page in it, live, and told how the camera does."""
    tab = browser.open(camera.page.url)
    tab.wait_for(LIVE)
    tab.wait_for("document.querySelector('#name').textContent === 'garden'")
    yield tab
    tab.close()


def level(screen, x, y):
    """How bright a spot of a screenshot is."""
    return float(screen[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].mean())


def along(tab, share):
    """A place on the picture, off the handle's height."""
    left, top, width, height = tab.box("#picture")
    return left + share * width, top + 0.3 * height


def line_at(tab):
    return tab.evaluate("Number(document.querySelector('#wipe').getAttribute('aria-valuenow'))")


# --- what is seen ---
def test_page_fills_its_figures_and_nothing_complains(browser):
    with feeding(name="garden") as (page, _, _):
        tab = browser.open(page.url)
        tab.wait_for(LIVE)
        tab.wait_for("document.querySelectorAll('.plot .line')[0].getAttribute('d').length > 20")
        values = tab.evaluate("[...document.querySelectorAll('.plot b')].map(b => b.textContent)")
        facts = {key: tab.text(f"#{key}") for key in ("name", "camera", "network", "reconnects", "version")}
        asked = tab.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
        rows = tab.evaluate("['events', 'outputs'].map(id => document.getElementById(id).innerText)")
        tab.close()
    assert facts.pop("version").startswith("streamderain ")
    assert facts == {
        "name": "garden", "camera": "640 \u00d7 360, 25 fps, h264", "network": "tiny on cpu, bf16, eager",
        "reconnects": "0",
    }  # fmt: skip
    assert float(values[0]) > 0 and float(values[1]) > 0 and float(values[2]) >= 0 and values[4].isdecimal()
    assert "640x360 h264" in rows[0] and "s ago" in rows[0] and "record garden.mkv" in rows[1]
    assert asked and all(address.startswith(page.url) for address in asked)
    assert tab.complaints == []


def test_breaches_of_the_policy_are_heard(tab):
    tab.evaluate("document.head.append(Object.assign(document.createElement('style'), {textContent: 'p{}'}))")
    wait_until(lambda: any("Content Security Policy" in line for line in tab.complaints), what="a complaint")


def test_left_of_the_line_is_before(tab):
    for start, end in ((0.5, 0.25), (0.25, 0.75)):
        tab.drag(along(tab, start), along(tab, end))
        assert line_at(tab) == pytest.approx(100 * end, abs=1)
        tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        screen = tab.screenshot()
        for share in (0.15, end - 0.05, end + 0.05, 0.85):
            wanted = SEEN_BEFORE if share < end else SEEN_AFTER
            assert level(screen, *along(tab, share)) == pytest.approx(wanted, abs=4), share
    handle = tab.centre("#wipe")
    assert handle[0] == pytest.approx(along(tab, 0.75)[0], abs=1)


def test_line_is_moved_by_handle_double_click_and_keys(tab):
    middle = tab.centre("#wipe")
    tab.drag((middle[0] + 9, middle[1]), (middle[0] + 209, middle[1]))
    assert tab.centre("#wipe")[0] == pytest.approx(middle[0] + 200, abs=1.5)  # where it was taken, it is held
    tab.click("#picture", times=2)
    assert line_at(tab) == 50
    assert tab.evaluate("document.activeElement.id") == "wipe"
    for key, shift, wanted in (
        ("ArrowRight", False, 51), ("ArrowRight", True, 61), ("ArrowLeft", False, 60), ("PageDown", False, 50),
        ("Home", False, 0), ("ArrowLeft", False, 0), ("End", False, 100),
    ):  # fmt: skip
        tab.press(key, shift=shift)
        assert line_at(tab) == wanted, key
    said = tab.evaluate("document.querySelector('#wipe').getAttribute('aria-valuetext')")
    assert said == "100 % before, 0 % after"


def test_views_show_what_they_are_called(tab, camera):
    pixel = "[...document.querySelector('#canvas').getContext('2d').getImageData({}, 50, 1, 1).data][0]"
    for view, x, wanted in (("before", 800, SEEN_BEFORE), ("after", 100, SEEN_AFTER)):
        tab.click(f"input[value={view}]")
        tab.wait_for(f"Math.abs({pixel.format(x)} - {wanted}) < 5")
        tab.wait_for("getComputedStyle(document.querySelector('#wipe')).display === 'none'")
    tab.click("input[value=side]")
    tab.wait_for("document.querySelector('#canvas').width / document.querySelector('#canvas').height > 3")
    tab.press("ArrowLeft")  # radio buttons: the keys go from one to the next
    tab.wait_for("document.querySelector('input[value=rain]').checked && location.hash === '#rain'")
    wait_until(lambda: "rain" in {view for view, _ in camera.asked}, what="the rain's picture asked for")
    tab.go(camera.page.url + "?again#after")
    tab.wait_for(f"Math.abs({pixel.format(100)} - {SEEN_AFTER}) < 5")


def test_full_screen_has_the_line_too(tab):
    tab.click("#full")
    tab.wait_for("document.fullscreenElement?.id === 'stage'")
    tab.wait_for("document.querySelector('#stage').getBoundingClientRect().width === innerWidth")
    tab.drag(along(tab, 0.5), along(tab, 0.3))
    assert line_at(tab) == 30
    assert tab.evaluate("document.querySelector('#full').getAttribute('aria-label')") == "Leave full screen"
    tab.click("#full")
    tab.wait_for("document.fullscreenElement === null")


# --- what is changed ---
def test_strength_and_profile_reach_the_run(tab, camera):
    tab.wait_for("document.querySelectorAll('#profile option').length === 2")
    left, top, width, height = tab.box("#strength")
    tab.drag((left + width / 2, top + height / 2), (left + 9 + (width - 18) * 0.75, top + height / 2))
    wait_until(lambda: camera.controls.settings.strength == 1.5, what="the strength")
    assert tab.text("#strength-value") == "1.50"
    tab.press("ArrowLeft")
    wait_until(lambda: camera.controls.settings.strength == 1.45, what="the strength by the keys")
    tab.evaluate("document.querySelector('#profile').focus()")
    tab.press("ArrowDown")
    wait_until(lambda: camera.controls.settings.profile == "tiny", what="the profile")
    camera.controls.ask(strength=0.25, profile="auto")  # somebody else's page
    tab.wait_for("document.querySelector('#strength-value').textContent === '0.25'")
    tab.wait_for("document.querySelector('#profile').value === 'auto'")
    assert tab.complaints == []


def test_what_the_server_refuses_is_said(tab):
    tab.wait_for("document.querySelectorAll('#profile option').length === 2")
    tab.evaluate("(p => { p.append(new Option('quality', 'quality')); p.value = 'quality'; "
                 "p.dispatchEvent(new Event('change')); })(document.querySelector('#profile'))")  # fmt: skip
    tab.wait_for("document.querySelector('#said').textContent.startsWith('Not changed: profile')")
    tab.wait_for("document.querySelector('#profile').value === 'auto'")  # and what holds is shown again


def test_snapshot_is_a_file(browser, tab, tmp_path):
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    tab.click("#snapshot")
    wait_until(lambda: list(tmp_path.glob("*.jpg")), what="the file")
    (file,) = tmp_path.glob("garden-after-*.jpg")
    wait_until(lambda: file.stat().st_size > 0, what="its content")
    picture = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (360, 640, 3) and picture.mean() == pytest.approx(SEEN_AFTER, abs=3)


def test_keeping_on_the_server_is_offered_where_it_can_be(tab, camera):
    assert tab.evaluate("document.querySelector('#keep').hidden")
    camera.status.add_output("snapshots /pictures")
    tab.wait_for("!document.querySelector('#keep').hidden")
    tab.click("#keep")
    wait_until(camera.controls.take_snapshots, what="the wish")


# --- what is lost ---
STATES = """var states = new Set(); addEventListener("DOMContentLoaded", () =>
    new MutationObserver(() => states.add(document.body.dataset.state)).observe(document.body, {attributes: true}))"""


def test_a_lost_camera_is_said_in_the_picture(tab, camera):
    camera.lose()
    tab.wait_for("document.body.dataset.state === 'lost'")
    assert tab.text("#state") == "camera lost" and "camera lost" in tab.evaluate("document.title")
    tab.wait_for("document.querySelector('#notice').innerText.includes('sends no picture any more')")
    assert tab.evaluate("document.querySelector('#notice').innerText").startswith("Camera lost")
    tab.wait_for("getComputedStyle(document.querySelector('#wipe')).display === 'none'")
    camera.find()
    tab.wait_for(LIVE + " && document.querySelector('#notice').hidden")
    tab.wait_for("document.querySelector('#reconnects').textContent === '1'")


def test_a_camera_that_says_nothing_is_not_live(tab, camera):
    camera.mode = "silent"
    tab.wait_for("document.body.dataset.state === 'waiting'")
    assert tab.text("#notice-head") == "No new picture"
    time.sleep(3.2)  # older than what the page takes for live
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=STATES)
    tab.go(camera.page.url)  # the server still has the last picture, which is no live one
    tab.wait_for("document.querySelector('#notice-head').textContent === 'No new picture'")
    assert tab.evaluate("[...states]") == ["waiting"]
    camera.mode = "lost"  # the picture says it before the figures do
    tab.wait_for("document.body.dataset.state === 'lost'")
    camera.mode = "live"
    tab.wait_for(LIVE)


def test_page_finds_a_server_that_comes_back(browser):
    port = free_port()
    with running(port=port) as camera:
        tab = browser.open(camera.page.url)
        tab.wait_for(LIVE)
    tab.wait_for("document.querySelector('#notice-head').textContent === 'No connection to streamderain'")
    assert tab.text("#state") == "no connection"
    with running(port=port):
        tab.wait_for(LIVE, seconds=60)
    tab.close()


def test_nothing_is_asked_for_while_nobody_looks(browser, tab, camera):
    other = browser.open("about:blank")
    other.call("Page.bringToFront")
    tab.wait_for("document.hidden")
    time.sleep(1.5)  # what is under way comes to its end
    camera.asked.clear()
    wait_until(lambda: camera.status.frames_out > 60, what="some more pictures")
    assert camera.asked == set()
    tab.call("Page.bringToFront")
    tab.wait_for(LIVE)
    other.close()


# --- who may ---
@contextmanager
def elsewhere():
    """Another site: a page on another port, without any policy of ours."""

    class Blank(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><link rel=icon href=data:,><title>elsewhere</title>")

        def log_message(self, *arguments):
            """A test is silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Blank)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


WATCH = """new Promise(done => { const s = new WebSocket("ws://127.0.0.1:%d/live");
    s.onmessage = () => done("pictures"); s.onclose = () => done("refused"); })"""
CHANGE = """fetch("http://127.0.0.1:%d/api/settings", {method: "POST", mode: %r, body: '{"strength": 0.1}',
    headers: {"Content-Type": %r}}).then(a => a.type === "opaque" ? "sent" : "changed", () => "refused")"""
READ = """fetch("http://127.0.0.1:%d/api/status").then(a => a.json()).then(() => "read", () => "refused")"""


def test_other_sites_see_and_change_nothing(browser, tab, camera):
    port = camera.page.port
    with elsewhere() as url:
        foreign = browser.open(url)
        assert foreign.evaluate(WATCH % port) == "refused"
        assert foreign.evaluate(READ % port) == "refused"
        assert foreign.evaluate(CHANGE % (port, "cors", "application/json")) == "refused"
        foreign.evaluate(CHANGE % (port, "no-cors", "text/plain"))
        assert camera.controls.settings.strength == 1.0
        foreign.close()
    assert tab.evaluate(WATCH % port) == "pictures"  # the same words from the page itself
    assert tab.evaluate(READ % port) == "read"
    assert tab.evaluate(CHANGE % (port, "cors", "application/json")) == "changed"
    assert camera.controls.settings.strength == 0.1


def test_words_from_outside_stay_words(tab, camera):
    bad = "<img src=x onerror=document.title='broken'>"
    camera.status.source = bad
    camera.status.tell("lost", bad)
    camera.status.add_output(bad).detail = bad
    tab.wait_for("document.querySelector('#events').innerText.includes('onerror')")
    assert tab.text("#source") == bad and bad in tab.text("#outputs")
    assert tab.evaluate("document.querySelectorAll('img').length") == 0
    assert tab.complaints == []


def test_token_is_asked_for_once(browser):
    with running(token=TOKEN) as camera:
        tab = browser.open(camera.page.url)
        assert tab.evaluate("location.pathname") == "/login"
        tab.wait_for("document.activeElement?.id === 'token'")  # the page's own doing, a moment after it is loaded
        tab.call("Input.insertText", text=TOKEN)
        tab.press("Enter")
        tab.wait_for("location.pathname === '/' && " + LIVE)
        assert tab.complaints == []
        tab.close()


def test_another_token_is_asked_for_again(browser):
    port = free_port()
    with running(port=port, token=TOKEN) as camera:
        tab = browser.open(f"{camera.page.url}?token={TOKEN}")
        tab.wait_for(LIVE)
        assert TOKEN not in tab.evaluate("location.href")
    with running(port=port, token="another-long-token"):
        tab.wait_for("document.querySelector('#notice').innerText.includes('Give the token again')")
        tab.click("#notice-link")
        tab.wait_for("location.pathname === '/login'")
    tab.close()


# --- on every screen ---
@pytest.mark.parametrize("path", ["", "lost"])
def test_telephone_has_no_sideways_scroll(browser, camera, path):
    camera.status.add_output("push rtsp://***@" + "a-very-long-name-without-a-place-to-break" * 3)
    tab = browser.open(camera.page.url, width=360, height=740, scale=2, touch=True)
    tab.wait_for(LIVE)
    if path == "lost":
        camera.lose()
        tab.wait_for("document.body.dataset.state === 'lost'")
    tab.wait_for("document.querySelector('#outputs li p') !== null")
    assert tab.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [360, 360]
    small = """[...document.querySelectorAll('button, select, .choices label, #wipe')].filter(e => e.offsetParent)
        .filter(e => e.offsetHeight < 44 || e.offsetWidth < 44).map(e => e.outerHTML)"""
    assert tab.evaluate(small) == []
    tab.close()


def test_picture_is_asked_for_as_wide_as_it_is_shown(browser):
    with running(size=(1920, 1080)) as camera:
        tab = browser.open(camera.page.url, width=360, height=740, scale=2, touch=True)
        tab.wait_for(LIVE)
        wait_until(lambda: ("wipe", 720) in camera.asked, what="a picture for the telephone")
        assert {width for _, width in camera.asked} == {720}
        tab.resize(800, 1000)
        wait_until(lambda: ("wipe", 800) in camera.asked, what="a picture for the wider window")
        tab.close()


def test_finger_moves_the_line_sideways_and_the_page_up(browser, camera):
    tab = browser.open(camera.page.url, width=360, height=740, scale=2, touch=True)
    tab.wait_for(LIVE)
    tab.swipe(along(tab, 0.5), along(tab, 0.2))
    tab.wait_for("document.querySelector('#wipe').getAttribute('aria-valuenow') === '20'")
    x, y = along(tab, 0.7)
    tab.swipe((x, y), (x, y - 120))
    tab.wait_for("scrollY > 20")
    assert line_at(tab) == 20
    tab.close()


def test_everything_that_can_be_used_has_a_name(tab):
    tab.call("Accessibility.enable")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    wanted = {"slider", "button", "radio", "combobox", "img", "link", "image"}
    used = [n for n in nodes if not n["ignored"] and n["role"]["value"] in wanted]
    assert {n["role"]["value"] for n in used} >= {"slider", "button", "radio", "combobox", "image"}
    assert [n for n in used if not n.get("name", {}).get("value", "").strip()] == []
    assert tab.evaluate("document.querySelector('#state').getAttribute('role')") == "status"


CONTRASTS = """(() => {
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
    const ground = e => { for (; e; e = e.parentElement) {
        const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; }
        return [255, 255, 255]; };
    const texts = [...document.querySelectorAll('body *')].filter(e => e.offsetParent || e.closest('svg'))
        .filter(e => !e.closest('.stage') && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
    return texts.map(e => { const style = getComputedStyle(e), svg = e.closest('svg');
        const [a, b] = [light(rgb(svg ? style.fill : style.color)), light(ground(e))].sort((x, y) => y - x);
        return [(a + .05) / (b + .05), e.className.baseVal ?? e.className, e.textContent.slice(0, 30)]; }); })()"""


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_their_ground(browser, camera, dark):
    tab = browser.open(camera.page.url, dark=dark)
    tab.wait_for(LIVE)
    for state in ("live", "lost"):
        tab.wait_for(f"document.body.dataset.state === '{state}' && document.querySelector('#version').textContent")
        found = tab.evaluate(CONTRASTS)
        assert len(found) > 30
        assert [text for text in found if text[0] < 4.5] == []  # AA of the WCAG for small text
        camera.lose()
    tab.close()


def test_nothing_jumps_while_it_fills(browser, camera):
    tab = browser.open("about:blank")
    tab.go(camera.page.url)
    tab.wait_for(LIVE)
    tab.wait_for("document.querySelector('#camera').textContent.includes('640')")
    shifts = """new Promise(done => { new PerformanceObserver(list => done(list.getEntries()
        .reduce((sum, entry) => sum + entry.value, 0))).observe({type: 'layout-shift', buffered: true});
        setTimeout(() => done(0), 1000); })"""
    assert tab.evaluate(shifts) < 0.1  # what the web calls good
    tab.close()


# --- several cameras ---
def test_overview_leads_to_every_camera(browser):
    with running(name="garden", token=TOKEN) as garden, running(name="yard", token=TOKEN) as yard:
        keepers = {
            name: SimpleNamespace(
                name=name, token=TOKEN, port=camera.page.port, restarts=0, running=True, status=camera.status.as_dict
            )
            for name, camera in (("garden", garden), ("yard", yard))
        }
        overview = Overview(PageOptions(host="127.0.0.1", port=0), keepers)
        try:
            tab = browser.open(overview.url)
            tab.wait_for("document.querySelectorAll('.card[data-state=live]').length === 2")
            assert tab.text("#sum") == "all 2 live"
            middle = tab.centre(".card canvas")
            wait_until(lambda: abs(level(tab.screenshot(), *middle) - SEEN_AFTER) < 5, what="a small picture")
            yard.lose()
            tab.wait_for("document.querySelector('.card[data-state=lost]')?.innerText.includes('Camera lost')")
            tab.click(".card")
            tab.wait_for("location.pathname === '/cameras/garden/' && " + LIVE)
            tab.drag(along(tab, 0.5), along(tab, 0.25))
            assert line_at(tab) == 25
            tab.click("input[value=rain]")
            wait_until(lambda: "rain" in {view for view, _ in garden.asked}, what="the rain's picture")
            tab.click("#all")
            tab.wait_for("location.pathname === '/' && document.querySelectorAll('.card').length === 2")
            assert tab.complaints == []
            tab.close()
        finally:
            overview.close()
