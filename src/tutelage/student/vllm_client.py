"""Ask a vLLM server how likely the tokens of prompts are.

Only what this needs of HTTP, from the standard library: one POST, no proxies, no keys.
"""

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tutelage.errors import StudentError

_SECONDS = 1800.0
"""A batch on a slow machine takes minutes; a server that is gone refuses at once."""


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
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._parts = urlsplit(self.base_url)

    def served(self) -> Served:
        """The first model the server has.

        Raises:
            StudentError: It cannot be reached, or serves none.
        """
        answer = self._ask("GET", "/models", None)
        try:
            model = answer["data"][0]
            return Served(name=str(model["id"]), max_tokens=model.get("max_model_len"))
        except (KeyError, IndexError, TypeError) as error:
            raise StudentError(
                f"{self.base_url}: does not say which model it serves",
                hint="is it an OpenAI-compatible server? the URL usually ends in /v1",
            ) from error

    def prompt_logprobs(self, prompts: Sequence[Sequence[int]], *, model: str) -> list[list[Any]]:
        """For each prompt of token ids what the server measured at each of its tokens.

        Returns:
            For each prompt a list as long as it: None for the first token, else a mapping from
            token id (as text) to `logprob` and `rank`.

        Raises:
            StudentError: The server cannot be reached, refuses, or does not measure prompts.
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

    def _ask(self, method: str, path: str, body: object) -> Any:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=_SECONDS)
        text = None if body is None else json.dumps(body)
        try:
            connection.request(
                method, self._parts.path + path, text, {"Content-Type": "application/json"}
            )
            reply = connection.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise StudentError(
                f"{self.base_url}: cannot be reached: {error}",
                hint="start the server; what was read is cached, so the same command continues",
            ) from error
        finally:
            connection.close()
        if reply.status != http.client.OK:
            said = content[:500].decode("utf-8", "replace")
            raise StudentError(f"{self.base_url}{path}: answered {reply.status}: {said}")
        try:
            return json.loads(content)
        except ValueError as error:
            raise StudentError(f"{self.base_url}{path}: did not answer with JSON") from error
