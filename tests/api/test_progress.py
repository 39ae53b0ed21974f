"""Who sees how far a function is."""

import io
import sys
import types

import pytest
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TextColumn

import tutelage as tt
from tests.pipeline.fakes import rows
from tutelage.api import options
from tutelage.api.options import in_notebook, told
from tutelage.progress import LiveBars, Silent


class Told(Silent):
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.done = 0
        self.said: list[str] = []

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        del total, unit
        self.stages.append(stage)

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        del note
        self.done += count

    def tell(self, text: str) -> None:
        self.said.append(text)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_progress_of_ones_own_is_told_of_every_row_and_note() -> None:
    mine = Told()
    tt.load([{"instruction": "Name one."}, {"instruction": "Name two."}], progress=mine)
    assert mine.stages == ["load"]
    assert mine.done == 2
    assert any("response" in line for line in mine.said)


@pytest.mark.parametrize("progress", [None, False])
def test_a_script_whose_output_goes_to_a_file_stays_silent(
    *, progress: bool | None, capsys: pytest.CaptureFixture[str]
) -> None:
    tt.load(rows(2), progress=progress)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_bars_are_shown_where_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    tt.load(rows(2), progress=True)
    shown = capsys.readouterr()
    assert "load" in shown.err
    assert shown.out == ""


def test_a_terminal_shows_bars_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with told(None) as progress:
        assert isinstance(progress, LiveBars)
    with told(False) as progress:
        assert isinstance(progress, Silent)


def test_a_notebook_is_told_from_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = types.ModuleType("IPython")
    monkeypatch.setitem(sys.modules, "IPython", shell)
    for name, is_notebook in (("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False)):
        found = type(name, (), {})()
        shell.get_ipython = lambda found=found: found  # type: ignore[attr-defined]
        assert in_notebook() is is_notebook
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_bars_show_no_markup_and_no_escapes_of_the_data() -> None:
    file = Terminal()
    bars = Bars(
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(file=file, width=100),
    )
    with bars:
        live = LiveBars(bars)
        live.advance()  # before a stage begins nothing happens
        live.begin("score", total=None, unit="rows")
        live.advance(3, note="[red]evil[/red]\x1b[2J")
        live.tell("note: \x1b]0;title\x07[bold]x[/bold]")
        live.end()
    shown = file.getvalue()
    assert "[red]evil[/red]\\x1b[2J" in shown
    assert "[bold]x[/bold]" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b]0;" not in shown
    assert bars.tasks[0].total == bars.tasks[0].completed == 3


def test_a_notebook_without_widgets_gets_a_line_for_each_stage(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    lines: list[list[str]] = []

    class Line:
        def __init__(self, text: str) -> None:
            self.texts = [text]
            lines.append(self.texts)

        def update(self, content: dict[str, str], *, raw: bool) -> None:
            assert raw
            self.texts.append(content["text/plain"])

    def display(content: dict[str, str], *, raw: bool, display_id: bool = False) -> Line:
        assert raw or display_id
        return Line(content["text/plain"])

    shown = types.ModuleType("IPython.display")
    shown.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr(options, "in_notebook", lambda: True)
    monkeypatch.setattr(options, "find_spec", lambda _: None)
    with told(None) as progress:
        progress.begin("score\x1b[2J", total=3, unit="texts")
        progress.advance(2, note="well")
        progress.tell("note: one")
        progress.end()
    assert lines[0][0] == "score\\x1b[2J: 0 of 3 texts"
    assert lines[0][-1].startswith("score\\x1b[2J: 2 of 2 texts, ")
    assert lines[0][-1].endswith(", well")
    assert lines[1] == ["note: one"]
    assert not recwarn.list
