"""Notes on chat templates that leave out tools, calls or results."""

import json
from dataclasses import dataclass

import pytest

from tutelage.data import Candidate, read
from tutelage.errors import DataError
from tutelage.pipeline import tool_notes
from tutelage.pipeline.tool_notes import ToolCheck

ROW = {
    "messages": [
        {"role": "user", "content": "Say thermometer and clock: how warm is Oslo?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"name": "thermometer", "arguments": {"city": "Oslo"}}],
        },
        {"role": "tool", "content": "ok\nThermometer\t4\n"},
        {"role": "assistant", "content": "4 degrees."},
    ],
    "tools": [{"name": "thermometer", "description": "Warmth."}, {"name": "clock"}],
}
PLAIN = {"instruction": "Say hello.", "response": "Hello."}


@dataclass
class Template:
    """A student of which only the rendered text counts: it prints the named parts."""

    parts: str

    def context_text(self, candidate: Candidate) -> str:
        if self.parts == "refuse":
            raise DataError("refused")
        turns = candidate.messages[:-1]
        said = [turn.content for turn in turns if turn.role == "user"]
        if "tools" in self.parts:
            said.append(candidate.tools or "")
        if "calls" in self.parts:
            said += [turn.tool_calls or "" for turn in turns]
        if "results" in self.parts:
            said += [json.dumps(turn.content) for turn in turns if turn.role == "tool"]
        return "\n".join(said)


def notes(parts: str, *rows: dict) -> list[str]:
    candidates = [row.candidates[-1] for row in read(list(rows))]
    check = ToolCheck(Template(parts))
    assert list(check.passing(candidates)) == candidates
    return check.notes()


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ("tools calls results", ""),
        ("", "tools (in 1), calls (in 1), results (in 1)"),
        ("tools results", "calls (in 1)"),
        ("calls results", "tools (in 1)"),
        ("tools calls", "results (in 1)"),
    ],
)
def test_what_the_template_leaves_out_is_said(parts: str, missing: str) -> None:
    found = notes(parts, PLAIN, ROW)
    if not missing:
        assert found == []
        return
    (note,) = found
    assert f"of the first 1 candidate with tools, the chat template leaves out: {missing};" in note


def test_rows_without_tools_and_rows_that_are_refused_say_nothing() -> None:
    assert notes("", PLAIN) == []
    assert notes("refuse", ROW) == []


def test_only_the_first_rows_with_tools_are_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_notes, "CHECKED", 2)
    rows = [json.loads(json.dumps(ROW).replace("warm", f"warm at {n}")) for n in range(5)]
    (note,) = notes("calls", *rows)
    assert "tools (in 2)" in note
