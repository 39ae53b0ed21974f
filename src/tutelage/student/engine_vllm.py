"""Engines that read through the prompt log-probabilities of vLLM: a server, or in this process.

Token ids go out, numbers come back; of a server, several requests at the same time.

vLLM gives each prompt token's log-probability and its rank, not the distribution: entropies
and sums of squares cannot be had.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tutelage.data import RANK_CLIP
from tutelage.errors import MissingExtraError, StudentError
from tutelage.models.config import DtypeName
from tutelage.models.folder import StudentFolder, resolve_max_length
from tutelage.models.loading import forward_errors, memory_errors
from tutelage.student.batch_budget import CPU_TOKENS
from tutelage.student.config import StudentSettings
from tutelage.student.engine import ForwardError, OutOfMemoryError
from tutelage.student.passages import Measured, Passage, Refusal
from tutelage.student.vllm_client import Served, TooLongError, VllmClient

_BUDGETS_A_REQUEST = 16
"""A server packs what it is given by itself, so a request holds many batches."""

_LEAST_LOGPROB = -1000.0
"""JSON has no minus infinity, so servers write a number in its place: vLLM -9999. No model in
float32 gives a token so little; what is at or below this is a stand-in, and not a measurement."""

_MOST_LOGPROB = 0.01
"""A probability above 1, beyond rounding, is not a measurement either."""


class VllmEngine:
    """A model in another process, perhaps on another machine.

    Args:
        client: Reaches it.
        served: What it serves.
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
        """What the manifest calls it."""
        return "vllm"

    @property
    def lanes(self) -> int:
        """One: a batch is sent as several requests at the same time."""
        return 1

    def refusal(self, passage: Passage) -> Refusal | None:
        """`too_long` where the server says how many tokens it takes, and these are more.

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
        """Read one batch, in the order given; ranks are measured where the server gives them.

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
        """Nothing to give back: the server goes on."""


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
    tokens: Sequence[Mapping[str, Mapping[str, float | None]]],
    *,
    full: bool,
    place: str,
) -> Measured:
    start = passage.target_start
    try:
        own = [
            token[str(name)]
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
            f"{place}: gives no ranks with its log-probabilities",
            hint="leave out the metrics that need ranks (rsr), or use a vLLM server",
        )
    return Measured(
        logprobs_T=np.minimum(logprobs_T, 0),
        ranks_T=np.clip(ranks, 1, RANK_CLIP).astype(np.uint8) if ranked else None,
    )


def _logprob(value: float | None) -> float:
    """A log-probability as the server gives it; what only stands in for one is not a number."""
    if value is None:
        return math.nan
    number = float(value)
    return number if _LEAST_LOGPROB < number < _MOST_LOGPROB else math.nan


def open_vllm(settings: StudentSettings) -> VllmEngine:
    """Reach the server that the settings name and find out what it serves.

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
    """A continuation.

    Attributes:
        ids: Its tokens, perhaps with the one that ended it.
        ended: Whether it ended by itself within the limit.
    """

    ids: tuple[int, ...]
    ended: bool


class VllmOfflineEngine:
    """vLLM in this process: it batches by itself, on one card or on several that share each layer.

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
        """What the manifest calls it."""
        return "vllm-offline"

    @property
    def lanes(self) -> int:
        """One."""
        return 1

    def refusal(self, passage: Passage) -> Refusal | None:
        """`too_long` where there is no room for the one token that vLLM has to write."""
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
        """Give the memory back."""
        self._model = None


def _as_served(token: Mapping[int, Any] | None) -> dict[str, dict[str, float | None]]:
    """What was measured at a prompt token, as a server would write it."""
    return {
        str(name): {"logprob": found.logprob, "rank": found.rank}
        for name, found in (token or {}).items()
    }


def open_vllm_offline(
    folder: StudentFolder, settings: StudentSettings, *, dtype: DtypeName
) -> VllmOfflineEngine:
    """Load a student into vLLM in this process.

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
            hint="lower gpu_memory_fraction where other programs use the card, raise "
            "tensor_parallel where the model is too large for it, or set backend to transformers",
        ) from error
    tokens = CPU_TOKENS if settings.batch_tokens == "auto" else settings.batch_tokens
    return VllmOfflineEngine(model, vllm.SamplingParams, max_tokens=longest, batch_tokens=tokens)
