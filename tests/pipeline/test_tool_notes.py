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
        {"role": "user", "content": "How warm is Oslo?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"name": "thermometer", "arguments": {"city": "Oslo"}}],
        },
        {"role": "tool", "content": '{"degrees_celsius": 4}'},
        {"role": "assistant", "content": "4 degrees."},
    ],
    "tools": [{"name": "thermometer", "description": "Warmth."}, {"name": "clock"}],
}
PLAIN = {"instruction": "Say hello.", "response": "Hello."}


@dataclass
class Template:
    """A student of which only the rendered text counts."""

    text: str

    def context_text(self, _candidate: Candidate) -> str:
        if not self.text:
            raise DataError("refused")
        return self.text


def notes(text: str, *rows: dict) -> list[str]:
    candidates = [row.candidates[-1] for row in read(list(rows))]
    check = ToolCheck(Template(text))
    assert list(check.passing(candidates)) == candidates
    return check.notes()


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("thermometer clock user: ... thermometer(Oslo) {degrees_celsius: 4}", ""),
        ("How warm is Oslo?", "tools (1), calls (1), results (1)"),
        ("thermometer clock How warm is Oslo?", "results (1)"),
        ("thermometer How warm is Oslo? degrees_celsius", "tools (1)"),
    ],
)
def test_what_the_template_leaves_out_is_said(text: str, missing: str) -> None:
    found = notes(text, PLAIN, ROW)
    if not missing:
        assert found == []
        return
    (note,) = found
    assert f"of the first 1 candidate with tools, the chat template leaves out: {missing};" in note


def test_rows_without_tools_and_rows_that_are_refused_say_nothing() -> None:
    assert notes("nothing", PLAIN) == []
    assert notes("", ROW) == []
    check = ToolCheck(object())
    assert list(check.passing([])) == []
    assert check.notes() == []


def test_only_the_first_rows_with_tools_are_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_notes, "CHECKED", 2)
    rows = [json.loads(json.dumps(ROW).replace("warm", f"warm at {n}")) for n in range(5)]
    (note,) = notes("How warm", *rows)
    assert "tools (2)" in note
