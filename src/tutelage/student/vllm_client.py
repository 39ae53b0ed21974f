"""Client of a vLLM server: asks how likely the tokens of prompts are.

Only what this needs of HTTP, from the standard library: one POST, no proxies, no redirects. Each
request has a connection of its own, so that several threads can ask at the same time.
"""

import http.client
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tutelage.data.redaction import Redactor
from tutelage.errors import StudentError

_SECONDS = 1800.0
"""A batch on a slow machine takes minutes; a server that is gone refuses at once."""

_SAID_BYTES = 20_000
"""Of an error, what is looked at; 500 characters of it are shown."""

_TOO_LONG = re.compile(
    r"context length|max_model_len|maximum (?:model|context|input) length|too long"
    r"|longer than (?:the )?max|exceeds? (?:the )?(?:model'?s )?max",
    re.IGNORECASE,
)
"""How servers say that a prompt has more tokens than they take."""


class TooLongError(Exception):
    """A request holds a prompt with more tokens than the server takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server says about the model it has.

    Attributes:
        name: What requests call it.
        max_tokens: The most tokens a prompt and its continuation may have, or None where the
            server does not say.
    """

    name: str
    max_tokens: int | None


class VllmClient:
    """Talks to one server.

    Args:
        base_url: Such as http://127.0.0.1:8000/v1.
        api_key_env: The environment variable with the server's key, or None. The key is sent and
            never shown: what the server says is cleaned of it.

    Raises:
        StudentError: That variable is not set, or cannot be sent.
    """

    def __init__(self, base_url: str, *, api_key_env: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._parts = urlsplit(self.base_url)
        self._key = None if api_key_env is None else _key(api_key_env)
        self._redactor = Redactor(self._key)

    def served(self, *, wanted: str | None, student: str) -> Served:
        """The model to ask, one of those the server has.

        Args:
            wanted: Its name on the server, or None for the one that is the student.
            student: The student's name in the settings.

        Raises:
            StudentError: The server cannot be reached, serves none, or leaves it open which.
        """
        answer: Any = self._redactor.value(self._ask("GET", "/models", None))
        try:
            found = {str(model["id"]): model for model in answer["data"]}
            roots = {str(model.get("root")): name for name, model in found.items()}
            first = next(iter(found))
        except (KeyError, TypeError, AttributeError, StopIteration) as error:
            raise StudentError(
                f"{self.base_url}: does not say which model it serves",
                hint="is it an OpenAI-compatible server? the URL usually ends in /v1",
            ) from error
        listed = ", ".join(found)
        if wanted is not None and wanted not in found:
            raise StudentError(
                f"{self.base_url}: does not serve {wanted!r}, but {listed}",
                hint="set served_model (--served-model) to one of them",
            )
        name = wanted or (student if student in found else roots.get(student))
        if name is None and len(found) > 1:
            raise StudentError(
                f"{self.base_url}: serves {len(found)} models ({listed}), and none is called "
                f"{student!r}",
                hint="say in served_model (--served-model) which one is the student",
            )
        name = name or first
        limit = found[name].get("max_model_len")
        return Served(name=name, max_tokens=limit if isinstance(limit, int) else None)

    def prompt_logprobs(self, prompts: Sequence[Sequence[int]], *, model: str) -> list[list[Any]]:
        """For each prompt of token ids what the server measured at each of its tokens.

        Returns:
            For each prompt a list as long as it: None for the first token, else a mapping from
            token id (as text) to `logprob` and `rank`.

        Raises:
            StudentError: The server cannot be reached, refuses, or does not measure prompts.
            TooLongError: It does not take as many tokens as a prompt has.
        """
        body = {
            "model": model,
            "prompt": [list(prompt) for prompt in prompts],
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 0,  # of the prompt's own tokens, and of no other
        }
        answer = self._ask("POST", "/completions", body)
        try:
            choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
            found = [choice["prompt_logprobs"] for choice in choices]
        except (KeyError, TypeError) as error:
            raise self._no_ability("it answered without prompt_logprobs") from error
        if any(measured is None for measured in found):
            raise self._no_ability("it answered without prompt_logprobs")
        lengths = [len(measured) for measured in found]
        if lengths != [len(prompt) for prompt in prompts]:
            raise self._no_ability(
                f"it measured {sum(lengths)} tokens of {len(lengths)} prompts instead of "
                f"{sum(map(len, prompts))} of {len(prompts)}"
            )
        return found

    def _no_ability(self, why: str) -> StudentError:
        return StudentError(
            f"{self.base_url}: does not measure the tokens of a prompt: {why}",
            hint="the backend vllm needs a vLLM server; others ignore prompt_logprobs",
        )

    def _refused(self, path: str, status: int, content: bytes) -> Exception:
        said = self._redactor.text(content[:_SAID_BYTES].decode("utf-8", "replace"))[:500]
        said = "".join(c if c.isprintable() else " " for c in said)
        too_long = status == http.client.BAD_REQUEST and _TOO_LONG.search(said)
        if too_long or status == http.client.REQUEST_ENTITY_TOO_LARGE:
            return TooLongError(f"{self.base_url}{path}: answered {status}: {said}")
        hint = None
        if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            hint = "name the environment variable with the server's key in api_key_env"
            hint += " (--student-key-env)"
        return StudentError(f"{self.base_url}{path}: answered {status}: {said}", hint=hint)

    def _ask(self, method: str, path: str, body: object) -> Any:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=_SECONDS)
        text = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request(method, self._parts.path + path, text, headers)
            reply = connection.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise StudentError(
                f"{self.base_url}: cannot be reached: {self._redactor.text(str(error))}",
                hint="start the server; what was read is cached, so the same command continues",
            ) from error
        finally:
            connection.close()
        if reply.status != http.client.OK:
            raise self._refused(path, reply.status, content)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise StudentError(f"{self.base_url}{path}: did not answer with JSON") from error


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise StudentError(
            f"the environment variable {variable} "
            + ("is not set" if not key else "holds what cannot be a key"),
            hint=f"export {variable}=..., the key that the vLLM server was started with",
        )
    return key
