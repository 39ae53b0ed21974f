"""A stand-in for the hub on loopback: repositories of files, made and read by its own client."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.loopback_server import JsonHandler, served_by


@dataclass
class Hub:
    """What was pushed.

    Attributes:
        repos: Files by path, by repository.
        private: Whether a repository was made private.
        commits: The hash of the newest commit of each repository.
        asked: Method and path of every call.
        headers: Of every call.
        refuses: A status with which every call is refused, or None.
    """

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refuses: int | None = None
    says: str = "no"

    def commit(self, repo: str, lines: list[dict[str, Any]]) -> str:
        files = self.repos[repo]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                files.pop(value["path"], None)
        held = json.dumps({k: v.hex() for k, v in sorted(files.items())})
        self.commits[repo] = hashlib.sha1(held.encode()).hexdigest()  # noqa: S324
        return self.commits[repo]


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub in a thread."""
    made = Hub()

    class Handler(JsonHandler):
        def obey(self, method: str, data: bytes) -> None:
            path = unquote(urlsplit(self.path).path)
            made.asked.append(f"{method} {path}")
            made.headers.append(dict(self.headers))
            if made.refuses is not None:
                return self._reply(made.refuses, {"error": made.says})
            answer = _answer(made, path, data)
            if answer is None:
                return self._reply(404, {"error": f"nothing at {path}"})
            return self._reply(200, answer)

        def _reply(self, status: int, answer: Any) -> None:
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            repo = "/".join(urlsplit(self.path).path.split("/")[2:4])
            headers = {
                "ETag": f'"{hashlib.sha256(raw).hexdigest()[:20]}"',
                "X-Repo-Commit": made.commits.get(repo, "0" * 40),
            }
            self.send(status, raw, headers=headers)

    with served_by(Handler) as made.url:
        yield made


def _answer(made: Hub, path: str, data: bytes) -> Any:
    if path == "/api/repos/create":
        asked = json.loads(data)
        owner = asked.get("organization") or "me"
        repo = f"{owner}/{asked['name']}"
        private = asked.get("private") or asked.get("visibility") == "private"
        made.private.setdefault(repo, bool(private))
        made.repos.setdefault(repo, {})
        made.commits.setdefault(repo, "0" * 40)
        return {"url": f"{made.url}/datasets/{repo}", "name": repo, "id": repo}
    if path == "/api/validate-yaml":
        return {"errors": [], "warnings": []}
    if path == "/api/whoami-v2":
        return {"name": "me", "type": "user", "orgs": []}
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "datasets"]:
        return _of_dataset(made, "/".join(parts[2:4]), parts[4:], data)
    if parts[0] == "datasets" and "resolve" in parts:
        at = parts.index("resolve")
        return made.repos.get("/".join(parts[1:at]), {}).get("/".join(parts[at + 2 :]))
    return None


def _of_dataset(made: Hub, repo: str, rest: list[str], data: bytes) -> Any:
    files = made.repos.get(repo)
    if files is None:
        return None
    if rest[:1] == ["preupload"]:
        wanted = json.loads(data)["files"]
        return {
            "files": [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in wanted
            ]
        }
    if rest[:1] == ["commit"]:
        oid = made.commit(repo, [json.loads(line) for line in data.splitlines()])
        return {"success": True, "commitOid": oid, "commitUrl": f"{made.url}/{repo}/commit/{oid}"}
    if rest[:1] == ["tree"]:
        folder = "/".join(rest[2:])
        return [
            {"type": "file", "path": name, "size": len(held), "oid": "0" * 40}
            for name, held in sorted(files.items())
            if name.startswith(folder)
        ]
    if not rest or rest[0] == "revision":
        return {
            "id": repo,
            "sha": made.commits[repo],
            "private": made.private[repo],
            "siblings": [{"rfilename": name} for name in sorted(files)],
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }
    return None
