"""Token heat map: the student's surprisal of each token of a version."""

import threading
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.data import OK, VIEW_NAMES, Candidate, Reading, TokenStats, Unscored
from tutelage.data.schemas import messages_from_arrow
from tutelage.data.token_table import StoredTokens, arrays_of, stored_tokens
from tutelage.errors import DataError, StudentError, TutelageError
from tutelage.pipeline.config import checked
from tutelage.pipeline.resources import Doors, Reader
from tutelage.reporting.blocks import visible
from tutelage.student import StudentSettings
from tutelage.viewer.run_store import Shelf

_SIDES = (
    ("response", "response_given_instruction", "response"),
    ("instruction", "instruction_given_response", "instruction"),
)
COMMAND = "tutelage run CONFIG.yaml   # with  score: {statistics: true}"
"""Hint on how to store token statistics with the run."""

_FIELDS = (*Candidate.__dataclass_fields__,)


class Heat:
    """Token statistics of a run's student for heat maps.

    What the run keeps in statistics.parquet, or the student's cache remembers, is shown without
    loading the student; the rest is read when a person asks for it, one request at a time.

    Args:
        shelf: The opened run.
        doors: How the student is reached; tests put a fake behind them.
    """

    def __init__(self, shelf: Shelf, *, doors: Doors | None = None) -> None:
        self._shelf = shelf
        self._doors = doors or Doors()
        self._lock = threading.Lock()
        self._student: Reader | None = None

    def of(self, example_id: str, candidate_id: str, *, read: bool) -> dict[str, Any]:
        """Heat map of both sides of a version.

        Args:
            example_id: Whose version it is.
            candidate_id: The version.
            read: Let the student read what its cache does not have.

        Returns:
            `status` `ok` with `sides`; `unscored` with a `reason`; or `absent` with what to do.

        Raises:
            DataError: There is no such version.
        """
        candidate, row = self._candidate(example_id, candidate_id)
        if candidate.status != OK:
            return {"status": "unscored", "reason": candidate.status}
        with self._lock:
            try:
                kept = self._kept(candidate_id, row)
                outcome = kept.outcome if kept else self._outcome(candidate, read=read)
            except TutelageError as error:
                hint = f" {error.hint}" if error.hint else ""
                return {"status": "failed", "reason": f"{error}.{hint}", "can_read": False}
        if outcome is None:
            return {
                "status": "absent",
                "can_read": "student" in self._shelf.manifest.get("settings", {}),
                "command": COMMAND,
            }
        if isinstance(outcome, Unscored):
            return {"status": "unscored", "reason": outcome.reason, "detail": outcome.detail}
        texts = {"response": candidate.response, "instruction": candidate.instruction}
        if kept:
            texts |= {name: target.text for name, target in kept.targets.items()}
        return {"status": "ok", "truncated": outcome.truncated, "sides": _sides(texts, outcome)}

    def close(self) -> None:
        """Free the student's memory."""
        with self._lock:
            if self._student is not None:
                self._student.close()
                self._student = None

    def _kept(self, candidate_id: str, row: int | None) -> StoredTokens | None:
        """Stored token statistics; statistics.parquet has the order of the scores."""
        kept = self._shelf.statistics
        if kept is None or row is None or row >= kept.rows:
            return None
        found = next(arrays_of(kept.table(row)))
        return stored_tokens(found) if found["candidate_id"] == candidate_id else None

    def _outcome(self, candidate: Candidate, *, read: bool) -> Reading | Unscored | None:
        student = self._opened()
        if student is None:
            return None
        recall = getattr(student, "recall", None)
        if recall is not None:
            known: Reading | Unscored | None = next(iter(recall([candidate], views=VIEW_NAMES)))
            if known is not None:
                return known
        if not read:
            return None
        return next(iter(student.read([candidate], views=VIEW_NAMES, statistics="full")))

    def _opened(self) -> Reader | None:
        values = self._shelf.manifest.get("settings", {}).get("student")
        if values is None:
            return None
        if self._student is None:
            settings = checked(StudentSettings, values, place=str(self._shelf.run.manifest))
            student = self._doors.open_student(settings)
            scored = self._shelf.meta.student
            if scored is not None and student.fingerprint != scored:
                student.close()
                raise StudentError(
                    f"the student {settings.model} has the fingerprint {student.fingerprint}, "
                    f"the scores are of {scored}",
                    hint="restore the model that the run was scored with",
                )
            self._student = student
        return self._student

    def _candidate(self, example_id: str, candidate_id: str) -> tuple[Candidate, int | None]:
        """A version, and the row of its scores."""
        found = self._shelf.ask(
            "select k, s from ix.c where n = (select n from ix.e where example_id = $id)",
            {"id": example_id},
        )
        rows = self._shelf.candidates.take([k for k, _ in found])
        for row, (_, s) in zip(rows, found, strict=True):
            if row["candidate_id"] == candidate_id:
                values = {name: row[name] for name in _FIELDS}
                text = messages_from_arrow(row["messages"])
                return Candidate(**{**values, "messages": text}), s
        raise DataError(f"example {example_id!r} has no version {candidate_id!r}")


def _sides(texts: Mapping[str, str], reading: Reading) -> dict[str, Any]:
    sides = {}
    starts = {
        "response": reading.response_starts_T,
        "instruction": reading.instruction_starts_T,
    }
    for side, given, alone in _SIDES:
        if not {given, alone} <= set(reading.views):
            continue  # the metrics of that run did not need this side
        stats, before = reading.views[given], reading.views[alone]  # type: ignore[index]
        lead, pieces = pieces_of(texts[side], starts[side], tokens=stats.tokens)
        sides[side] = {
            "lead": lead,
            "tokens": pieces,
            "given": _nats(stats),
            "alone": _nats(before),
            **_more(stats),
        }
    return sides


def _nats(stats: TokenStats) -> list[float]:
    # A token that is certain has -0.0 nats.
    return [round(abs(float(v)), 4) for v in stats.logprobs_T]


def _more(stats: TokenStats) -> dict[str, list[float] | list[int]]:
    more: dict[str, list[float] | list[int]] = {}
    if stats.ranks_T is not None:
        more["rank"] = [int(v) for v in stats.ranks_T]
    if stats.entropies_T is not None:
        more["entropy"] = [round(float(v), 4) for v in stats.entropies_T]
    return more


def pieces_of(
    text: str, starts_T: NDArray[np.int32] | None, *, tokens: int
) -> tuple[str, Sequence[str] | None]:
    """Text cut at the starts of its tokens.

    Args:
        text: The whole target.
        starts_T: Where each token starts, in characters; tokens that share a character share
            its start, and the first of them is shown with it.
        tokens: How many there should be.

    Returns:
        The text before the first token, and each token's text; None where the starts do
        not fit the text, as with several turns that were pooled.

    Examples:
        >>> pieces_of("a red fox", np.array([0, 1, 5], dtype=np.int32), tokens=3)
        ('', ['a', ' red', ' fox'])
    """
    if starts_T is None or len(starts_T) != tokens:
        return "", None
    starts = [int(start) for start in starts_T]
    if any(b < a for a, b in pairwise(starts)) or starts[-1] > len(text):
        return "", None
    pieces = []
    for at, start in enumerate(starts):
        shared = at > 0 and starts[at - 1] == start
        end = next((s for s in starts[at + 1 :] if s > start), len(text))
        pieces.append("" if shared else visible(text[start:end]))
    return visible(text[: starts[0]]), pieces
