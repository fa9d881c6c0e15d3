"""A headless browser, driven by the W3C's WebDriver protocol over HTTP."""

import base64
import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DRIVER = "chromedriver"


class Browser:
    """A window of a phone's or a desktop's size."""

    def __init__(self, base: str, session: str) -> None:
        self._base = f"{base}/session/{session}"

    def open(self, url: str) -> None:
        """Go to a page."""
        send(f"{self._base}/url", {"url": url})

    def run(self, script: str) -> Any:
        """What a script's body returns."""
        return send(f"{self._base}/execute/sync", {"script": script, "args": []})

    def console(self) -> list[str]:
        """What was written there since the last time, errors of the page included."""
        entries = send(f"{self._base}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def picture(self, file: Path) -> None:
        """Write a PNG of the window."""
        file.write_bytes(base64.b64decode(send(f"{self._base}/screenshot")))


def send(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())["value"]


@contextmanager
def browse(width: int, *, dark: bool, phone: bool = False) -> Iterator[Browser]:
    """Open a window; close it at the end."""
    path = shutil.which(DRIVER)
    assert path
    driver = subprocess.Popen([path, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        found = None
        while found is None:
            found = re.search(r"on port (\d+)\.", driver.stdout.readline())
        base = f"http://127.0.0.1:{found[1]}"
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},1000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        ]  # fmt: skip
        options: dict[str, Any] = {"args": arguments}
        if phone:
            metrics = {"width": width, "height": 844, "pixelRatio": 2.0, "touch": True}
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = send(f"{base}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        try:
            yield Browser(base, session)
        finally:
            end = urllib.request.Request(f"{base}/session/{session}", method="DELETE")
            urllib.request.urlopen(end, timeout=60).close()
    finally:
        driver.terminate()
        driver.communicate()
