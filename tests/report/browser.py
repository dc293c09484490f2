"""A real browser without a window, spoken to through its DevTools protocol over a pipe."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",  # containers of continuous integration run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1280,900",
)
PATIENCE_S = 60.0


def program() -> str | None:
    """Path of a Chromium on this machine."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a running browser.

    Attributes:
        complaints: what the page wrote to the console as error or warning, what it threw, and what
            the browser logged about it (refused scripts and loads among them).
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.complaints: list[str] = []
        self._process, self._number, self._rest = process, 0, b""
        self._session: str | None = None
        self._loaded = False
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Load a file and wait until all its scripts ran."""
        self._loaded = False
        self._call("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._take(self._read())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; promises are waited for."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one place of the window and release it at another."""
        for kind, (x, y) in (("Pressed", start), ("Moved", end), ("Released", end)):
            self._call(
                "Input.dispatchMouseEvent",
                type=f"mouse{kind}",
                x=x,
                y=y,
                button="left",
                buttons=0 if kind == "Released" else 1,
                clickCount=1,
            )

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        self._process.stdin.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._take(answer)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        pipe, latest = self._process.stdout.fileno(), time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([pipe], [], [], max(0.0, latest - time.monotonic()))
            piece = os.read(pipe, 1 << 16) if ready else b""
            assert piece, "the browser ended" if ready else "the browser does not answer"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _take(self, event: dict[str, Any]) -> None:
        kind, params = event.get("method"), event.get("params", {})
        if kind == "Page.loadEventFired":
            self._loaded = True
        elif kind == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif kind == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(params["args"]))
        elif kind == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])


@contextlib.contextmanager
def started(executable: str, profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, which ends with the block."""
    # Chromium listens on descriptor 3 and answers on 4; a shell puts our pipes there.
    wired = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'
    command = ["sh", "-c", wired, "sh", executable, *FLAGS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Browser(process)
    finally:
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            process.wait(timeout=5)  # it ends by itself when its pipe closes
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
