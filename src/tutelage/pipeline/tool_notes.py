"""Check whether a student's chat template prints what rows with tools contain.

A template that has no place for tools renders such rows without an error: the student then reads
an answer without the tools, calls or results that it depends on. A trainer renders the row in the
same way, so the scores are those of the training, but hardly those that people expect.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from tutelage.data import Candidate
from tutelage.errors import DataError
from tutelage.reporting.number_format import count

CHECKED = 50
"""The most candidates with tools whose rendered text is looked at."""

_WORDS = re.compile(r"\w+")


class ToolCheck:
    """Check of the candidates that pass through it on their way to a student.

    Args:
        student: The student that reads them; one that renders no text is not asked.
    """

    def __init__(self, student: object) -> None:
        self._context_text = getattr(student, "context_text", None)
        self._checked = 0
        self._missing: Counter[str] = Counter()

    def passing(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Same candidates; the first ones with tools are looked at."""
        for candidate in candidates:
            if self._context_text is not None and self._checked < CHECKED:
                self._look(candidate)
            yield candidate

    def notes(self) -> list[str]:
        """Sentence on what the template leaves out; empty where it prints everything."""
        if not self._missing:
            return []
        parts = [f"{name} ({rows})" for name, rows in self._missing.items()]
        first = count(self._checked, "candidate")
        left_out = f"of the first {first} with tools, the chat template leaves out"
        return [f"{left_out}: {', '.join(parts)}; training with this template leaves them out too"]

    def _look(self, candidate: Candidate) -> None:
        wanted = _wanted(candidate)
        if not wanted:
            return
        try:
            text = self._context_text(candidate)  # type: ignore[misc]
        except DataError:  # the reading gives it a status with the reason
            return
        self._checked += 1
        self._missing.update(name for name, words in wanted.items() if not words <= _words(text))


def _wanted(candidate: Candidate) -> dict[str, set[str]]:
    """Words of each kind of part that stand in front of the response."""
    front = candidate.messages[:-1]
    tools = json.loads(candidate.tools) if candidate.tools else []
    names = [tool["function"]["name"] for tool in tools if "function" in tool]
    calls = [call for m in front if m.tool_calls for call in json.loads(m.tool_calls)]
    called = [call["function"]["name"] for call in calls]
    results = [_longest(m.content) for m in front if m.role == "tool"]
    found = {"tools": names, "calls": called, "results": results}
    return {name: words for name, texts in found.items() if (words := _words(" ".join(texts)))}


def _words(text: str) -> set[str]:
    return set(_WORDS.findall(text))


def _longest(text: str) -> str:
    """Longest word: templates may quote or escape what stands around it."""
    return max(_WORDS.findall(text), key=len, default="")
