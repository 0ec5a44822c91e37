"""Headless Chromium with real clicks and keys, by its DevTools protocol; with a microphone that beeps."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tagscale.report.paper import BROWSERS

CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)
PATIENCE_SECONDS = 60.0
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
FLAGS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--mute-audio"]
KEYS = {"Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), "Escape": ("Escape", 27, ""), " ": ("Space", 32, " ")}
KEYS |= {"ArrowRight": ("ArrowRight", 39, ""), "ArrowDown": ("ArrowDown", 40, ""), "End": ("End", 35, "")}


class Page:
    """The only tab of a browser.

    Attributes:
        errors: what its console reports as an error, and exceptions of its scripts
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self.number, self.errors = connection, 0, list[str]()
        for domain in ("Page", "Runtime", "Log", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self.number += 1
        self.connection.send(json.dumps({"id": self.number, "method": method, "params": arguments}))
        while True:
            answer = json.loads(self.connection.recv(timeout=PATIENCE_SECONDS))
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return dict(answer["result"])
            if answer["method"] == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.errors.append("{text} {url}".format(**{"url": ""} | answer["params"]["entry"]))
            if answer["method"] == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"]))

    def value(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """The value of a script once it is true."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while not (value := self.value(script)):
            shown = self.value("document.body?.innerText ?? ''")  # none while it loads
            assert time.monotonic() < ends, f"{script} is never true; {self.errors}; the page shows {shown[:2000]}"
            time.sleep(0.05)
        return value

    def go(self, address: str) -> None:
        """Load an address anew, also where it differs behind # alone."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Press the mouse on what stands at a share of an element's width and height."""
        script = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{script} && {script}.getClientRects().length")
        self.value(f"{script}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.value(f"(({{x, y, width, height}}) => ({{x, y, width, height}}))({script}.getBoundingClientRect())")
        place = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def press(self, key: str) -> None:
        code, number, text = KEYS[key]
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self.call("Input.insertText", text=text)

    def choose_file(self, selector: str, file: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def resize(self, width: int, height: int) -> None:
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **sizes)
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def picture(self, file: Path, height: int | None = None) -> None:
        """The page down to a height as a PNG; the whole page by default."""
        self.resize(*self.value(f"[innerWidth, {height or 'document.documentElement.scrollHeight'}]"))
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def nameless(self) -> list[dict[str, Any]]:
        """What can have the focus and has no name for a screen reader."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        focusable = [
            node
            for node in nodes
            if not node["ignored"] and any(one["name"] == "focusable" for one in node.get("properties", ()))
        ]
        return [node["role"] for node in focusable if not node.get("name", {}).get("value")]


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with an empty profile."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--remote-allow-origins=*", "about:blank"]
    process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
    try:
        ends, port = time.monotonic() + PATIENCE_SECONDS, ""
        while not port:
            assert time.monotonic() < ends, "the browser does not start"
            time.sleep(0.05)
            file = profile / "DevToolsActivePort"
            port = file.read_text().partition("\n")[0] if file.exists() else ""
        tabs = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        with connect(address, max_size=None) as connection:
            yield Page(connection)
    finally:
        process.kill()
        process.wait()
