"""Check whether a student's chat template prints what rows with tools contain.

A template that has no place for tools renders such rows without an error: the student then reads
an answer without the tools, calls or results that it depends on. A trainer renders the row in the
same way, so the scores are those of the training, but hardly those that people expect.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tutelage.data import Candidate
from tutelage.errors import DataError
from tutelage.reporting.number_format import count
from tutelage.student import Reads

CHECKED = 50
"""The most candidates with tools whose rendered text is looked at."""


class ToolCheck:
    """Check of the candidates that pass through it on their way to a student.

    Args:
        student: The student that reads them.
    """

    def __init__(self, student: Reads) -> None:
        self._student = student
        self._checked = 0
        self._missing: Counter[str] = Counter()

    def passing(self, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Same candidates; the first ones with tools are looked at."""
        for candidate in candidates:
            if self._checked < CHECKED:
                self._look(candidate)
            yield candidate

    def notes(self) -> list[str]:
        """Sentence on what the template leaves out; empty where it prints everything."""
        parts = [f"{name} (in {rows})" for name, rows in self._missing.items() if rows]
        if not parts:
            return []
        first = count(self._checked, "candidate")
        left_out = f"of the first {first} with tools, the chat template leaves out"
        return [f"{left_out}: {', '.join(parts)}; training with this template leaves them out too"]

    def _look(self, candidate: Candidate) -> None:
        probes, marked = _marked(candidate)
        if not any(probes.values()):
            return
        try:
            text = self._student.context_text(marked)
        except DataError:  # the reading gives it a status with the reason
            return
        self._checked += 1
        for part, words in probes.items():
            self._missing[part] += any(word not in text for word in words)


def _marked(candidate: Candidate) -> tuple[dict[str, list[str]], Candidate]:
    """Words for the tools, calls and results in front of a response, and a copy with only these.

    Without a word of its own, a name that the template prints as a tool would count as its call.
    """
    probes: dict[str, list[str]] = {"tools": [], "calls": [], "results": []}

    def word(part: str) -> str:
        probes[part].append(f"{part}Probe{len(probes[part])}x")
        return probes[part][-1]

    tools = json.loads(candidate.tools) if candidate.tools else []
    for tool in tools:
        if "function" in tool:
            tool["function"]["name"] = word("tools")
    turns = []
    for turn in candidate.messages[:-1]:
        if turn.role == "tool":
            turns.append(replace(turn, content=word("results")))
        elif turn.tool_calls:
            calls = json.loads(turn.tool_calls)
            for call in calls:
                call["function"]["name"] = word("calls")
            turns.append(replace(turn, tool_calls=json.dumps(calls)))
        else:
            turns.append(turn)
    messages = (*turns, *candidate.messages[-1:])
    text = json.dumps(tools) if tools else None
    return probes, replace(candidate, messages=messages, tools=text)
