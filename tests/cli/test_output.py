"""What every command prints: text for people, JSON for programs, and how much."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.cli import main, output
from tutelage.cli.command_group import SECTIONS
from tutelage.cli.output import Table, rendered, show_result
from tutelage.cli.summaries import (
    delta_text,
    export_text,
    run_text,
    sample_text,
    score_text,
    select_text,
)
from tutelage.pipeline import run_all
from tutelage.progress import Silent

NASTY = "\x1b[2J\u202eevil [bold]x[/bold] :smile:"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    data = write_rows(folder / "data.jsonl", rows(4))
    run_all(settings(data, folder / "run"), progress=Silent(), doors=doors(), with_page=False)
    return folder / "run"


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path


@pytest.mark.parametrize("path", list(leaves(main)), ids=" ".join)
def test_every_command_has_the_same_output_flags(path: tuple[str, ...]) -> None:
    shown = call(*path, "--help").stdout
    for flag in ("--json ", "-v, --verbose ", "-q, --quiet "):
        assert shown.count(flag) == 1, flag
    assert "Print the result as JSON, for programs." in shown


def test_a_result_is_text_and_with_json_the_facts(run: Path) -> None:
    shown = call("select", run)
    assert shown.exit_code == 0, shown.stderr
    assert not shown.stdout.lstrip().startswith("{")
    assert "of 4 examples kept" in shown.stdout
    assert json.loads(call("select", run, "--json").stdout)["examples"] == 4
    assert json.loads(call("--json", "select", run).stdout)["examples"] == 4


def test_a_result_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show_result({"a": 1}, text=lambda _: ["one"])
    assert capsys.readouterr() == ("one\n", "")


def test_explain_gives_programs_the_candidates_with_their_scores(run: Path) -> None:
    found = json.loads(call("explain", run, "row:0", "--json").stdout)
    assert found["example"]["row"] == 0
    assert found["decision"]["kept"] == bool(found["chosen"])
    steps = {c["step"]: c for c in found["candidates"]}
    assert steps["original"]["scores"]["status"] == "ok"
    assert set(found["chosen"]) <= {c["candidate_id"] for c in found["candidates"]}
    assert found["overruled"] is None
    assert call("explain", run, "row:99", "--json").exit_code == 1


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_leaves_the_result_and_errors(run: Path, place: str) -> None:
    words = ("-q", "select", run) if place == "before" else ("select", run, "--quiet")
    done = call(*words)
    assert "examples kept" in done.stdout
    assert done.stderr == ""
    failed = call("select", run / "no", "-q")
    assert failed.exit_code == 1
    assert failed.stderr.startswith("Error: ")


def test_verbose_prints_every_value_and_keeps_the_last_line(run: Path, tmp_path: Path) -> None:
    words = ("export", run, "--to", "trl", "--out", tmp_path / "t.jsonl")
    plain, verbose = call(*words).stdout, call(*words, "-v").stdout
    assert "All values" not in plain
    assert "All values" in verbose
    assert plain.splitlines()[-1] == verbose.splitlines()[-1] == f"File: {tmp_path / 't.jsonl'}"
    failed = call("select", run / "no", "-v")
    assert failed.exit_code == 1
    assert "Traceback" in failed.stderr
    assert failed.stderr.splitlines()[-2].startswith("Error: ")


def test_verbose_shows_the_log_and_quiet_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def logs() -> None:
        logging.getLogger("tutelage.test").debug("detail %s", NASTY)
        logging.getLogger("tutelage.test").warning("careful")

    output.add_output_flags(logs)
    monkeypatch.setitem(main.commands, "logs", logs)
    logger = logging.getLogger("tutelage")
    before = (logger.level, list(logger.handlers))
    assert "debug: detail \\x1b[2J" in call("logs", "-v").stderr
    assert "careful" not in call("logs", "-q").stderr
    assert (logger.level, list(logger.handlers)) == before


def test_verbose_and_quiet_exclude_each_other(run: Path) -> None:
    for words in (("select", run, "-v", "-q"), ("-q", "select", run, "-v")):
        refused = call(*words)
        assert refused.exit_code == 2
        assert "-v or -q" in refused.stderr


@pytest.mark.parametrize("to", ["trl", "axolotl", "llamafactory", "alpaca", "sharegpt"])
def test_a_snippet_can_be_pasted_as_printed(run: Path, tmp_path: Path, to: str) -> None:
    words = ("export", run, "--to", to, "--out", tmp_path / "t.jsonl")
    snippet = json.loads(call(*words, "--json").stdout)["snippet"]
    shown = call(*words).stdout
    assert f"\n\n{snippet.rstrip()}\n\n" in shown
    assert "\\n" not in shown
    if to == "trl":
        compile(snippet, "snippet", "exec")


def test_every_command_is_in_a_section_and_its_summary_fits_a_line() -> None:
    placed = [name for names in SECTIONS.values() for name in names]
    assert len(placed) == len(set(placed))
    assert set(main.commands) <= set(placed)
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80).stdout
    assert "Other:" not in shown
    listed = shown.partition("\nStart:")[2].splitlines()
    for name in main.commands:
        (line,) = [line for line in listed if line.split()[:1] == [name]]
        assert line.endswith((".", "?")), line
        assert not line.endswith("..."), line
    order = [shown.index(f"\n{title}:\n") for title in SECTIONS]
    assert order == sorted(order)


def test_a_command_without_a_section_is_still_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main.commands, "extra", click.Command("extra", help="Do more."))
    assert "Other:\n  extra" in call("--help").stdout


def test_a_table_shows_all_of_a_cell_and_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "word" * 30
    text = rendered(Table(title=NASTY, columns=("name", "count"), rows=((NASTY, 1), (long, None))))
    assert "[bold]" in text
    assert ":smile:" in text
    assert not [c for c in text if c != "\n" and not c.isprintable()]
    assert text.count("word") >= 26  # a word may be broken at the border
    assert "".join(text.split()).count("w") >= 30
    assert all(len(line) <= 40 for line in text.splitlines())


# What the sentences say where there is little or nothing to say.

LOAD = {"rows": 0, "examples": 0, "rows_by_status": {}, "candidates_by_step": {}}
NO_TEACHER = {"teacher_candidates": {}, "teacher": {}}
SELECT: dict[str, Any] = {
    "examples": 0, "kept": 0, "rows_kept": 0, "gated": {}, "reasons": {}, "steps_kept": {},
    "rule": {"rule": "srt", "mode": "safe"},
}  # fmt: skip


def said(blocks: Any) -> str:
    return output.joined(blocks)


def test_an_empty_run_claims_nothing() -> None:
    found = {
        "load": LOAD, "refine": NO_TEACHER, "score": {"scores_by_status": {}}, "select": SELECT,
        "run": "r", "report": "",
    }  # fmt: skip
    assert said(run_text(found)).splitlines() == [
        "Rows: 0 read, 0 examples.",
        "Student: 0 candidates scored.",
        "Choice: 0 of 0 examples kept.",
        "Run folder: r",
    ]


def test_one_of_a_kind_is_singular_and_nothing_kept_is_said() -> None:
    one = SELECT | {"examples": 1, "reasons": {"ifd_not_below_1": 1}}
    text = said(select_text(one, run=Path("r")))
    assert "0 of 1 example kept." in text
    assert "ifd_not_below_1" in text
    scored = {"by_status": {"too_long": 1}, "student": {"model": "m"}, "out": "s.parquet"}
    text = said(score_text(scored))
    assert "Scored 0 of 1 row with m." in text
    assert "too_long" in text
    table = {"rows": 1, "file": "f", "to": "trl", "set": "selected", "snippet": "x\n", "card": "c"}
    assert "Wrote 1 row of" in said(export_text(table | {"notes": []}))


def test_a_teacher_that_answered_nothing_is_not_called_usable() -> None:
    paid = {"answered": 0, "from_journal": 0, "cost": 0.0, "currency": None}
    sampled = {"statuses": {"teacher_failed": 4}, "teacher": paid}
    text = said(sample_text({"load": LOAD, "sample": sampled, "run": "r"}))
    assert "0 of 4 responses usable" in text
    assert "teacher_failed" in text
    assert "cost" not in text


def test_a_difference_of_zero_is_not_called_an_improvement() -> None:
    found = {
        "mean_delta_loss": 0.0, "interval_95": [-0.1, 0.1], "share_likelier": 0.0, "examples": 2,
        "by_status": {"ok": 2, "too_long": 2},
    }  # fmt: skip
    text = said(delta_text(found))
    assert "95 % CI -0.1000 to +0.1000; 2 candidates of 2 examples" in text
    assert "too_long" in text
    one = found | {"interval_95": None, "examples": 1, "by_status": {"ok": 1}}
    assert "(no interval; 1 candidate of 1 example)" in said(delta_text(one))
    assert "0 % of this candidate." in said(delta_text(one))


def test_a_run_whose_teacher_wrote_nothing_usable_says_so(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "d.jsonl", rows(1))
    asked = settings(data, tmp_path / "run")
    found = run_all(
        asked, progress=Silent(), doors=doors(lambda _: "I would rather not."), with_page=False
    )
    text = said(run_text(found))
    assert "Teacher: 0 of " in text
    assert "not usable: " in text
    assert text.splitlines()[-1] == f"Run folder: {tmp_path / 'run'}"
