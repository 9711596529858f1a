"""Chromium without a window, driven over HTTP as W3C WebDriver has it: nothing to install but the browser."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's own name for a reference to an element
PATIENCE = 30  # seconds until what a page should do counts as not done

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)"
)


class Page:
    """One tab."""

    def __init__(self, session):
        self._session = session

    def open(self, url, width=1200, height=800, dark=False):
        """Sizes in CSS pixels; the colour scheme as the reader set it."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.cdp("Emulation.setEmulatedMedia", features=scheme)
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.cdp("Emulation.setDeviceMetricsOverride", **screen)
        self._ask("/url", {"url": str(url)})

    def run(self, script, *arguments):
        """What a function body returns."""
        return self._ask("/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script):
        """Until a function body returns something true, which is returned."""
        begin = time.monotonic()
        while not (found := self.run(script)):
            assert time.monotonic() - begin < PATIENCE, f"never true: {script}"
            time.sleep(0.05)
        return found

    def text(self, selector):
        """What is read there."""
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def click(self, selector):
        self._ask(f"/element/{self._find(selector)}/click")

    def type(self, selector, text):
        """Keys as a user hits them; of WebDriver's own, \\ue007 is Enter, \\ue008 Shift, \\ue00c Escape."""
        self._ask(f"/element/{self._find(selector)}/value", {"text": text})

    def too_wide(self):
        """Pixels that the page can be scrolled to the right."""
        return self.run("return document.documentElement.scrollWidth - innerWidth")

    def faults(self):
        """What the browser's console complains of, since it was asked last."""
        return [one["message"] for one in self._ask("/se/log", {"type": "browser"})]

    def picture(self, file, clip=None):
        """A PNG of the whole page, or of (x, y, width, height)."""
        sizes = {} if clip is None else {"clip": dict(zip(("x", "y", "width", "height"), clip, strict=True), scale=1)}
        shot = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, **sizes)
        file.write_bytes(base64.b64decode(shot["data"]))

    def printed(self):
        """The page as PDF, on paper."""
        return base64.b64decode(self._ask("/print", {}))

    def cdp(self, command, **params):
        """A command of Chromium's own."""
        return self._ask("/goog/cdp/execute", {"cmd": command, "params": params})

    def _find(self, selector):
        return self._ask("/element", {"using": "css selector", "value": selector})[ELEMENT]

    def _ask(self, path, body=None):
        return ask(f"{self._session}{path}", body or {})


def ask(url, body=None):
    """POST a body; without one, DELETE."""
    payload = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, payload, method="DELETE" if body is None else "POST")
    with urllib.request.urlopen(asked, timeout=120) as answer:
        return json.load(answer)["value"]


@contextmanager
def page(folder):
    """A tab of a browser that keeps what it keeps in `folder`."""
    command = [DRIVER, "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        try:
            port = next(found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={folder}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            address = f"http://127.0.0.1:{port}/session"
            session = ask(address, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Page(f"{address}/{session}")
            finally:
                ask(f"{address}/{session}")
        finally:
            driver.terminate()
