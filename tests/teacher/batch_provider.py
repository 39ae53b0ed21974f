"""A provider's batch API on loopback: files, batches, and what a test wants to go wrong."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.loopback_server import JsonHandler, served_by
from tests.teacher.conftest import chat


def nothing(method: str, path: str) -> None:
    """Let a call pass."""
    del method, path


@dataclass
class Provider:
    """What was uploaded and created; `finish` lets batches end.

    Attributes:
        files: Contents by id.
        batches: By id, in the order in which they were created.
        chats: Bodies of direct calls.
        headers: Of every call.
        before: Called with method and path before a call is obeyed; may raise `RefusalError`.
        after: The same after it was obeyed and before it is answered.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    chats: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    before: Callable[[str, str], None] = nothing
    after: Callable[[str, str], None] = nothing
    page: int = 100

    def requests(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        return [json.loads(x) for x in self.files[batch["input_file_id"]].splitlines()]

    @property
    def bought(self) -> list[str]:
        """The custom id of every request of every batch, and of nothing else."""
        return [r["custom_id"] for b in self.batches.values() for r in self.requests(b)]

    def finish(
        self,
        answer: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: good("yes"),
        *,
        status: str = "completed",
    ) -> None:
        """End every open batch: `answer` turns a request into its line, None leaves it out."""
        for batch_id, batch in self.batches.items():
            if batch["status"] != "in_progress":
                continue
            lines = [
                {"custom_id": r["custom_id"], **line}
                for r in self.requests(batch)
                if (line := answer(r)) is not None
            ]
            good_lines = [
                x for x in lines if not x["error"] and x["response"]["status_code"] == 200
            ]
            bad_lines = [x for x in lines if x not in good_lines]
            for name, part in (("output", good_lines), ("error", bad_lines)):
                if part:
                    self.files[f"{name}-{batch_id}"] = b"".join(
                        json.dumps(x).encode() + b"\n" for x in reversed(part)
                    )
                    batch[f"{name}_file_id"] = f"{name}-{batch_id}"
            batch["status"] = status


class RefusalError(Exception):
    """A status to answer with."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def good(text: str, **changes: Any) -> dict[str, Any]:
    return {"response": {"status_code": 200, "body": chat(text, **changes)}, "error": None}


def bad(status: int, message: str) -> dict[str, Any]:
    return {
        "response": {"status_code": status, "body": {"error": {"message": message}}},
        "error": None,
    }


def expired() -> dict[str, Any]:
    return {"response": None, "error": {"code": "batch_expired", "message": "not in time"}}


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider in a thread."""
    made = Provider()

    class Handler(JsonHandler):
        def obey(self, method: str, data: bytes) -> None:
            path = self.path.removeprefix("/v1")
            made.calls.append(f"{method} {path.partition('?')[0]}")
            made.headers.append(dict(self.headers))
            try:
                made.before(method, path)
                answer = _answer(made, method, path, data, self.headers)
                made.after(method, path)
            except RefusalError as refusal:
                self.send(refusal.status, refusal.body)
            except ConnectionAbortedError:
                self.close_connection = True
            else:
                self.send(200, answer)

    with served_by(Handler) as url:
        made.url = f"{url}/v1"
        yield made


def _answer(made: Provider, method: str, path: str, data: bytes, headers: Any) -> Any:
    if (method, path) == ("POST", "/chat/completions"):
        made.chats.append(json.loads(data))
        return chat("direct")
    if (method, path) == ("POST", "/files"):
        boundary = headers["content-type"].partition("boundary=")[2].encode()
        parts = [part for part in data.split(b"--" + boundary) if b"filename=" in part]
        file_id = f"file-{len(made.files)}"
        made.files[file_id] = parts[0].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        return {"id": file_id, "object": "file"}
    if (method, path) == ("POST", "/batches"):
        batch_id = f"batch-{len(made.batches)}"
        made.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "status": "in_progress",
            **json.loads(data),
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }
        return made.batches[batch_id]
    if method == "GET" and path.startswith("/batches?"):
        known = list(made.batches.values())[::-1]
        after = re.search(r"after=([\w-]+)", path)
        start = 1 + [b["id"] for b in known].index(after[1]) if after else 0
        page = known[start : start + made.page]
        return {"object": "list", "data": page, "has_more": start + made.page < len(known)}
    if method == "GET" and path.startswith("/batches/"):
        if path.removeprefix("/batches/") not in made.batches:
            raise RefusalError(404, {"error": {"message": "no such batch"}})
        return made.batches[path.removeprefix("/batches/")]
    if method == "GET" and path.startswith("/files/"):
        return made.files[path.split("/")[2]]
    raise RefusalError(404, {"error": {"message": "no such path"}})
