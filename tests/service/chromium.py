"""A headless Chromium, spoken to by its DevTools protocol."""

import asyncio
import base64
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_KEYS = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}


class Tab:
    """One page of the browser.

    Attributes:
        complaints: what the page's console told: errors, exceptions, breaches of its policy.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse):
        self._socket, self._numbers = socket, itertools.count(1)
        self.complaints: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = json.loads((await self._socket.receive(timeout=30)).data)
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(message["params"])[:500])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    async def open(self, url: str, width: int, height: int) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def value(self, script: str) -> Any:
        """Of a JavaScript expression; a promise is waited for."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str, seconds: float = 30) -> None:
        """Wait for a JavaScript expression to be true."""
        async with asyncio.timeout(seconds):
            while not await self.value(f"Boolean({script})"):
                await asyncio.sleep(0.05)

    async def drop(self, file: Path, selector: str) -> None:
        """Drag a file over an element and let it go."""
        box = await self.value(f"JSON.stringify(document.querySelector({selector!r}).getBoundingClientRect())")
        place = {key: json.loads(box)[key] + 20 for key in ("x", "y")}
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, data=data, **place)

    async def press(self, key: str) -> None:
        """Press and release a key without a letter, by its name in JavaScript."""
        event: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        event |= {"text": "\r"} if key == "Enter" else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **event)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    async def unnamed(self) -> list[str]:
        """Roles of controls and images that a screen reader would read without a name."""
        tree = await self.call("Accessibility.getFullAXTree")
        wanted = {"button", "dialog", "image", "link", "radio", "slider"}
        shown = (node for node in tree["nodes"] if not node["ignored"])
        found = ((node["role"]["value"], node.get("name", {}).get("value", "")) for node in shown)
        return [role for role, name in found if role in wanted and not name.strip()]

    async def screenshot(self, path: Path) -> None:
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))


@asynccontextmanager
async def browser() -> AsyncIterator[Tab]:
    """A browser with an empty page while the block lasts."""
    assert PROGRAM
    home = tempfile.mkdtemp(prefix="chromium")
    options = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={home}", "--no-first-run"]
    options += ["--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    options += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]  # a camera
    options += ["--no-sandbox"] if os.getuid() == 0 else []
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(PROGRAM, *options, "about:blank", stdout=quiet, stderr=quiet)
    try:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(30):
                address = await _page_address(session, Path(home) / "DevToolsActivePort")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                tab = Tab(socket)
                yield tab
                await tab.call("Browser.close")
        await asyncio.wait_for(process.wait(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        shutil.rmtree(home, ignore_errors=True)


async def _page_address(session: aiohttp.ClientSession, port_file: Path) -> str:
    while True:
        await asyncio.sleep(0.1)
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        if len(lines) < 2:
            continue
        async with session.get(f"http://127.0.0.1:{lines[0]}/json/list") as answer:
            pages = [page for page in await answer.json() if page["type"] == "page"]
        if pages:
            return pages[0]["webSocketDebuggerUrl"]
