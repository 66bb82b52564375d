"""A real browser, driven through its debugging pipe.

The DevTools protocol over two pipes is JSON with a NUL after each message: no driver, no web socket
and no package is needed for it. What it is: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 60.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # it refuses to run as root with one, and the only pages are our own
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
)


def chromium() -> str:
    """Where the browser is. Without one the test is skipped, except in CI, which must have it."""
    for name in (os.environ.get("CHROMIUM"), *NAMES):
        found = name and shutil.which(name)
        if found:
            return found
    why = "no chromium in PATH (on Debian: apt-get install --no-install-recommends chromium)"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


class Browser:
    """`with Browser(folder) as browser:`; `browser.page()` is a new window of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids = itertools.count(1)
        self._buffer = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Browser:
        command = [chromium(), *FLAGS, f"--user-data-dir={self._folder / 'profile'}", "about:blank"]
        there, self._write = _pipe()
        self._read, back = _pipe()
        log = str(self._folder / "chromium.log")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._pid = os.posix_spawn(
            command[0],
            command,
            {**os.environ, "HOME": str(self._folder)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, there, 3),
                (os.POSIX_SPAWN_DUP2, back, 4),
            ],
            setpgroup=0,
        )
        os.close(there)
        os.close(back)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self.call("Browser.close")
        end = time.monotonic() + PATIENCE_S
        while os.waitpid(self._pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.killpg(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                break
            time.sleep(0.02)
        os.close(self._read)
        os.close(self._write)

    def page(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """A page with cookies of its own, so that no test sees another's."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        given = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[given["sessionId"]] = Page(self, given["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.look(width, height, dark=dark)
        return page

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command and its answer; what else comes meanwhile goes to its page."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self._write, data) :]
        end = time.monotonic() + PATIENCE_S
        while number not in self._answers:
            self.listen(end - time.monotonic())
            assert time.monotonic() < end, f"no answer to {method}"
        answer = self._answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def listen(self, timeout_s: float) -> None:
        """Take what has come, waiting at most so long for it."""
        if not select.select([self._read], [], [], max(0.0, timeout_s))[0]:
            return
        data = os.read(self._read, 1 << 20)
        assert data, "the browser has gone: " + (self._folder / "chromium.log").read_text()[-2000:]
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            elif page := self._pages.get(message.get("sessionId", "")):
                page.told(message["method"], message["params"])


class Page:
    """One window. `errors` is what its console complained of, `requests` what it asked for."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.errors: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def told(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} ({params['entry'].get('url')})")

    def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """The window's size and the colours that its user likes."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url: str) -> None:
        gone = self.call("Page.navigate", url=url)
        assert "errorText" not in gone, gone
        self.wait("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        given = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in given, (expression, given["exceptionDetails"])
        return given["result"].get("value")

    def wait(self, expression: str, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the expression is true."""
        end = time.monotonic() + timeout_s
        while not self.ask(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never came true: {expression}\n{self.text()[:3000]}"
            self._browser.listen(0.03)

    def text(self, selector: str = "body") -> str:
        """What a reader sees there."""
        return str(self.ask(f"document.querySelector({json.dumps(selector)}).innerText"))

    def press(self, key: str, code: str = "", text: str = "") -> None:
        """One key, as from a keyboard."""
        named = {"key": key, "code": code or key, "windowsVirtualKeyCode": _KEYS.get(key, 0)}
        text = text or ("\r" if key == "Enter" else " " if key == " " else "")
        down = {"type": "keyDown" if text else "rawKeyDown", **({"text": text} if text else {})}
        self.call("Input.dispatchKeyEvent", **down, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text: str) -> None:
        """Text into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A screenshot: for people, no test compares pictures."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are no number below 10: those are given out in the child by hand."""
    ends = []
    for end in os.pipe():
        ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
        os.close(end)
    return ends[0], ends[1]
