"""What a log file says of a stage that takes long."""

import pytest

from tutelage.cli import showing


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(showing, "monotonic", made)
    return made


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_what_an_earlier_start_finished_is_no_pace(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with showing.shown_progress() as progress:
        progress.begin("prove", total=38, unit="cells")
        progress.advance(30)
        for _ in range(3):
            clock.now += 80
            progress.advance()
    assert said(capsys) == [
        "prove: 31 of 38 cells, 80.0 s",
        "prove: 32 of 38 cells, 80.0 s each, 160.0 s, 480 s left",
        "prove: 33 of 38 cells, 80.0 s each, 240.0 s, 400 s left",
    ]


def test_what_is_left_follows_the_pace_of_late(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with showing.shown_progress() as progress:
        progress.begin("refine", total=10_000, unit="reflections")
        for step in range(200):
            clock.now += 1
            progress.advance(100 if step < 50 else 2)
        clock.now += 1
        progress.end(note="$0.10")
    lines = said(capsys)
    assert "100.0/s, 15.0 s, 85 s left" in lines[0]
    assert "2.0/s, 195.0 s, 2,355 s left" in lines[-2]
    assert lines[-1] == "refine: 5,300 of 10,000 reflections, 26.4/s, 201.0 s, $0.10"


def test_a_stage_without_a_total_or_a_unit_done_says_so_much(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with showing.shown_progress() as progress:
        progress.begin("load", total=None, unit="rows")
        progress.end()
        progress.begin("load", total=None, unit="rows")
        clock.now += 16
        progress.advance(48)
        clock.now += 16
        progress.advance(48)
    assert said(capsys) == [
        "load: 0 rows, 0.0 s",
        "load: 48 rows, 16.0 s",
        "load: 96 rows, 3.0/s, 32.0 s",
    ]


def test_a_first_batch_that_comes_late_promises_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with showing.shown_progress() as progress:
        progress.begin("score", total=202, unit="candidates")
        clock.now += 27
        for _ in range(202):
            progress.advance()
        progress.end()
    assert said(capsys) == [
        "score: 1 of 202 candidates, 27.0 s",
        "score: 202 of 202 candidates, 7.5/s, 27.0 s",
    ]
