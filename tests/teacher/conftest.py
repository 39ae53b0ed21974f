"""An endpoint on loopback that answers as it is told and counts what it is asked."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tutelage.data import Message
from tutelage.teacher import Journal, Request, TeacherSettings


@dataclass(kw_only=True)
class Answer:
    """One HTTP answer: late, cut in half, or none at all where asked for."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    drop: bool = False
    cut: bool = False
    whole: bytes | None = None

    def raw(self) -> bytes:
        if self.whole is not None:
            return self.whole
        is_raw = isinstance(self.body, bytes)
        body = self.body if is_raw else json.dumps(self.body).encode()
        kind = {} if "content-type" in self.headers else {"content-type": "application/json"}
        lines = [f"HTTP/1.1 {self.status} X"]
        lines += [f"{name}: {value}" for name, value in {**kind, **self.headers}.items()]
        lines += [f"content-length: {len(body)}", "", ""]
        raw = "\r\n".join(lines).encode() + body
        return raw[: -len(body) // 2] if self.cut else raw


def chat(text: Any = "yes", **changes: Any) -> dict[str, Any]:
    """The body of a good reply, with changes to its top level, choice or message."""
    message = {"role": "assistant", "content": text} | changes.pop("message", {})
    choice = {"index": 0, "message": message, "finish_reason": changes.pop("finish", "stop")}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {"model": "served", "choices": [choice], "usage": usage} | changes


@dataclass(kw_only=True)
class Seen:
    """One request as the server saw it."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    under_way: int
    target: str = ""


class Endpoint:
    """A server in a thread. `script` turns the index and the body of a request into an answer."""

    answer = Answer
    good = staticmethod(chat)

    def __init__(self) -> None:
        self.script: Callable[[int, dict[str, Any]], Answer] = lambda _, __: Answer(body=chat())
        self.seen: list[Seen] = []
        self.url = ""
        self._under_way = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def answers(self, *answers: Answer) -> None:
        """Answer in this order; the last answer stays."""
        self.script = lambda index, _: answers[min(index, len(answers) - 1)]

    @property
    def asked(self) -> list[str]:
        return [seen.body["messages"][-1]["content"] for seen in self.seen]

    def stop(self) -> None:
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._talk, "127.0.0.1", 0, limit=2**24)
        )
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(
                    line.lower().split(": ", 1) if ": " in line else (line, "")
                    for line in head.split("\r\n")[1:]
                )
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self._under_way += 1
                index = len(self.seen)
                self.seen.append(
                    Seen(
                        body=body,
                        headers=headers,
                        at=time.monotonic(),
                        under_way=self._under_way,
                        target=head.split(" ", 2)[1],
                    )
                )
                answer = self.script(index, body)
                try:
                    await asyncio.sleep(answer.seconds)
                finally:
                    self._under_way -= 1
                if answer.drop:
                    break
                writer.write(answer.raw())
                await writer.drain()
                if answer.cut or answer.whole is not None:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.stop()


@pytest.fixture
def good() -> Callable[..., dict[str, Any]]:
    return chat


@pytest.fixture
def settings(endpoint: Endpoint) -> Callable[..., TeacherSettings]:
    """Settings of a teacher at the endpoint, with changes."""

    def make(**changes: Any) -> TeacherSettings:
        usual = {"model": "m", "base_url": endpoint.url, "supports_schema": "no"}
        return TeacherSettings(**(usual | changes))

    return make


@pytest.fixture
def request_for() -> Callable[..., Request]:
    """A request with one user turn."""

    def make(text: str = "hello", **changes: Any) -> Request:
        messages = (Message(role="user", content=text),)
        return Request(**({"model": "m", "messages": messages, "max_tokens": 10} | changes))

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened
