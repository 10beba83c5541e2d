"""A small driver of headless Chromium through its DevTools protocol: mouse, keys, touch, and what is on the screen.

    with Browser() as browser:
        tab = browser.open("http://127.0.0.1:8090/", width=1280, height=800)
        tab.wait_for("document.title.includes('live')")
        tab.drag((300, 200), (500, 200))
        tab.screenshot(Path("page.png"))
"""
from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import cv2
import numpy as np
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--disable-extensions", "--disable-breakpad", "--no-default-browser-check", "--metrics-recording-only",
    "--hide-scrollbars", "--mute-audio", "--password-store=basic", "--remote-debugging-port=0",
)  # fmt: skip
_START_SECONDS, _CALL_SECONDS = 60.0, 60.0
_LARGEST_MESSAGE = 1 << 28  # a screenshot
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36,
         "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}  # fmt: skip

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Browser:
    """A Chromium of its own, with a fresh profile; ends with the `with` block."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self.profile = Path(self._folder.name)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="devtools", daemon=True)
        self._process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._thread.start()
        self._answers, self._tabs, self._number = {}, {}, 0
        try:
            self._run(self._connect(self._address()))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        with suppress(Exception):
            self._run(self._session.close(), 5)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._folder.cleanup()

    def open(self, url, *, width=1280, height=800, scale=1, dark=False, touch=False):
        """A new tab that shows a page; returns when it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        tab.resize(width, height, scale=scale, touch=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        tab.go(url)
        return tab

    def call(self, method, session=None, **parameters):
        """One command of the protocol; gives its result, raises what it complains of."""
        return self._run(self._call(method, session, parameters))

    def _run(self, work, seconds=_CALL_SECONDS):
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self._loop).result(seconds + 5)

    def _address(self):
        found, end = self.profile / "DevToolsActivePort", time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            lines = found.read_text().split("\n") if found.exists() else []
            if len(lines) > 1 and lines[1]:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            time.sleep(0.05)
        raise RuntimeError(f"chromium did not start (exit code {self._process.poll()})")

    async def _connect(self, address):
        self._session = aiohttp.ClientSession(trust_env=False)
        self._socket = await self._session.ws_connect(address, max_msg_size=_LARGEST_MESSAGE, compress=0)
        self._listening = asyncio.ensure_future(self._listen())

    async def _call(self, method, session, parameters):
        self._number += 1
        number, answer = self._number, self._loop.create_future()
        self._answers[number] = answer
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_str(json.dumps(message if session is None else {**message, "sessionId": session}))
        return await answer

    async def _listen(self):
        async for message in self._socket:
            said = json.loads(message.data)
            answer = self._answers.pop(said.get("id"), None)
            if answer is None:
                tab = self._tabs.get(said.get("sessionId"))
                if tab is not None:
                    tab.heard(said.get("method", ""), said.get("params", {}))
            elif not answer.done() and "error" in said:
                answer.set_exception(RuntimeError(said["error"]["message"]))
            elif not answer.done():
                answer.set_result(said.get("result", {}))
        for answer in self._answers.values():
            answer.cancel()


class Tab:
    """One page in the browser.

    Attributes:
        complaints: errors of the console, uncaught exceptions, refused loads and breaches of the page's policy.
    """

    def __init__(self, browser, session, target):
        self._browser, self._session, self._target = browser, session, target
        self._loaded = threading.Event()
        self.complaints = []

    def call(self, method, **parameters):
        """One command of the protocol to this tab."""
        return self._browser.call(method, self._session, **parameters)

    def heard(self, method, said):
        """An event of the protocol."""
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(part.get("value", "")) for part in said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")

    def go(self, url):
        """Load a page and wait for it."""
        self._loaded.clear()
        self.call("Page.navigate", url=url)
        assert self._loaded.wait(_CALL_SECONDS), f"{url} did not load"

    def resize(self, width, height, *, scale=1, touch=False):
        """Be a screen of this size in CSS pixels; a telephone's where it is touched."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=touch
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)

    def evaluate(self, expression):
        """The value of an expression, or of what it promises."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            details = done["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description") or details["text"])
        return done["result"].get("value")

    def wait_for(self, expression, seconds=30.0):
        """Wait until an expression is true, over the loading of another page too; gives its value."""
        end = time.monotonic() + seconds
        while not (value := self._evaluated(expression)):
            assert time.monotonic() < end, f"{expression} did not become true within {seconds} s: {value!r}"
            time.sleep(0.03)
        return value

    def _evaluated(self, expression):
        try:
            return self.evaluate(expression)
        except RuntimeError as error:
            if "context" not in str(error) and "navigated" not in str(error):
                raise
            return None  # one page has gone and the next is not there yet

    def text(self, selector):
        """What an element says."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")

    def box(self, selector):
        """Left, top, width and height of an element in CSS pixels."""
        script = f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
        return tuple(self.evaluate(script + " return [b.left, b.top, b.width, b.height]; })()"))

    def centre(self, selector):
        """The middle of an element."""
        left, top, width, height = self.box(selector)
        return left + width / 2, top + height / 2

    def click(self, selector, times=1):
        """Click in the middle of an element, once it stands still: pressed here and released there is no click."""
        place = self._still(selector)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, place, count=count)

    def _still(self, selector, seconds=10.0):
        end, before = time.monotonic() + seconds, None
        while (place := self.centre(selector)) != before:
            assert time.monotonic() < end, f"{selector} keeps moving"
            before = place
            time.sleep(0.1)
        return place

    def drag(self, start, end, steps=8):
        """Press the mouse at one place and let it go at another."""
        self.mouse("mouseMoved", start)
        self.mouse("mousePressed", start)
        for step in range(1, steps + 1):
            share = step / steps
            self.mouse("mouseMoved", tuple(a + (b - a) * share for a, b in zip(start, end, strict=True)), held=True)
        self.mouse("mouseReleased", end)

    def mouse(self, kind, place, *, held=False, count=1):
        """One event of the mouse."""
        button = {} if kind == "mouseMoved" and not held else {"button": "left", "clickCount": count}
        self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], buttons=int(held), **button)

    def swipe(self, start, end, steps=8):
        """Draw a finger from one place to another."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": start[0], "y": start[1]}])
        for step in range(1, steps + 1):
            x, y = (a + (b - a) * step / steps for a, b in zip(start, end, strict=True))
            self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key, *, shift=False):
        """Press and release one key."""
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", modifiers=8 * shift, **named, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", modifiers=8 * shift, **named)

    def screenshot(self, path=None, *, whole=False):
        """What is on the screen, (H, W, 3) uint8 BGR; as PNG in a file where one is named."""
        data = base64.b64decode(
            self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        )
        if path is not None:
            Path(path).write_bytes(data)
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def close(self):
        """End the page."""
        self._browser.call("Target.closeTarget", targetId=self._target)
