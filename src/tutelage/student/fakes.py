"""Student without a model, for tests that only need token statistics."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Self, TypeAlias

import numpy as np

from tutelage.data import (
    END_VIEW,
    RANK_CLIP,
    VIEW_NAMES,
    Candidate,
    Reading,
    ReadingOutcome,
    TargetTokens,
    TokenStats,
    Unscored,
    ViewName,
    content_hash,
)
from tutelage.student.config import Statistics
from tutelage.student.passages import SideName
from tutelage.student.student import TextPair
from tutelage.student.views import blank_reason

MeanNats: TypeAlias = Callable[[Candidate, ViewName], float]
"""Function type: mean negative log-likelihood of a view, in nats per token, at least 0."""


VOCABULARY_TOKENS = 3000
"""Vocabulary size, above exp(8), so that no token is more surprising than a uniform guess."""


class TableStudent:
    """Student whose token statistics come from a table or from a function of the text.

    A token is a word. Without an entry, each token's surprise is a hash of view, word and text
    between 0 and 8 nats, so that equal texts get equal numbers and others hardly ever.

    Args:
        table: By candidate id: an outcome's reason (text), or the mean nats of views.
        mean_nats: Used where the table has nothing; None for the hash.
        name: Goes into the fingerprint, so that two students differ.
    """

    def __init__(
        self,
        table: Mapping[str, str | Mapping[ViewName, float]] | None = None,
        *,
        mean_nats: MeanNats | None = None,
        name: str = "table",
    ) -> None:
        self._table = dict(table or {})
        self._mean_nats = mean_nats
        self._name = name
        self.candidates_read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fingerprint(self) -> str:
        """Content hash of the student's name."""
        return content_hash("table student", self._name)

    def describe(self) -> Mapping[str, object]:
        """Description of the student for a manifest."""
        return {
            "model": self._name,
            "fingerprint": self.fingerprint,
            "model_type": "table",
            "dtype": "float32",
            "device": "cpu",
            "template": "none",
            "template_digest": content_hash("no template"),
            "backend": "table",
            "engine": "table",
            "max_length": 8192,
            "versions": {},
        }

    @property
    def measures(self) -> Statistics:
        """Most detailed statistics: always `full`."""
        return "full"

    def context_text(self, candidate: Candidate) -> str:
        """Instruction and a line break: there is no template."""
        return f"{candidate.instruction}\n"

    def response_text(self, candidate: Candidate) -> str:
        """Last response: other turns are not read."""
        return candidate.response

    def last_response_text(self, candidate: Candidate) -> str:
        """Last response: there is no template."""
        return candidate.response

    def targets(self, candidate: Candidate, side: SideName) -> TargetTokens:
        """Words with hashed ids."""
        text = candidate.response if side == "response" else candidate.instruction
        words = list(re.finditer(r"\S+", text))
        ids = [_hash(word.group()) % VOCABULARY_TOKENS for word in words]
        return TargetTokens(
            text=text,
            ids_T=np.array(ids, dtype=np.int32),
            starts_T=np.array([word.start() for word in words], dtype=np.int32),
        )

    def close(self) -> None:
        """Do nothing: there is no model."""

    def read(
        self,
        candidates: Iterable[Candidate],
        *,
        views: Collection[ViewName],
        statistics: Statistics = "nll",
    ) -> Iterator[ReadingOutcome]:
        """Yield one outcome for each candidate, in the order given.

        Args:
            candidates: The candidates.
            views: The views to read.
            statistics: Ignored: a table has all of them.
        """
        for candidate in candidates:
            self.candidates_read += 1
            yield self._outcome(candidate, views=views, full=statistics != "nll")

    def tokens_to_read(
        self, candidates: Iterable[Candidate], *, views: Collection[ViewName]
    ) -> Iterator[int]:
        """Words of each candidate's texts, those of the context included where a view has one."""
        for candidate in candidates:
            count = 0
            if blank_reason(candidate) is None:
                response, instruction = candidate.response.split(), candidate.instruction.split()
                for view in views:
                    if view == END_VIEW:
                        count += 1
                        continue
                    own = response if view.startswith("response") else instruction
                    count += len(response) + len(instruction) if "_given_" in view else len(own)
            yield count

    def recall(
        self, candidates: Iterable[Candidate], *, views: Collection[ViewName]
    ) -> Iterator[ReadingOutcome | None]:
        """Yield the same as `read` with all statistics, as if everything were cached."""
        return self.read(candidates, views=views, statistics="full")

    def read_pairs(self, pairs: Iterable[TextPair]) -> Iterator[TokenStats | Unscored]:
        """Yield one outcome for each pair, in the order given."""
        for pair in pairs:
            words = pair.target.split()
            if not words:
                yield Unscored(candidate_id=pair.pair_id, reason="no_target_tokens")
                continue
            nats_T = _hashed_nats(words, f"pair {pair.context}")
            yield _stats(nats_T, full=False)

    def _outcome(
        self, candidate: Candidate, *, views: Collection[ViewName], full: bool
    ) -> ReadingOutcome:
        blank = blank_reason(candidate)
        if blank is not None:
            return blank
        entry = self._table.get(candidate.candidate_id)
        if isinstance(entry, str):
            return Unscored(candidate_id=candidate.candidate_id, reason=entry)
        return Reading(
            candidate_id=candidate.candidate_id,
            views={
                view: _stats(self._nats(candidate, view, entry or {}), full=full)
                for view in (*VIEW_NAMES, END_VIEW)
                if view in views
            },
            response_starts_T=_word_starts(candidate.response),
            instruction_starts_T=_word_starts(candidate.instruction),
            vocabulary_tokens=VOCABULARY_TOKENS,
        )

    def _nats(
        self, candidate: Candidate, view: ViewName, entry: Mapping[ViewName, float]
    ) -> np.ndarray:
        if view == END_VIEW:
            return _hashed_nats(["end"], f"{view} {candidate.response}")
        of_response = view in {"response", "response_given_instruction"}
        words = (candidate.response if of_response else candidate.instruction).split()
        if view in entry:
            return np.full(len(words), entry[view], dtype=np.float32)
        if self._mean_nats is not None:
            return np.full(len(words), self._mean_nats(candidate, view), dtype=np.float32)
        other = candidate.instruction if of_response else candidate.response
        return _hashed_nats(words, f"{view} {other if view.count('_given_') else ''}")


def _word_starts(text: str) -> np.ndarray:
    return np.array([word.start() for word in re.finditer(r"\S+", text)], dtype=np.int32)


def _hashed_nats(words: list[str], salt: str) -> np.ndarray:
    nats = []
    for position, word in enumerate(words):
        nats.append(8 * _hash(f"{salt} {position} {word}") / 65536)
    return np.array(nats, dtype=np.float32)


def _hash(text: str) -> int:
    """Hash in [0, 65536)."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=2).digest()
    return int.from_bytes(digest, "little")


def _stats(nats_T: np.ndarray, *, full: bool) -> TokenStats:
    """Statistics of a uniform distribution over exp(nats) tokens."""
    if not full:
        return TokenStats(logprobs_T=-nats_T)
    return TokenStats(
        logprobs_T=-nats_T,
        ranks_T=np.clip(np.exp(nats_T), 1, RANK_CLIP).astype(np.uint8),
        entropies_T=nats_T.copy(),
        sum_squares_T=np.exp(-nats_T),
    )
