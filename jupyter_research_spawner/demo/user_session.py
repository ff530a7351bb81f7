"""A user's session with the hub: log in, submit the form, wait for the server, run code in a kernel.

It sends the same requests as a browser, with cookies, to JupyterHub's pages and the Jupyter server's APIs.
"""

from __future__ import annotations

import asyncio
import html
import html.parser
import json
import re
import uuid
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL


class UnexpectedResult(RuntimeError):
    """A step of the tour failed.  The message says which step, and quotes the page or the error."""


class Form(html.parser.HTMLParser):
    """The fields of a page's forms with their selected values, and the label of each radio button."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.radios: list[tuple[str, str, str]] = []
        self._ids: dict[str, tuple[str, str]] = {}
        self._label_for: str | None = None
        self._label_text = ""
        self._select: str | None = None
        self._inside: tuple[str, str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        if tag == "input" and at.get("name"):
            self._input(at)
        elif tag == "select":
            self._select = at.get("name")
        elif tag == "option" and self._select is not None:
            if "selected" in at or self._select not in self.fields:
                self.fields[self._select] = at.get("value", "")
        elif tag == "label":
            self._label_for, self._label_text, self._inside = at.get("for"), "", None

    def _input(self, at: dict[str, str]) -> None:
        kind, name, value = at.get("type", "text"), at["name"], at.get("value", "")
        if kind == "radio":
            self._inside = (name, value)
            if at.get("id"):
                self._ids[at["id"]] = (name, value)
        if kind not in ("radio", "checkbox", "submit", "button") or "checked" in at:
            self.fields[name] = value

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None
        if tag == "label":
            radio = self._ids.get(self._label_for or "") or self._inside
            if radio is not None:
                self.radios.append((*radio, " ".join(self._label_text.split())))

    def handle_data(self, data: str) -> None:
        self._label_text += data

    def choose(self, label: str) -> None:
        """Select the radio button whose label begins with `label`."""
        for name, value, text in self.radios:
            if text.startswith(label):
                self.fields[name] = value
                return
        offered = ", ".join(text.split("  ")[0][:40] for _, _, text in self.radios) or "none"
        raise UnexpectedResult(f"The form has no choice {label!r}. Its choices are: {offered}.")


class UserSession:
    """The session of user `name` at the hub with URL `base` (without a trailing slash)."""

    def __init__(self, base: str, name: str, password: str) -> None:
        self.name = name
        self._base, self._password = base, password
        self._session: aiohttp.ClientSession | None = None
        self._kernel: str | None = None

    async def __aenter__(self) -> UserSession:
        jar = aiohttp.CookieJar(unsafe=True)  # accept cookies of the address 127.0.0.1
        self._session = aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=60))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.close()

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use `async with UserSession(...)`"
        return self._session

    async def log_in(self) -> None:
        await self._page("/hub/login")
        answer = await self.http.post(
            f"{self._base}/hub/login",
            params={"_xsrf": self.xsrf("/hub/")},
            data={"username": self.name, "password": self._password, "_xsrf": self.xsrf("/hub/")},
        )
        if answer.status != 200 or answer.url.path.startswith("/hub/login"):
            raise UnexpectedResult(f"{self.name} could not log in (HTTP {answer.status} at {answer.url.path}).")

    async def start_server(self, choice: str) -> None:
        """Select `choice` in the form, submit it, and wait until the server answers."""
        form = Form(await self._page("/hub/spawn"))
        form.choose(choice)
        form.fields["_xsrf"] = self.xsrf("/hub/")
        data = aiohttp.FormData()
        for name, value in form.fields.items():
            data.add_field(name, value)
        answer = await self.http.post(
            f"{self._base}/hub/spawn/{self.name}",
            params={"_xsrf": self.xsrf("/hub/")},
            data=data,
            headers={"Referer": f"{self._base}/hub/spawn/{self.name}"},
            allow_redirects=False,
        )
        if answer.status not in (302, 303):
            raise UnexpectedResult(f"The form was refused (HTTP {answer.status}): {_text(await answer.text())}")
        async for event in self.progress():
            if event.get("failed"):
                raise UnexpectedResult(f"{self.name}'s server did not start: {event.get('message')}")
            if event.get("ready"):
                break
        lab = await self.http.get(f"{self._base}/user/{self.name}/lab")
        if lab.status != 200 or not lab.url.path.startswith(f"/user/{self.name}/lab"):
            raise UnexpectedResult(f"JupyterLab did not answer (HTTP {lab.status} at {lab.url.path}).")

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of JupyterHub's progress API while the server starts."""
        url = f"{self._base}/hub/api/users/{self.name}/server/progress"
        timeout = aiohttp.ClientTimeout(total=300)
        async with self.http.get(url, params={"_xsrf": self.xsrf("/hub/")}, timeout=timeout) as answer:
            if answer.status != 200:
                raise UnexpectedResult(f"The progress API failed (HTTP {answer.status}): {_text(await answer.text())}")
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    async def run(self, code: str) -> str:
        """Run `code` in a kernel of the server and return its output.  Raises UnexpectedResult if the code fails."""
        root = f"{self._base}/user/{self.name}"
        headers = {"X-XSRFToken": self.xsrf(f"/user/{self.name}/")}
        if self._kernel is None:
            answer = await self.http.post(f"{root}/api/kernels", json={"name": "python3"}, headers=headers)
            if answer.status != 201:
                raise UnexpectedResult(
                    f"JupyterLab did not start a kernel (HTTP {answer.status}): {_text(await answer.text())}"
                )
            self._kernel = (await answer.json())["id"]
        channels = f"{root}/api/kernels/{self._kernel}/channels"
        async with self.http.ws_connect(channels, headers=headers, max_msg_size=0) as socket:
            message = _execute_request(self.name, code)
            await socket.send_str(json.dumps(message))
            return await asyncio.wait_for(_output(socket, message["header"]["msg_id"]), 120)

    async def _page(self, path: str) -> str:
        answer = await self.http.get(self._base + path)
        text = await answer.text()
        if answer.status != 200:
            raise UnexpectedResult(f"{path} answered HTTP {answer.status}: {_text(text)}")
        return text

    def xsrf(self, path: str) -> str:
        """Return the token against cross-site requests of the pages below this path."""
        cookies = self.http.cookie_jar.filter_cookies(URL(self._base + path))
        return cookies["_xsrf"].value if "_xsrf" in cookies else ""


def _execute_request(user: str, code: str) -> dict[str, Any]:
    """Return an execute_request message of the Jupyter messaging protocol 5.3."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": user, "session": uuid.uuid4().hex}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
    return {
        "channel": "shell",
        "header": {**header, "version": "5.3", "date": ""},
        "parent_header": {},
        "metadata": {},
        "content": {**content, "user_expressions": {}},
        "buffers": [],
    }


async def _output(socket: aiohttp.ClientWebSocketResponse[Any], request: str) -> str:
    """Return what the kernel prints until it is idle again."""
    printed: list[str] = []
    async for frame in socket:
        if frame.type is not aiohttp.WSMsgType.TEXT:
            continue
        message = json.loads(frame.data)
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            printed.append(content["text"])
        elif kind == "error":
            raise UnexpectedResult(
                f"The code failed in the kernel: {content['ename']}: {content['evalue']}\n{''.join(printed)}"
            )
        elif kind == "status" and content["execution_state"] == "idle":
            return "".join(printed)
    raise UnexpectedResult("The kernel closed the connection.")


def _text(page: str) -> str:
    """Return the beginning of a page's text, without markup."""
    words = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]+>", " ", page)
    return " ".join(html.unescape(words).split())[:400]
