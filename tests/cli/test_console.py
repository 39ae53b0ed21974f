"""What a log file says of a stage that takes long."""

import io
import threading
from threading import Event

import pytest
from click.testing import CliRunner

from tutelage.cli import main, output
from tutelage.progress import LiveBars, live_bars


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(output, "monotonic", made)
    monkeypatch.setattr(output, "BEAT_SECONDS", 1e6)  # no beat of its own in a test
    return made


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_what_an_earlier_start_finished_is_no_pace(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with output.shown_progress() as progress:
        progress.begin("prove", total=38, unit="cells")
        progress.advance(30)
        for _ in range(3):
            clock.now += 80
            progress.advance()
    assert said(capsys) == [
        "prove: 38 cells",
        "prove: 31 of 38 cells, 80.0 s",
        "prove: 32 of 38 cells, 80.0 s each, 160.0 s, 480 s left",
        "prove: 33 of 38 cells, 80.0 s each, 240.0 s, 400 s left",
    ]


def test_what_is_left_follows_the_pace_of_late(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with output.shown_progress() as progress:
        progress.begin("refine", total=10_000, unit="reflections")
        for step in range(200):
            clock.now += 1
            progress.advance(100 if step < 50 else 2)
        clock.now += 1
        progress.end(note="$0.10")
    lines = said(capsys)
    assert lines[0] == "refine: 10,000 reflections"
    assert "100.0/s, 10.0 s, 90 s left" in lines[1]
    assert "2.0/s, 200.0 s, 2,350 s left" in lines[-2]
    assert lines[-1] == "refine: 5,300 of 10,000 reflections, 26.4/s, 201.0 s, $0.10"


def test_a_stage_without_a_total_or_a_unit_done_says_so_much(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with output.shown_progress() as progress:
        progress.begin("load", total=None, unit="rows")
        progress.end()
        progress.begin("load", total=None, unit="rows")
        clock.now += 16
        progress.advance(48)
        clock.now += 16
        progress.advance(48)
    assert said(capsys) == [
        "load: reading rows",
        "load: 0 rows, 0.0 s",
        "load: reading rows",
        "load: 48 rows, 16.0 s",
        "load: 96 rows, 3.0/s, 32.0 s",
    ]


def test_a_first_batch_that_comes_late_promises_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with output.shown_progress() as progress:
        progress.begin("score", total=202, unit="candidates")
        clock.now += 27
        for _ in range(202):
            progress.advance()
        progress.end()
    assert said(capsys) == [
        "score: 202 candidates",
        "score: 1 of 202 candidates, 27.0 s",
        "score: 202 of 202 candidates, 7.5/s, 27.0 s",
    ]


def test_a_long_batch_is_no_silence(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = output._Lines()
    lines.begin("score", total=400, unit="candidates")
    clock.now += 4
    output.BEAT_SECONDS, before = 5.0, output.BEAT_SECONDS
    try:
        lines.beat()
        clock.now += 2
        lines.beat()
        lines.beat()
        lines.end()
        clock.now += 60
        lines.beat()
    finally:
        output.BEAT_SECONDS = before
    assert said(capsys) == [
        "score: 400 candidates",
        "score: 0 of 400 candidates, 6.0 s",
        "score: 0 of 400 candidates, 6.0 s",
        "score finished, preparing the next step, 60 s",
    ]


def test_the_start_of_a_command_is_no_silence(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "BEAT_SECONDS", 5.0)
    lines = output._Lines()
    clock.now += 3
    lines.beat()
    clock.now += 4
    lines.beat()
    lines.begin("load", total=1, unit="rows")
    assert said(capsys) == ["starting, 7 s", "load: 1 row"]


def test_a_bar_of_its_own_shows_that_no_stage_is_at_work() -> None:
    bars = live_bars(stderr=True)
    live = LiveBars(bars)

    def shown() -> list[str]:
        return [task.description for task in bars.tasks]

    live.beat()
    assert shown() == []
    live.beat()
    assert shown() == ["starting"]
    live.begin("load", total=1, unit="rows")
    live.beat()
    live.beat()
    assert shown() == ["load"]
    live.end()
    live.beat()
    live.beat()
    live.beat()
    assert shown() == ["load", "load finished, preparing the next step"]
    live.rest()
    assert shown() == ["load"]


def test_a_log_file_is_looked_after_by_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beaten = Event()
    monkeypatch.setattr(output, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(output._Lines, "beat", lambda _: beaten.set())
    with output.shown_progress():
        assert beaten.wait(30)


def test_what_is_told_has_no_control_characters(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with output.shown_progress() as progress:
        progress.tell("m\x1b[2J: busy\nhint: \u202eno")
        progress.begin("ask \x9b31m", total=2, unit="rows\r")
        progress.advance(note="\x07paid")
        progress.end()
    err = capsys.readouterr().err
    assert not [c for c in err if c != "\n" and not c.isprintable()]
    assert "m\\x1b[2J: busy\\nhint: \\u202eno" in err


def test_the_live_bars_show_escapes_and_no_markup() -> None:
    screen = io.StringIO()
    bars = live_bars(stderr=True)
    bars.console.file = screen
    live = LiveBars(bars)
    live.begin("ask \x1b]0;OWNED\x07", total=1, unit="rows")
    live.advance(note="[/red] \x9b31m")
    live.tell("m: [bold]\x1b[2J")
    live.end(note="\u202eend [/x]")
    bars.refresh()
    shown = [column for task in bars.tasks for column in bars.columns for column in [column(task)]]
    text = screen.getvalue() + " ".join(str(cell) for cell in shown)
    assert not set("\x07\x9b\u202e") & set(text)
    assert "[bold]" in text


def test_nothing_is_prepared_while_the_viewer_waits_for_its_reader(tmp_path, monkeypatch):
    pytest.importorskip("starlette")
    alive = []

    def serve(run, *, opened, **_others):
        for _ in range(2):
            alive.append(any(t.name == "tutelage-progress" for t in threading.enumerate()))
            opened("http://127.0.0.1:1/?token=x")

    monkeypatch.setattr("tutelage.viewer.serve", serve)
    result = CliRunner().invoke(main, ["view", str(tmp_path), "--no-browser"])
    assert result.exit_code == 0, result.output
    assert alive == [True, False]
