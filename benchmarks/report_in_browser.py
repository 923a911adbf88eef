"""Open a report in headless Chromium and check what a reader would meet.

    python -m benchmarks.report_in_browser RUN/report.html --shots FOLDER

Checked at 1280 and 390 pixels: no console errors, no request but the file itself, every image
decoded, no sideways scrolling of the page. With --shots, pictures of the page and a PDF as printed
are written. Needs chromium and chromedriver, which it drives by the WebDriver protocol.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIDTHS = (1280, 390)
SLICE = 3000
"""Height of one picture of the page, pixels."""

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
_MEASURE = """
const images = [...document.images];
const root = document.scrollingElement;
const wide = [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') &&
  !e.closest('.skip') && e.getBoundingClientRect().right > window.innerWidth + 1);
return {width: window.innerWidth, scroll: root.scrollWidth, height: root.scrollHeight,
  images: images.length, broken: images.filter(i => !(i.complete && i.naturalWidth > 0)).length,
  wide: wide.slice(0, 5).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40)),
  small: images.filter(i => i.getBoundingClientRect().width > window.innerWidth).length};
"""


def available() -> bool:
    """Return whether the browser and its driver are installed."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


class Browser:
    """One session of a browser, by the WebDriver protocol."""

    def __init__(self, port: int, profile: str) -> None:
        self.address = f"http://127.0.0.1:{port}"
        options = {
            "args": [*_OPTIONS, f"--user-data-dir={profile}"],
            "binary": shutil.which("chromium"),
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self.session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})[
            "sessionId"
        ]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())["value"]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("POST", f"/session/{self.session}/{path}", body)

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self.post("goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self, kind: str) -> list[dict[str, Any]]:
        return list(self.post("se/log", {"type": kind}))

    def close(self) -> None:
        self._call("DELETE", f"/session/{self.session}")


@contextmanager
def browser() -> Iterator[Browser]:
    """Start driver and browser with an empty profile; end both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(
            [str(shutil.which("chromedriver")), f"--port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(100):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5):
                        break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.1)
            opened = Browser(port, profile)
            try:
                yield opened
            finally:
                opened.close()
        finally:
            driver.terminate()
            driver.wait(10)


def examine(report: Path, shots: Path | None = None) -> dict[str, Any]:
    """Return what was found: `errors`, `requests` (beyond the file), and one entry per width."""
    url = report.resolve().as_uri()
    found: dict[str, Any] = {"errors": [], "requests": []}
    with browser() as page:
        # The browser's own first page makes requests, too; they are not the report's.
        page.post("url", {"url": "about:blank"})
        for kind in ("browser", "performance"):
            page.log(kind)
        for width in WIDTHS:
            page.devtools(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=900,
                deviceScaleFactor=1,
                mobile=width < 600,
            )
            page.post("url", {"url": url})
            seen = page.post("execute/sync", {"script": _MEASURE, "args": []})
            found[str(width)] = seen
            found["errors"] += [e["message"] for e in page.log("browser") if e["level"] == "SEVERE"]
            for entry in page.log("performance"):
                message = json.loads(entry["message"])["message"]
                if message["method"] == "Network.requestWillBeSent":
                    asked = message["params"]["request"]["url"]
                    of_report = message["params"]["documentURL"].startswith("file:")
                    if of_report and asked != url and not asked.startswith("data:"):
                        found["requests"].append(asked)
            if shots is not None:
                _shoot(page, shots, width, int(seen["height"]))
        if shots is not None:
            printed = page.post(
                "print",
                {"background": True, "shrinkToFit": False, "page": {"width": 21.0, "height": 29.7}},
            )
            (shots / "printed.pdf").write_bytes(base64.b64decode(printed))
    return found


def faults(found: dict[str, Any]) -> list[str]:
    """Return what is wrong, in words; empty if nothing is."""
    wrong = [f"console error: {e}" for e in found["errors"]]
    wrong += [f"request: {r}" for r in found["requests"]]
    for width in map(str, WIDTHS):
        seen = found[width]
        if seen["width"] != int(width):
            wrong.append(f"{width} px: laid out at {seen['width']} px")
        if seen["broken"]:
            wrong.append(f"{width} px: {seen['broken']} of {seen['images']} images do not load")
        if seen["small"]:
            wrong.append(f"{width} px: {seen['small']} images are wider than the page")
        if seen["scroll"] > seen["width"] or seen["wide"]:
            wrong.append(f"{width} px: the page is {seen['scroll']} px wide: {seen['wide']}")
    return wrong


def _shoot(page: Browser, folder: Path, width: int, height: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, top in enumerate(range(0, height, SLICE)):
        clip = {"x": 0, "y": top, "width": width, "height": min(SLICE, height - top), "scale": 1}
        shot = page.devtools(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
        )
        (folder / f"{width}_{i:02}.png").write_bytes(base64.b64decode(shot["data"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--shots", type=Path, help="folder for pictures and the PDF")
    given = parser.parse_args()
    found = examine(given.report, given.shots)
    for width in map(str, WIDTHS):
        print(f"{width} px:", {k: v for k, v in found[width].items() if k != "wide"})
    print(f"console errors: {len(found['errors'])}, requests: {len(found['requests'])}")
    for fault in faults(found):
        print("FAULT", fault)
    return 1 if faults(found) else 0


if __name__ == "__main__":
    sys.exit(main())
