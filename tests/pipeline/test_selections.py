"""Several students, checks and selections in one run folder: none replaces another."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import doors, rows, settings, write_rows
from tutelage.cli import main
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.pipeline import (
    RunFolder,
    explain_example,
    export,
    report_text,
    run_all,
    sample_data,
    score_run,
    select_again,
    verify_run,
    write_report,
)
from tutelage.pipeline.overrides import overrule
from tutelage.pipeline.staleness import stale_outputs
from tutelage.pipeline.summary_text import in_words
from tutelage.pipeline.tables import checks_of
from tutelage.progress import Silent
from tutelage.selection import NULL_NAMES

METRICS = ["ifd", "r_ifd"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    values = [{**row, "reference": str(7 * n)} for n, row in enumerate(rows(5))]
    return write_rows(tmp_path / "data.jsonl", values)


def make(data: Path, **more: Any) -> RunFolder:
    out = data.parent / "run"
    run_all(settings(data, out, **more), progress=Silent(), doors=doors(), with_page=False)
    return RunFolder(root=out)


def score(run: RunFolder, model: str, metrics: list[str] | None = None) -> str:
    tally = score_run(
        run.root,
        student={"model": model},
        metrics=metrics or METRICS,
        progress=Silent(),
        doors=doors(),
    )
    return str(tally["student"]["fingerprint"])


def scores_of(run: RunFolder, student: str) -> list[dict[str, Any]]:
    table = pq.read_table(run.scores)
    return table.filter(pc.equal(table["student"], pa.scalar(student))).to_pylist()


def verify(run: RunFolder, check: str, **more: Any) -> dict[str, Any]:
    return verify_run(run.root, check={"check": check}, progress=Silent(), **more)


def select(run: RunFolder, name: str | None = None, **given: Any) -> dict[str, Any]:
    return select_again(run.root, given=given, student=None, progress=Silent(), name=name)


def stale(run: RunFolder) -> list[str]:
    return [one.text for one in stale_outputs(run)]


@pytest.mark.parametrize("statistics", [False, True])
def test_an_unchanged_run_leaves_the_scores_of_other_students(
    data: Path, *, statistics: bool
) -> None:
    run = make(data, score={"statistics": statistics})
    other = score(run, "b")
    mine, theirs = run.scores.read_bytes(), scores_of(run, other)
    assert len(theirs) == pq.read_metadata(run.candidates).num_rows
    make(data, score={"statistics": statistics})
    assert run.scores.read_bytes() == mine, "nothing had to be done"
    make(data, score={"statistics": statistics, "metrics": ["ifd", "r_ifd", "grape", "ppl", "rsr"]})
    assert scores_of(run, other) == theirs


def test_the_statistics_of_other_students_stay(data: Path) -> None:
    run = make(data, score={"statistics": True})
    first = pq.read_table(run.statistics)["student"].unique().to_pylist()
    make(data, score={"statistics": True}, student={"model": "b"})
    names = pq.read_table(run.statistics)["student"].unique().to_pylist()
    assert set(first) < set(names)
    assert len(names) == len(pq.read_table(run.scores)["student"].unique()) == 2


def test_another_metric_of_one_student_keeps_those_that_it_had(data: Path) -> None:
    run = make(data)
    student = score(run, "b", ["ifd", "r_ifd"])
    before = {row["candidate_id"]: row["ifd"] for row in scores_of(run, student)}
    score(run, "b", ["grape"])
    after = scores_of(run, student)
    assert {row["candidate_id"]: row["ifd"] for row in after} == before
    assert any(row["grape"] is not None for row in after)


def test_scores_of_candidates_that_go_and_come_back_are_used_again(data: Path) -> None:
    run = make(data)
    other = score(run, "b")
    before = {row["candidate_id"]: row["ifd"] for row in scores_of(run, other)}
    make(data, refine={"steps": ["response"]})
    assert {row["candidate_id"] for row in scores_of(run, other)} < set(before)
    assert any("student " + other in line for line in stale(run))
    make(data)
    assert {row["candidate_id"]: row["ifd"] for row in scores_of(run, other)} == before


def test_a_damaged_table_with_other_students_is_not_written_again(data: Path) -> None:
    run = make(data)
    score(run, "b")
    damaged = run.scores.read_bytes()[:200]
    run.scores.write_bytes(damaged)
    with pytest.raises(RunError, match="scores of other students"):
        make(data)
    assert run.scores.read_bytes() == damaged


def test_sampled_responses_stay_when_the_run_is_refined_again(data: Path) -> None:
    run = make(data)
    sample_data(
        data={"path": str(data)},
        teachers=[{"model": "sampler"}],
        sample={"n": 2},
        out=run.root,
        progress=Silent(),
        doors=doors(lambda request: f"It is {request.key[:5]}."),
    )
    sampled = {c["candidate_id"] for c in pq.read_table(run.candidates).to_pylist()
               if c["step"] == "sample"}  # fmt: skip
    assert sampled
    for more in ({"refine": {"steps": ["response"]}}, {"teacher": None}):
        make(data, **more)
        assert sampled <= set(pq.read_table(run.candidates)["candidate_id"].to_pylist())


def test_each_check_has_its_own_verdicts(data: Path) -> None:
    run = make(data)
    verify(run, "number")
    first = pq.read_table(run.verdicts)
    verify(run, "agreement")
    both = pq.read_table(run.verdicts)
    assert checks_of(run) == ["number", "agreement"]
    assert both.num_rows == 2 * first.num_rows
    assert both.filter(pc.equal(both["check"], "number")).equals(first.select(both.column_names))
    verify(run, "number")
    assert pq.read_table(run.verdicts).num_rows == both.num_rows
    assert checks_of(run) == ["agreement", "number"], "the last one done is the last"


def test_a_setting_says_which_check_feeds_the_gate(data: Path) -> None:
    run = make(data)
    verify(run, "number")
    table = pq.read_table(run.verdicts)
    changed = [
        row | {"verdict": "wrong" if row["check"] == "number" else "right"}
        for row in [*table.to_pylist(), *({**r, "check": "said"} for r in table.to_pylist())]
    ]
    pq.write_table(pa.Table.from_pylist(changed), run.verdicts)
    gated = {"rule": "keep_all", "gate": "right"}
    assert select(run, **gated, gate_check="number")["kept"] == 0
    tally = select(run, **gated, gate_check="said")
    assert tally["kept"] == 5
    assert "gate_note" not in tally
    with pytest.raises(SettingsError, match="no verdicts of the check 'code'"):
        select(run, **gated, gate_check="code")


def test_where_nobody_names_the_check_the_last_one_counts_and_a_line_says_so(data: Path) -> None:
    run = make(data)
    verify(run, "number")
    assert "gate_note" not in select(run, rule="srt")
    verify(run, "number", name="again")
    found = CliRunner().invoke(main, ["select", str(run.root), "--rule", "keep_all", "--json"])
    assert found.exit_code == 0, found.output
    assert "the gate uses the last one that was done, again" in found.stderr
    assert json.loads(found.stdout)["gate_check"] == "again"


def test_verdicts_without_a_check_are_read(data: Path) -> None:
    run = make(data)
    verify(run, "number")
    old = pq.read_table(run.verdicts).drop_columns(["check"])
    pq.write_table(old, run.verdicts)
    assert select(run, rule="grape")["kept"] == 5
    verify(run, "agreement")
    assert pq.read_table(run.verdicts).num_rows == 2 * old.num_rows


def test_a_named_selection_has_the_same_files_and_leaves_the_main_one(data: Path) -> None:
    run = make(data)
    files = (run.decisions, run.chosen, run.nulls, run.selected, run.rejected)
    before = [file.read_bytes() for file in files]
    tally = select(run, "strict", rule="srt", mode="paper", margin=0.0)
    assert tally["selection"] == "strict"
    assert [file.read_bytes() for file in files] == before
    named = run.selected_as("strict")
    there = sorted(path.name for path in (run.root / "selections" / "strict").iterdir())
    assert there == sorted(file.name for file in files)
    assert set(pq.read_table(named.nulls)["null"].to_pylist()) <= set(NULL_NAMES)
    assert pq.read_table(named.decisions).num_rows == 5
    assert run.read_manifest()["settings"]["select"]["mode"] == "safe"
    assert select(run, "strict")["rule"]["mode"] == "paper", "it goes on from its own settings"
    assert run.selections() == ["strict"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/x", "-x", "a" * 65, "a\nb"])
def test_a_name_that_leaves_the_folder_is_refused(data: Path, name: str) -> None:
    run = make(data)
    with pytest.raises(SettingsError, match="cannot be the name of a selection"):
        select(run, name, rule="random")


def test_the_commands_take_a_selection(data: Path, tmp_path: Path) -> None:
    run = make(data)
    select(run, "originals", rule="all_original")
    file = tmp_path / "train.jsonl"
    named = run.selected_as("originals")
    assert export(named, to="messages", file=file)["rows"] == 5
    assert {json.loads(line)["step"] for line in file.read_text().splitlines()} == {"original"}
    shown = explain_example(run.root, "row:1", selection="originals")
    assert "rule all_original" in shown
    assert "rule srt" in explain_example(run.root, "row:1")
    for command in ("export", "report", "explain", "train"):
        with_name = {
            "export": ["--out", str(file)],
            "explain": ["row:1"],
            "train": ["--student", "x", "--out", str(tmp_path / "t")],
            "report": ["--text"],
        }[command]
        found = CliRunner().invoke(
            main, [command, str(run.root), *with_name, "--selection", "nobody"]
        )
        assert found.exit_code == 2, found.output
        assert "has no selection 'nobody'" in found.stderr


def test_the_report_compares_two_selections(data: Path) -> None:
    run = make(data)
    select(run, "originals", rule="all_original")
    mine, theirs = (
        pq.read_table(f.decisions).to_pylist() for f in (run, run.selected_as("originals"))
    )
    alike = sum(
        a["kept"] == b["kept"] and a["candidate_id"] == b["candidate_id"]
        for a, b in zip(mine, theirs, strict=True)
    )
    text = " ".join(report_text(run.root, compared=["originals"]).split())
    assert "Compared with the selection originals" in text
    same = sum(
        a["kept"] and b["kept"] and a["candidate_id"] == b["candidate_id"]
        for a, b in zip(mine, theirs, strict=True)
    )
    assert f"both keep the same version {same}" in text
    page = write_report(run.root, compared=["originals"])
    assert f"They agree on {alike} of them" in page.read_text()
    page = write_report(run.root, selection="originals", compared=["main"])
    assert page == run.root / "selections" / "originals" / "report.html"
    assert "Compared with the selection main" in page.read_text()


def test_what_is_older_than_its_inputs_is_said(data: Path) -> None:
    run = make(data)
    write_report(run.root)
    assert stale(run) == []
    verify(run, "number")
    select(run, "second", rule="grape")
    assert any("decisions.parquet is older than" in line for line in stale(run)) is False
    select(run, rule="all_original")
    assert [line for line in stale(run) if line.startswith("report.html is older")]
    write_report(run.root)
    example = pq.read_table(run.decisions)["example_id"][0].as_py()
    overrule(run, example, candidate_id=None, note="no")
    said = stale(run)
    assert any("decisions.parquet is older than overrides.jsonl" in line for line in said)
    (report,) = (line for line in said if line.startswith("report.html is older than"))
    assert "overrides.jsonl" in report
    assert f"`tutelage report {run.root}`" in report, "the command can be pasted"
    make(data, refine={"steps": ["response"]})
    assert any("verdicts of the check number are older" in line for line in stale(run))
    assert any("older than candidates.parquet" in line for line in stale(run.selected_as("second")))
    file = data.parent / "o.jsonl"
    notes = export(run.selected_as("second"), to="messages", file=file)["notes"]
    assert any("older" in line for line in notes)


def test_a_gate_that_wants_verified_answers_says_that_nothing_was_verified(data: Path) -> None:
    run = make(data)
    assert "gate_note" not in select(run, gate="not_wrong")
    assert "nothing was verified" in select(run, gate="right")["gate_note"]
    found = CliRunner().invoke(main, ["select", str(run.root), "--gate", "right"])
    assert "Note: gate: right has no effect, because nothing was verified" in found.stderr
    summary = run_all(
        settings(data, run.root, select={"gate": "right"}), progress=Silent(), doors=doors(),
        with_page=False,
    )  # fmt: skip
    assert "Note: gate: right has no effect" in in_words(summary)
    verify(run, "number")
    assert "gate_note" not in select(run, gate="right")


def test_a_baseline_is_named_with_the_rule_that_it_is_made_from(data: Path) -> None:
    run = make(data)
    for rule in ("permuted", "length_matched", "cheap"):
        found = CliRunner().invoke(main, ["select", str(run.root), "--rule", rule])
        assert f"Rule: {rule} of srt." in found.stdout


def test_counts_of_thousands_have_separators_throughout(data: Path) -> None:
    out = data.parent / "run"
    summary: Any = run_all(settings(data, out), progress=Silent(), doors=doors(), with_page=False)
    load, chosen = summary["load"], summary["select"]
    load.update(rows=51_000, examples=50_000, rows_by_status={"ok": 49_000, "duplicate": 2_000})
    chosen.update(kept=40_000, examples=50_000, steps_kept={"original": 40_000})
    text = in_words(summary)
    assert "Rows: 51,000 read, 50,000 examples; 2,000 duplicate" in text
    assert "Choice: 40,000 of 50,000 examples kept: original 40,000." in text


def test_a_row_number_alone_is_answered_with_how_a_row_is_named(data: Path) -> None:
    run = make(data)
    for name, hint in (
        ("1234567", "give row:1234567 for input row 1234567"),
        (f"row:{'9' * 60}", "or row:N"),
    ):
        with pytest.raises(DataError) as caught:
            explain_example(run.root, name)
        assert hint in str(caught.value.hint)


def test_another_rule_says_which_settings_are_the_defaults_again(data: Path) -> None:
    run = make(data)

    def select(*words: str) -> str:
        called = CliRunner().invoke(main, ["select", str(run.root), *words])
        assert called.exit_code == 0, called.output
        return called.stderr

    assert "to their defaults" not in select("--gate", "off", "--keep-count", "2")
    note = "the new rule resets these settings to their defaults: "
    assert f"{note}gate (was off), keep_count (was 2)." in select("--rule", "all_original")
    assert "to their defaults" not in select("--rule", "all_original", "--keep-count", "2")
    assert f"{note}keep_count (was 2)." in select("--rule", "srt", "--gate", "off")
    assert "to their defaults" not in select("--rule", "all_original", "--afresh")


def test_a_count_that_the_run_cannot_give_is_said(data: Path) -> None:
    run = make(data)

    def notes(**given: Any) -> Any:
        tally = select_again(run.root, given=given, student=None, progress=Silent())
        return tally.get("select_notes")

    assert notes(keep_count=3) is None
    assert notes(keep_count=7) == ["keep_count is 7, but only 3 examples could be kept"]
    assert notes(keep_count=7, per_source=True) is None
