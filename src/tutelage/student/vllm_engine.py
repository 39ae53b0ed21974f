"""Reads through the prompt log-probabilities of a vLLM server: token ids out, numbers back.

The server gives each prompt token's log-probability and its rank, not the distribution: entropies
and sums of squares cannot be had.
"""

from collections.abc import Sequence

import numpy as np

from tutelage.data import RANK_CLIP
from tutelage.errors import StudentError
from tutelage.student.passage import Measured, Passage
from tutelage.student.vllm_client import Served, VllmClient

_BUDGETS_A_REQUEST = 16
"""A server packs what it is given by itself, so a request holds many batches."""


class VllmEngine:
    """A model in another process, perhaps on another machine.

    Args:
        client: Reaches it.
        served: What it serves.
        batch_tokens: A sixteenth of the tokens that are sent at once.
    """

    def __init__(self, client: VllmClient, served: Served, *, batch_tokens: int) -> None:
        self._client = client
        self._served = served
        self._tokens = batch_tokens * _BUDGETS_A_REQUEST

    @property
    def name(self) -> str:
        """What the manifest calls it."""
        return "vllm"

    @property
    def lanes(self) -> int:
        """One: the server divides a request itself."""
        return 1

    def plan(self, passages: Sequence[Passage]) -> list[list[int]]:
        """Requests of passages of like lengths, the longest first.

        Raises:
            StudentError: A passage is longer than the server takes.
        """
        order = sorted(range(len(passages)), key=lambda i: (-len(passages[i].ids_T), i))
        self._check_length(len(passages[order[0]].ids_T) if order else 0)
        batches: list[list[int]] = []
        spent = 0
        for index in order:
            tokens = len(passages[index].ids_T)
            if not batches or spent + tokens > self._tokens:
                batches.append([])
                spent = 0
            batches[-1].append(index)
            spent += tokens
        return batches

    def read(self, passages: Sequence[Passage], *, full: bool) -> list[Measured]:  # noqa: ARG002
        """Read one batch, in the order given; ranks are always measured.

        Raises:
            StudentError: The server does not give what is needed.
        """
        prompts = [passage.ids_T.tolist() for passage in passages]
        found = self._client.prompt_logprobs(prompts, model=self._served.name)
        return [self._measured(p, tokens) for p, tokens in zip(passages, found, strict=True)]

    def close(self) -> None:
        """Nothing to give back: the server goes on."""

    def _check_length(self, tokens: int) -> None:
        limit = self._served.max_tokens
        if limit is not None and tokens >= limit:
            raise StudentError(
                f"{self._client.base_url}: a text has {tokens} tokens, the server takes "
                f"{limit - 1} and one more",
                hint=f"--max-length {limit - 1}, or start it with --max-model-len {tokens + 1}",
            )

    def _measured(
        self, passage: Passage, tokens: Sequence[dict[str, dict[str, float]]]
    ) -> Measured:
        start = passage.target_start
        try:
            own = [
                token[str(name)]
                for token, name in zip(tokens[start:], passage.ids_T[start:].tolist(), strict=True)
            ]
            logprobs = [float(entry["logprob"]) for entry in own]
            ranks = [int(entry["rank"]) for entry in own]
        except (KeyError, TypeError, ValueError) as error:
            raise StudentError(
                f"{self._client.base_url}: measured other tokens than it was sent: {error!r}",
                hint="does it serve the model, and the tokenizer, that the setting `model` names?",
            ) from error
        return Measured(
            logprobs_T=np.minimum(np.array(logprobs, dtype=np.float32), 0),
            ranks_T=np.clip(ranks, 1, RANK_CLIP).astype(np.uint8),
        )


def open_vllm(base_url: str, *, batch_tokens: int) -> VllmEngine:
    """Reach a server and find out what it serves.

    Raises:
        StudentError: It cannot be reached.
    """
    client = VllmClient(base_url)
    return VllmEngine(client, client.served(), batch_tokens=batch_tokens)
