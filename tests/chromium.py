"""A Chromium without a window: `from chromium import Chromium`.  It is driven by the Chrome DevTools Protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from patience import eventually


class Page:
    """One tab.  `problems` has what its console printed as errors, and exceptions that no script caught."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium = chromium
        self._session = session

    async def call(self, method: str, **parameters: Any) -> Any:
        return await self._chromium.call(method, self._session, **parameters)

    async def open(self, address: str) -> None:
        await self.call("Page.navigate", url=address)

    async def run(self, script: str) -> Any:
        """Return the JSON value of a JavaScript expression, which may be a promise."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def text(self, selector: str) -> str:
        """Return the text of all elements that match; "" while the page is loading."""
        with contextlib.suppress(AssertionError):
            return str(
                await self.run(
                    f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.innerText).join('\\n')"
                )
            )
        return ""

    async def shows(self, selector: str, text: str = "") -> str:
        """Wait until elements that match have this text, and return all of their text."""

        async def look() -> str:
            found = await self.text(selector)
            return found if text in found else ""

        found: str = await eventually(look, every=0.2)
        return found

    async def click(self, selector: str) -> None:
        await eventually(lambda: self.run(f"document.querySelector({json.dumps(selector)}) !== null"), every=0.2)
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def press(self, selector: str) -> None:
        """Click with the mouse where the element is, as a user does.  A script's click cannot open a new tab."""
        centre = f"""(one => {{
            if (one === null) return null;
            const at = one.getBoundingClientRect(), x = at.x + at.width / 2, y = at.y + at.height / 2;
            return one.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
        }})(document.querySelector({json.dumps(selector)}))"""
        last: Any = None

        async def place() -> Any:
            """Return the centre of the element when nothing covers it and it has stopped moving."""
            nonlocal last
            before, last = last, await self.run(centre)
            return last if last == before else None

        x, y = await eventually(place, every=0.5)
        for event in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", clickCount=1)

    async def fill(self, selector: str, text: str) -> None:
        await eventually(lambda: self.run(f"document.querySelector({json.dumps(selector)}) !== null"), every=0.2)
        await self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")


class Chromium:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.errors: list[str] = []

    async def read(self) -> None:
        async for message in self._socket:
            found = json.loads(message.data)
            if "id" in found:
                self._answers.pop(found["id"]).set_result(found)
            elif found["method"] == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(found["params"]["exceptionDetails"]))

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        to = {} if session is None else {"sessionId": session}
        await self._socket.send_json({"id": number, "method": method, "params": parameters, **to})
        answer = await asyncio.wait_for(self._answers[number], 60)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def page(self) -> Page:
        target = await self.call("Target.createTarget", url="about:blank")
        return await self._attached(target["targetId"])

    async def opened(self, address: str) -> Page:
        """Wait for a tab that the browser has opened by itself, with this address, and return it."""

        async def look() -> str:
            nonlocal addresses
            tabs = [one for one in (await self.call("Target.getTargets"))["targetInfos"] if one["type"] == "page"]
            addresses = [one["url"] for one in tabs]
            return next((str(one["targetId"]) for one in tabs if one["url"] == address), "")

        addresses: list[str] = []
        return await self._attached(await eventually(look, every=0.2, otherwise=lambda: f"tabs: {addresses}"))

    async def _attached(self, target: str) -> Page:
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = Page(self, session)
        await page.call("Runtime.enable")
        await page.call("Page.enable")
        return page

    @staticmethod
    @contextlib.asynccontextmanager
    async def running(folder: Path) -> AsyncIterator[Chromium]:
        """Run a Chromium with its profile in `folder`.  Without one the test is skipped; with CI=true it fails."""
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            if os.environ.get("CI") == "true":
                pytest.fail("chromium is not installed")
            pytest.skip("chromium is not installed")
        process = await asyncio.create_subprocess_exec(
            *(program, "--headless=new", "--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-port=0", f"--user-data-dir={folder}", "--window-size=1280,800", "about:blank"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            # Chromium writes the port of the protocol, and the path.
            port = folder / "DevToolsActivePort"
            await eventually(lambda: port.exists() and len(port.read_text().splitlines()) == 2)
            number, path = port.read_text().splitlines()
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"ws://127.0.0.1:{number}{path}", max_msg_size=0) as socket,
            ):
                chromium = Chromium(socket)
                reading = asyncio.ensure_future(chromium.read())
                yield chromium
                reading.cancel()
        finally:
            process.terminate()
            await process.wait()
