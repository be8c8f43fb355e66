"""A page in headless Chromium, by its debugging protocol over two pipes: what it shows, and asks for."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
    "--window-size=1280,900",
)  # fmt: skip
_TIMEOUT_S = 60
_LAUNCH = """
import os, sys
for descriptor, wanted in zip(sys.argv[1:3], (3, 4)):
    os.dup2(int(descriptor), wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str | None:
    """Path of the browser: that of MICROZONE_BROWSER, or the first of the names on PATH."""
    named = os.environ.get("MICROZONE_BROWSER")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


@dataclass
class Page:
    """What became of a page."""

    text: str = ""
    requests: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


class _Pipe:
    """Messages to and from the browser, each a JSON object that ends with a NUL."""

    def __init__(self, read: int, write: int) -> None:
        self.read, self.write = read, write
        self.events: list[dict[str, Any]] = []
        self._left, self._number = b"", 0
        self._deadline = time.monotonic() + _TIMEOUT_S

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])

    def wait(self, method: str) -> None:
        while not any(event["method"] == method for event in self.events):
            self._next()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            left = self._deadline - time.monotonic()
            ready = select.select([self.read], [], [], max(left, 0))[0]
            assert ready, f"the browser says nothing for {_TIMEOUT_S} s"
            more = os.read(self.read, 1 << 16)
            assert more, "the browser has gone"
            self._left += more
        line, self._left = self._left.split(b"\0", 1)
        answer = dict(json.loads(line))
        if "method" in answer:
            self.events.append(answer)
        return answer


def load(browser: str, path: Path, *, dark: bool = False, shot: Path | None = None, **scripts: str) -> Page:
    """Open a file, and evaluate `scripts` in it once it is loaded."""
    to_child, ours = os.pipe()
    theirs, from_child = os.pipe()
    # Out of the way of 3 and 4, on which the browser reads and answers.
    given = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (to_child, from_child)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *map(str, given), *command],
            pass_fds=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in given:
            os.close(descriptor)
        os.close(to_child)
        os.close(from_child)
        try:
            return _visit(_Pipe(theirs, ours), path, dark, shot, scripts)
        finally:
            process.terminate()
            process.wait(timeout=_TIMEOUT_S)
            os.close(ours)
            os.close(theirs)


def _visit(pipe: _Pipe, path: Path, dark: bool, shot: Path | None, scripts: dict[str, str]) -> Page:
    target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
    session = pipe.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Runtime", "Log"):
        pipe.call(f"{domain}.enable", session)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    pipe.call("Emulation.setEmulatedMedia", session, features=[scheme])
    pipe.events.clear()
    pipe.call("Page.navigate", session, url=path.resolve().as_uri())
    pipe.wait("Page.loadEventFired")

    def evaluate(expression: str) -> Any:
        answer = pipe.call("Runtime.evaluate", session, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    page = Page(text=str(evaluate("document.body.innerText")))
    page.values = {name: evaluate(script) for name, script in scripts.items()}
    if shot is not None:
        height = evaluate("document.documentElement.scrollHeight")
        pipe.call(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=1280,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        shot.write_bytes(base64.b64decode(pipe.call("Page.captureScreenshot", session, format="png")["data"]))
    for event in pipe.events:
        name, params = event["method"], event["params"]
        if name == "Network.requestWillBeSent":
            page.requests.append(params["request"]["url"])
        elif name == "Network.loadingFailed":
            page.failures.append(params["errorText"] or params.get("blockedReason", "blocked"))
        elif name == "Log.entryAdded":
            page.messages.append(params["entry"]["text"])
        elif name == "Runtime.exceptionThrown":
            page.messages.append(str(params["exceptionDetails"]))
        elif name == "Runtime.consoleAPICalled":
            page.messages.append(str(params["args"]))
    return page
