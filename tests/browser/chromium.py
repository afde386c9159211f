# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A headless Chromium, driven through its DevTools protocol over a pair of pipes: no other driver, and no open port."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# Seconds.
LONGEST_ANSWER = 120.0


def executable() -> str | None:
    """The path of a Chromium on this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of one Chromium. Errors that the page writes to its console are kept."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self._width = 0
        self._loaded: set[str] = set()
        self.console: list[str] = []
        self.addresses: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + LONGEST_ANSWER
        while b"\0" not in self._rest:
            ready, dummy, dummy = select.select([self._answers], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "Chromium does not answer"
            chunk = os.read(self._answers, 1 << 20)
            assert chunk, "Chromium has ended"
            self._rest += chunk
        line, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled":
            self.console.append(f"console.{parameters['type']}: {parameters['args']}")
        elif method == "Runtime.exceptionThrown":
            self.console.append(f"exception: {parameters['exceptionDetails']}")
        elif method == "Log.entryAdded":
            self.console.append(f"{parameters['entry']['level']}: {parameters['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.addresses.append(parameters["request"]["url"])
        elif method == "Page.lifecycleEvent" and parameters["name"] == "load":
            self._loaded.add(parameters["loaderId"])

    def open(self, address: str) -> None:
        """Go there, and wait until all of it is loaded."""
        loader = self.ask("Page.navigate", url=address)["loaderId"]
        while loader not in self._loaded:
            self._next()

    def look_like(self, *, width: int, height: int = 844, scheme: str = "light", media: str = "") -> None:
        """The size of the window; light or dark; screen or print, by default what is asked for."""
        self._width = width
        self._resize(height)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    def _resize(self, height: int) -> None:
        size = {"width": self._width, "height": height, "deviceScaleFactor": 1, "mobile": self._width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def run_scripts(self, *, allowed: bool) -> None:
        self.ask("Emulation.setScriptExecutionDisabled", value=not allowed)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression says."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, expression: str) -> None:
        """Press the left button of the mouse in the middle of the element."""
        x, y = self.value(
            f"(() => {{ const element = {expression}; element.scrollIntoView({{block: 'center'}});"
            " const box = element.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, text: str) -> None:
        """Type a text where the cursor is."""
        self.ask("Input.insertText", text=text)

    def screenshot(self, path: Path, *, whole: bool = False) -> bytes:
        """Keep what is seen, or the whole page, as PNG."""
        if whole:
            self._resize(self.value("document.documentElement.scrollHeight"))
            # What comes into view is laid out, and may be higher or lower than was expected.
            self._resize(self.value("document.documentElement.scrollHeight"))
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        png = base64.b64decode(self.ask("Page.captureScreenshot")["data"])
        path.write_bytes(png)
        return png

    def print(self, path: Path) -> bytes:
        """Keep the page as PDF for A4 paper."""
        answer = self.ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        pdf = base64.b64decode(answer["data"])
        path.write_bytes(pdf)
        return pdf


@contextlib.contextmanager
def started(command: str) -> Iterator[Browser]:
    """A Chromium with a profile of its own, ended when it is left."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        request_end, requests = os.pipe()
        answers, answer_end = os.pipe()
        # Chromium reads from the descriptor 3 and writes to 4.
        shell = f'exec "$0" "$@" 3<&{request_end} 4>&{answer_end}'
        process = subprocess.Popen(
            ["bash", "-c", shell, command, *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(request_end, answer_end),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(request_end)
        os.close(answer_end)
        try:
            browser = Browser(requests, answers)
            yield browser
            browser._session = None
            browser.ask("Browser.close")
            process.wait(timeout=20)
        finally:
            os.close(requests)
            os.close(answers)
            if process.poll() is None:
                process.kill()
                process.wait()
