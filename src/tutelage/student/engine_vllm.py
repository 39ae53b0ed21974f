"""Engines that read prompt log-probabilities of vLLM, from a server or in this process.

Token ids go out, numbers come back; of a server, several requests at the same time.

vLLM gives each prompt token's log-probability and its rank, not the distribution: entropies
and sums of squares cannot be had.
"""

import http.client
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np

from tutelage.data import RANK_CLIP
from tutelage.data.redaction import Redactor
from tutelage.errors import MissingExtraError, StudentError
from tutelage.models.config import DtypeName
from tutelage.models.folder import StudentFolder, resolve_max_length
from tutelage.models.loading import forward_errors, memory_errors
from tutelage.student.config import StudentSettings
from tutelage.student.engine import ForwardError, OutOfMemoryError
from tutelage.student.passages import CPU_TOKENS, Measured, Passage, Refusal

# Client of a vLLM server: asks how likely the tokens of prompts are.
#
# Only what this needs of HTTP, from the standard library: one POST, no proxies, no redirects. Each
# request has a connection of its own, so that several threads can ask at the same time.


_SECONDS = 1800.0
"""Seconds to wait for a batch, which takes minutes on a slow machine; a missing server fails at
once.
"""

_MOST_BYTES = 2**30
"""Of one answer; 100,000 measured tokens take some 6 MB."""

_SAID_BYTES = 20_000
"""Bytes of an error that are read; 500 characters of it are shown."""

_TOO_LONG = re.compile(
    r"context length|max_model_len|maximum (?:model|context|input) length|too long"
    r"|longer than (?:the )?max|exceeds? (?:the )?(?:model'?s )?max",
    re.IGNORECASE,
)
"""Phrases by which servers report a prompt that is too long."""


class TooLongError(Exception):
    """A request contains a prompt with more tokens than the server accepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Model that a server reports.

    Attributes:
        name: What requests call it.
        max_tokens: The most tokens a prompt and its continuation may have, or None where the
            server does not say.
    """

    name: str
    max_tokens: int | None


class VllmClient:
    """HTTP client of one server.

    Args:
        base_url: Such as http://127.0.0.1:8000/v1.
        api_key_env: The environment variable with the server's key, or None. The key is sent and
            never shown: what the server says is cleaned of it.

    Raises:
        StudentError: That variable is not set, or cannot be sent.
    """

    def __init__(self, base_url: str, *, api_key_env: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._parts, self._port = _address(self.base_url)
        self._key = None if api_key_env is None else _key(api_key_env)
        self._redactor = Redactor(self._key)

    def served(self, *, wanted: str | None, student: str) -> Served:
        """Model to use, one of those that the server has.

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
                hint="set served_model (--served-model) to the student's name",
            )
        name = name or first
        limit = found[name].get("max_model_len")
        return Served(name=name, max_tokens=limit if isinstance(limit, int) else None)

    def prompt_logprobs(self, prompts: Sequence[Sequence[int]], *, model: str) -> list[list[Any]]:
        """Per-token results of the server for each prompt of token ids.

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
            f"{self.base_url}: does not return log-probabilities of prompt tokens: {why}",
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
        connection = kind(self._parts.hostname or "", self._port, timeout=_SECONDS)
        text = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request(method, self._parts.path + path, text, headers)
            reply = connection.getresponse()
            content = reply.read(_MOST_BYTES + 1)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise StudentError(
                f"{self.base_url}: cannot be reached: {self._redactor.text(str(error))}",
                hint="start the server; what was read is cached, so the same command continues",
            ) from error
        finally:
            connection.close()
        if len(content) > _MOST_BYTES:
            raise StudentError(
                f"{self.base_url}{path}: answered with more than {_MOST_BYTES >> 20} MB",
                hint="lower batch_tokens, or check that base_url is a vLLM server",
            )
        if reply.status != http.client.OK:
            raise self._refused(path, reply.status, content)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise StudentError(f"{self.base_url}{path}: did not answer with JSON") from error


def _address(base_url: str) -> tuple[SplitResult, int | None]:
    """The parts of an address and its port.

    Raises:
        StudentError: It is no address of an HTTP server.
    """
    parts, port = urlsplit(""), None
    try:
        parts = urlsplit(base_url)
        port = parts.port
        (parts.hostname or "").encode("idna")
        whole = parts.scheme in ("http", "https") and parts.hostname and " " not in parts.netloc
    except (ValueError, UnicodeError):  # of a bad port, bracket or host name
        whole = False
    if not whole or not base_url.isascii() or not base_url.isprintable():
        raise StudentError(
            f"base_url {base_url!a} is not the address of a server",
            hint="it is like http://127.0.0.1:8000/v1 (--student-url)",
        )
    return parts, port


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise StudentError(
            f"the environment variable {variable} "
            + ("is not set" if not key else "does not contain a valid key"),
            hint=f"export {variable}=..., the key that the vLLM server was started with",
        )
    return key


_BUDGETS_A_REQUEST = 16
"""Token budgets in one request: the server divides it into batches itself."""

_LEAST_LOGPROB = -1000.0
"""JSON has no minus infinity, so servers write a number in its place: vLLM -9999. No model in
float32 gives a token so little; values at or below this are placeholders, not measurements."""

_MOST_LOGPROB = 0.01
"""Largest accepted log-probability: a probability above 1, beyond rounding, is an error."""


_NOTHING: Mapping[str, float | None] = {"logprob": None}
"""Value of a token about which a server says nothing: its row has no number."""


class VllmEngine:
    """Engine of a model on a server, perhaps on another machine.

    Args:
        client: Reaches it.
        served: The model that it serves.
        batch_tokens: A sixteenth of the tokens of a request.
        in_flight: How many requests are sent at the same time.
    """

    def __init__(
        self, client: VllmClient, served: Served, *, batch_tokens: int, in_flight: int
    ) -> None:
        self._client = client
        self._served = served
        self._tokens = batch_tokens * _BUDGETS_A_REQUEST
        self._in_flight = in_flight

    @property
    def name(self) -> str:
        """Name in the manifest."""
        return "vllm"

    @property
    def lanes(self) -> int:
        """Always 1: a batch is sent as several simultaneous requests."""
        return 1

    def refusal(self, passage: Passage) -> Refusal | None:
        """`too_long` for passages above the limit that the server reports, else None.

        It has to write one token, too.
        """
        limit, tokens = self._served.max_tokens, len(passage.ids_T)
        if limit is None or tokens < limit:
            return None
        return Refusal(
            reason="too_long",
            detail=f"{tokens} tokens with its context, the server takes {limit - 1} and one more "
            f"(start it with --max-model-len {tokens + 1})",
        )

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Batches of as many requests as are sent at the same time, the longest passages first."""
        order = sorted(range(len(passages)), key=lambda i: (-len(passages[i].ids_T), i))
        requests = _requests(order, [len(p.ids_T) for p in passages], tokens=self._tokens)
        return [
            [index for request in requests[start : start + self._in_flight] for index in request]
            for start in range(0, len(requests), self._in_flight)
        ]

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:
        """Read one batch, in the order given; ranks are included where the server sends them.

        Raises:
            StudentError: The server does not give what is needed.
            ForwardError: It does not take as many tokens as a passage has.
        """
        lengths = [len(p.ids_T) for p in passages]
        requests = _requests(range(len(passages)), lengths, tokens=self._tokens)
        prompts = [[passages[i].ids_T.tolist() for i in request] for request in requests]
        ask = partial(self._client.prompt_logprobs, model=self._served.name)
        try:
            if len(prompts) == 1:
                answers = [ask(prompts[0])]
            else:
                with ThreadPoolExecutor(self._in_flight, thread_name_prefix="vllm") as pool:
                    answers = list(pool.map(ask, prompts))
        except TooLongError as error:
            raise ForwardError(str(error), reason="too_long") from error
        found = [tokens for answer in answers for tokens in answer]
        return [
            _measured(p, tokens, full=full, place=self._client.base_url)
            for p, tokens in zip(passages, found, strict=True)
        ]

    def close(self) -> None:
        """Do nothing: the server keeps running."""


def _requests(order: Iterable[int], lengths: Sequence[int], *, tokens: int) -> list[list[int]]:
    """Divide passages, in the order given, into requests under a token budget."""
    requests: list[list[int]] = []
    spent = 0
    for index in order:
        if not requests or spent + lengths[index] > tokens:
            requests.append([])
            spent = 0
        requests[-1].append(index)
        spent += lengths[index]
    return requests


def _measured(
    passage: Passage,
    tokens: Sequence[Mapping[str, Mapping[str, float | None]] | None],
    *,
    full: bool,
    place: str,
) -> Measured:
    start = passage.target_start
    try:
        own = [
            _NOTHING if token is None else token[str(name)]
            for token, name in zip(tokens[start:], passage.ids_T[start:].tolist(), strict=True)
        ]
        logprobs_T = np.array([_logprob(entry["logprob"]) for entry in own], dtype=np.float32)
        given = [entry.get("rank") for entry in own]
        ranks = [int(rank) for rank in given if rank is not None]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StudentError(
            f"{place}: measured other tokens than it was sent: {error!r}",
            hint="does it serve the model, and the tokenizer, that the setting `model` names?",
        ) from error
    ranked = len(ranks) == len(own)
    if full and not ranked:
        raise StudentError(
            f"{place}: returns no ranks with its log-probabilities",
            hint="leave out the metrics that need ranks (rsr), or use a vLLM server",
        )
    return Measured(
        logprobs_T=np.minimum(logprobs_T, 0),
        ranks_T=np.clip(ranks, 1, RANK_CLIP).astype(np.uint8) if ranked else None,
    )


def _logprob(value: float | None) -> float:
    """Log-probability from a server's value; placeholders become NaN."""
    if value is None:
        return math.nan
    number = float(value)
    return number if _LEAST_LOGPROB < number < _MOST_LOGPROB else math.nan


def open_vllm(settings: StudentSettings) -> VllmEngine:
    """Connect to the server of the settings and find out which model it serves.

    Raises:
        StudentError: It cannot be reached, or does not serve the student.
    """
    client = VllmClient(str(settings.base_url), api_key_env=settings.api_key_env)
    return VllmEngine(
        client,
        client.served(wanted=settings.served_model, student=settings.model),
        batch_tokens=CPU_TOKENS if settings.batch_tokens == "auto" else settings.batch_tokens,
        in_flight=settings.requests_in_flight,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A generated continuation of a prompt.

    Attributes:
        ids: Its tokens, perhaps with the one that ended it.
        ended: Whether it ended by itself within the limit.
    """

    ids: tuple[int, ...]
    ended: bool


class VllmOfflineEngine:
    """Engine that runs vLLM in this process, on one card or with tensor parallelism.

    Args:
        model: A `vllm.LLM`.
        sampling: Makes `vllm.SamplingParams`.
        max_tokens: The most tokens a passage and one more token may have.
        batch_tokens: A sixteenth of the tokens that are handed over at once.
    """

    def __init__(
        self, model: Any, sampling: Callable[..., Any], *, max_tokens: int | None, batch_tokens: int
    ) -> None:
        self._model = model
        self._sampling_of = sampling
        # One token has to be written; 0 asks for the prompt's own tokens and for no others.
        self._sampling = sampling(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        self._max_tokens = max_tokens
        self._tokens = batch_tokens * _BUDGETS_A_REQUEST

    @property
    def name(self) -> str:
        """Name in the manifest."""
        return "vllm-offline"

    @property
    def lanes(self) -> int:
        """Always one batch at a time."""
        return 1

    def refusal(self, passage: Passage) -> Refusal | None:
        """`too_long` where no room is left for the one token that vLLM must generate, else None."""
        tokens = len(passage.ids_T)
        if self._max_tokens is None or tokens < self._max_tokens:
            return None
        return Refusal(
            reason="too_long",
            detail=f"{tokens} tokens with its context, vLLM takes {self._max_tokens - 1} and one "
            "more",
        )

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Large batches, the longest passages first."""
        order = sorted(range(len(passages)), key=lambda i: (-len(passages[i].ids_T), i))
        return _requests(order, [len(p.ids_T) for p in passages], tokens=self._tokens)

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:
        """Read one batch, in the order given.

        Raises:
            StudentError: vLLM does not give what is needed.
            OutOfMemoryError: The batch is too large.
            ForwardError: vLLM refused it.
        """
        prompts = [{"prompt_token_ids": passage.ids_T.tolist()} for passage in passages]
        with forward_errors(ForwardError), memory_errors(OutOfMemoryError):
            answers = self._model.generate(prompts, self._sampling, use_tqdm=False)
        found = []
        for answer in answers:
            if answer.prompt_logprobs is None:
                raise StudentError(
                    "vLLM answered without prompt_logprobs", hint="use a newer version of vLLM"
                )
            found.append([_as_served(token) for token in answer.prompt_logprobs])
        return [
            _measured(p, tokens, full=full, place="vLLM in this process")
            for p, tokens in zip(passages, found, strict=True)
        ]

    def write(
        self, prompts: Sequence[Sequence[int]], *, limit: int, ends: Sequence[int]
    ) -> list[Written]:
        """Continue prompts greedily, in the order given.

        Args:
            prompts: Token ids.
            limit: The most tokens of a continuation.
            ends: Tokens that end one.
        """
        sampling = self._sampling_of(
            max_tokens=limit, temperature=0.0, stop_token_ids=list(ends), detokenize=False
        )
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        answers = self._model.generate(asked, sampling, use_tqdm=False)
        return [
            Written(
                ids=tuple(answer.outputs[0].token_ids),
                ended=answer.outputs[0].finish_reason == "stop",
            )
            for answer in answers
        ]

    def close(self) -> None:
        """Free the memory of the model."""
        self._model = None


def _as_served(token: Mapping[int, Any] | None) -> dict[str, dict[str, float | None]]:
    """Result of a prompt token in the server's format."""
    return {
        str(name): {"logprob": found.logprob, "rank": found.rank}
        for name, found in (token or {}).items()
    }


def open_vllm_offline(
    folder: StudentFolder, settings: StudentSettings, *, dtype: DtypeName
) -> VllmOfflineEngine:
    """Load a student into vLLM in this process.

    Args:
        folder: The student's folder.
        settings: Its settings.
        dtype: The dtype in which it computes.

    Raises:
        MissingExtraError: vLLM is not installed.
        StudentError: The student is an adapter, or vLLM cannot load it.
    """
    try:
        import vllm
    except ImportError as error:
        raise MissingExtraError(
            "backend vllm-offline needs vLLM",
            hint="pip install vllm (into an environment of its own), or use a server: backend vllm",
        ) from error
    if folder.adapter is not None:
        raise StudentError(
            f"{settings.model}: vLLM in this process reads whole models, and this is an adapter",
            hint="merge it into its base model (peft: merge_and_unload), or set backend to auto",
        )
    limit = resolve_max_length(settings, folder)
    longest = min(limit + 1, folder.length_limit())
    try:
        model = vllm.LLM(
            model=str(folder.model_path),
            tokenizer=str(folder.tokenizer_path),
            dtype=dtype,
            tensor_parallel_size=settings.tensor_parallel,
            gpu_memory_utilization=settings.gpu_memory_fraction,
            max_model_len=longest,
            max_logprobs=1,
            trust_remote_code=settings.trust_remote_code,
            seed=0,
        )
    except (RuntimeError, ValueError, OSError, AssertionError, KeyError) as error:
        raise StudentError(
            f"{folder.model_path}: vLLM cannot load it: {type(error).__name__}: {error}",
            hint="lower gpu_memory_fraction if other programs use the GPU, raise tensor_parallel "
            "if the model is too large for one GPU, or set backend to transformers",
        ) from error
    tokens = CPU_TOKENS if settings.batch_tokens == "auto" else settings.batch_tokens
    return VllmOfflineEngine(model, vllm.SamplingParams, max_tokens=longest, batch_tokens=tokens)
