"""A real browser, told what to do through a pair of pipes: what a reader would see of a page."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --use-angle=swiftshader --enable-unsafe-swiftshader --remote-debugging-pipe"
)


class Browser:
    """Chromium without a window; remembers console messages, errors, refused and made requests.

    Parameters
    ----------
    folder : Path
        For its profile.
    timeout_s : float
        How long one answer may take.
    """

    def __init__(self, folder: Path, timeout_s: float = 120.0) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._timeout_s, self._count, self._session, self._left = timeout_s, 0, "", b""
        to_browser, from_us = os.pipe()
        from_browser, to_us = os.pipe()
        command = [str(CHROMIUM), *_FLAGS.split(), f"--user-data-dir={folder / 'profile'}", "about:blank"]
        # The browser reads what it is told from descriptor 3 and answers on 4.
        shell = ["bash", "-c", f'exec 3<&{to_browser} 4>&{to_us}; exec "$@"', "bash", *command]
        self._process = subprocess.Popen(
            shell, pass_fds=[to_browser, to_us], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(to_us)
        self._write, self._read = from_us, from_browser
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._write)
        os.close(self._read)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to a command of the browser's protocol."""
        self._count += 1
        question = {"id": self._count, "method": method, "params": parameters}
        question |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(question).encode() + b"\0")
        while True:
            heard = self._next()
            if heard.get("id") == self._count:
                assert "error" not in heard, heard
                return heard["result"]
            self._note(heard.get("method", ""), heard.get("params", {}))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            self._left += os.read(self._read, 1 << 20) or b'{"method": "gone"}\0'
            assert self._process.poll() is None, "the browser ended"
        heard, self._left = self._left.split(b"\0", 1)
        return json.loads(heard)

    def _note(self, method: str, heard: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled":
            self.messages.append(" ".join(str(one.get("value", one)) for one in heard["args"]))
        elif method == "Runtime.exceptionThrown":
            self.messages.append(str(heard["exceptionDetails"]))
        elif method == "Log.entryAdded" and heard["entry"]["level"] in ("warning", "error"):
            self.messages.append(heard["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(heard["request"]["url"])

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Give the page a size in pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.ask("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def open(self, path: Path) -> None:
        """Load a file and wait until its figures are drawn."""
        self.ask("Page.navigate", url=path.as_uri())
        self.wait("document.body && document.body.dataset.figures !== undefined")

    def wait(self, condition: str) -> None:
        """Wait until something holds."""
        end = time.monotonic() + self._timeout_s
        while not self.value(condition):
            assert time.monotonic() < end, f"in vain: {condition}"
            time.sleep(0.1)

    def value(self, expression: str) -> Any:
        """Return the value of an expression on the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        shot = self.ask(
            "Page.captureScreenshot", captureBeyondViewport=whole, **({"clip": self._all()} if whole else {})
        )
        path.write_bytes(base64.b64decode(shot["data"]))

    def _all(self) -> dict[str, float]:
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def print(self, path: Path) -> None:
        """Write the page as it comes out of a printer, A4."""
        pages = self.ask("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(pages["data"]))
