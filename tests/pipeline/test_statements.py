"""What the product says about unusual runs, held against the tables behind it."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.pipeline import fakes
from tutelage.cli.output import joined
from tutelage.cli.summaries import (
    export_text,
    filter_text,
    ranking_text,
    score_text,
    select_text,
    verify_text,
)
from tutelage.errors import RunError, TutelageError
from tutelage.experiments.frontier.page import frontier_words
from tutelage.experiments.prove.compare import Compared
from tutelage.experiments.prove.config import ProveSettings
from tutelage.experiments.prove.page import sections_of, sentence
from tutelage.experiments.rank import rank_agreement, rank_teachers
from tutelage.experiments.rank.page import ranked_summary
from tutelage.experiments.rank.student_agreement import agreement_in_words
from tutelage.experiments.rounds.page import rounds_done
from tutelage.pipeline import (
    RunFolder,
    export,
    filter_run,
    report_text,
    run_all,
    score_run,
    select_again,
    verify_run,
)
from tutelage.pipeline.config import checked
from tutelage.progress import Silent
from tutelage.reporting.number_format import count, reason_words
from tutelage.selection.reasons import REASONS, meaning_of
from tutelage.stats.paired_design import Interval, paired_interval
from tutelage.teacher import Request

WRONG_PLURALS = re.compile(
    r"\b1 (rows|examples|candidates|versions|rounds|replies|input rows|teachers|loops|seeds"
    r"|requests|rewrites|new calls|responses|texts|questions|comparisons|items|others|versions)\b"
)
STUDENTLESS = ("random", "longest", "all_original", "all_refined", "keep_all")


def fails(_: Request) -> str:
    """A teacher whose every reply is unusable."""
    return "I would rather not."


def one_row() -> list[Any]:
    return fakes.rows(1)


def equal_rows() -> list[Any]:
    return fakes.rows(1) * 5


def broken_rows() -> list[Any]:
    return ["{not json", *fakes.rows(2), {"instruction": "", "output": ""}]


def some_rows() -> list[Any]:
    return fakes.rows(4)


ROWS: Mapping[str, Callable[[], list[Any]]] = {
    f.__name__: f for f in (one_row, equal_rows, broken_rows, some_rows)
}
RULES: Mapping[str, dict[str, Any]] = {
    "srt": {},
    "nothing kept": {"rule": "srt", "margin": 9.0, "mode": "paper"},
    "all original": {"rule": "all_original"},
    "all refined": {"rule": "all_refined"},
    "random one": {"rule": "random", "keep_count": 1},
}


def facts_of(run: RunFolder) -> dict[str, Any]:
    """The numbers as the tables have them."""
    decisions = pq.read_table(run.decisions).to_pylist()
    kept = [row for row in decisions if row["kept"]]
    scores = pq.read_table(run.scores).to_pylist()
    return {
        "rows": pq.read_metadata(run.rows).num_rows,
        "examples": len(decisions),
        "kept": len(kept),
        "steps": Counter(row["step"] for row in kept),
        "scored": sum(row["status"] == "ok" for row in scores),
        "reasons": Counter(row["reason"] for row in decisions),
    }


def check_summary(text: str, found: Mapping[str, Any]) -> None:
    """What `tutelage run` prints, but for the lines about the teacher."""
    said = "\n".join(line for line in text.splitlines() if not line.startswith("Teacher"))
    assert not WRONG_PLURALS.search(said), said
    read = re.search(r"Rows: (\d+) read, (\d+) examples?", said)
    assert read is not None
    assert [int(n) for n in read.groups()] == [found["rows"], found["examples"]]
    scored = re.search(r"Student: (\d+) candidates? scored", said)
    assert scored is not None
    assert int(scored[1]) == found["scored"]
    chosen = re.search(r"Choice: (\d+) of (\d+) examples? kept(.*)", said)
    assert chosen is not None
    assert [int(n) for n in chosen.groups()[:2]] == [found["kept"], found["examples"]]
    assert sum(int(n) for n in re.findall(r" (\d+)[,.]", chosen[3])) == found["kept"]
    listed = {name: int(n) for n, name in re.findall(r"^ +(\d+)  (\w+)$", said, flags=re.MULTILINE)}
    assert listed == found["reasons"]


def check_report(text: str, found: Mapping[str, Any], rule: str) -> None:
    """The opening of the report, and its headline numbers."""
    if found["kept"] == 1:
        assert "no clear difference" not in text
        assert "differs in" not in text
    assert "from_journal" not in text
    assert "spent_before" not in text
    assert not re.search(r"^  cost ", text, flags=re.MULTILINE), "no prices were given"
    sentences, _, _ = text.partition("\n  input rows")
    said = " ".join(sentences.split())
    assert not WRONG_PLURALS.search(said), said
    chosen = re.search(
        r"(The rule|The student \S+) kept (\d+) of (\d+) examples? \([^)]*\): (\d+) in a rewritten "
        r"version and (\d+) as they were. It dropped (\d+)",
        said,
    )
    assert chosen is not None, said[:600]
    original = found["steps"].get("original", 0)
    assert [int(n) for n in chosen.groups()[1:]] == [
        found["kept"],
        found["examples"],
        found["kept"] - original,
        original,
        found["examples"] - found["kept"],
    ]
    assert (chosen[1] == "The rule") == (rule in STUDENTLESS)


@pytest.mark.parametrize(
    ("rows", "teacher"),
    [
        ("one_row", "improves"),
        ("equal_rows", "fails"),
        ("broken_rows", "improves"),
        ("some_rows", "none"),
    ],
)
def test_the_sentences_about_an_unusual_run_are_those_of_its_tables(
    tmp_path: Path, rows: str, teacher: str
) -> None:
    data = fakes.write_rows(tmp_path / "data.jsonl", ROWS[rows]())
    answer = fails if teacher == "fails" else fakes.improves
    more: dict[str, Any] = {"select": {"max_unscored_fraction": 1.0}}
    if teacher == "none":
        more["teacher"] = None
    wanted = fakes.settings(data, tmp_path / "run", **more)
    run = RunFolder(root=tmp_path / "run")
    for _ in ("asked", "nothing left to ask"):
        done = run_all(wanted, progress=Silent(), doors=fakes.doors(answer), with_page=False)
        check_summary(done["in_words"], facts_of(run))
    check_report(report_text(run.root), facts_of(run), "srt")
    for given in RULES.values() if rows == "one_row" else [RULES["all original"]]:
        select_again(run.root, given=given, student=None, progress=Silent(), afresh=True)
        found = facts_of(run)
        check_report(report_text(run.root), found, given.get("rule", "srt"))
        lines = [json.loads(line) for line in run.selected.read_text().splitlines()]
        assert len(lines) == found["kept"]


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    data = fakes.write_rows(tmp_path / "data.jsonl", [])
    wanted = fakes.settings(data, tmp_path / "run")
    with pytest.raises(TutelageError) as caught:
        run_all(wanted, progress=Silent(), doors=fakes.doors(), with_page=False)
    assert str(caught.value)


def test_an_original_that_only_the_rule_keeps_is_not_said_to_pass() -> None:
    for words in (reason_words("original_kept"), meaning_of("original_kept")):
        assert "passes" not in words
    assert set(REASONS)


def test_a_frontier_that_keeps_nothing_does_not_point_to_its_rows() -> None:
    assert "selected.jsonl is empty" in frontier_words({"kept": 0, "examples": 7})
    assert "None of 1 example is" in frontier_words({"kept": 0, "examples": 1})
    assert "1 of 7 examples is what" in frontier_words({"kept": 1, "examples": 7})
    assert "1 of 1 example is what" in frontier_words({"kept": 1, "examples": 1})
    assert "they are in selected.jsonl" in frontier_words({"kept": 3, "examples": 7})


def test_rounds_are_counted_and_not_loops_or_seeds() -> None:
    def rows(*, rounds: int, loops: int, seeds: int) -> list[dict[str, Any]]:
        return [
            {"round": r, "loop": f"loop-{at}", "seed": s}
            for r in range(rounds)
            for at in range(loops)
            for s in range(seeds)
        ]

    one = rounds_done(rows(rounds=1, loops=1, seeds=1))
    assert one == "1 round of judging and training"
    assert rounds_done(rows(rounds=1, loops=2, seeds=1)).startswith("1 round of")
    assert "in 2 loops with 3 seeds each" in rounds_done(rows(rounds=4, loops=2, seeds=3))


def test_where_nothing_varied_no_effect_is_said_to_be_detectable() -> None:
    assert paired_interval(np.zeros((2, 4))).standard_error == 0.0


def counts_in(text: str, header: str) -> dict[str, int]:
    """The counts of the table in a text that begins with this column."""
    _, found, table = text.partition(f"\n{header} ")
    if not found:
        return {}
    lines = table.split("\n\n")[0].splitlines()[2:]
    lines = [line for line in lines if not line[0].isspace()]  # a meaning that goes on
    return {line.split()[0]: int(line.split()[1]) for line in lines}


@pytest.mark.parametrize(("rows", "answer"), [("one_row", fakes.improves), ("broken_rows", fails)])
def test_what_each_command_says_of_an_unusual_run_is_in_its_tables(
    tmp_path: Path, rows: str, answer: Callable[[Request], str]
) -> None:
    data = fakes.write_rows(tmp_path / "data.jsonl", ROWS[rows]())
    lenient = {"max_unscored_fraction": 1.0}
    wanted = fakes.settings(data, tmp_path / "run", select=lenient)
    run = RunFolder(root=tmp_path / "run")
    run_all(wanted, progress=Silent(), doors=fakes.doors(answer), with_page=False)
    candidates = pq.read_metadata(run.candidates).num_rows
    (tmp_path / "f.yaml").write_text("filters: [{kind: length, minimum: 9}]\n")

    check: dict[str, Any] = {"check": {"check": "exact"}, "progress": Silent()}
    if rows == "one_row":  # there is no reference to check against
        with pytest.raises(RunError, match=rf"\(cannot_check {candidates}\)"):
            verify_run(run.root, **check)
    else:
        said = joined(verify_text(verify_run(run.root, **check)))
        verdicts = Counter(pq.read_table(run.verdicts)["verdict"].to_pylist())
        assert counts_in(said, "verdict") == verdicts
        check_counts(said, f"Checked {candidates:,} candidate")

    said = joined(filter_text(filter_run(run.root, config=tmp_path / "f.yaml", progress=Silent())))
    kept = sum(pq.read_table(run.filters)["kept"].to_pylist())
    check_counts(said, f"Filters kept {kept:,} of {candidates:,} candidate")

    scored = score_run(
        run.root, student={"model": "b"}, metrics=["ifd"], progress=Silent(), doors=fakes.doors()
    )
    said = joined(score_text(scored))
    statuses = Counter(
        row["status"]
        for row in pq.read_table(run.scores).to_pylist()
        if row["student"] == scored["student"]["fingerprint"]
    )
    check_counts(said, f"Scored {statuses.pop('ok', 0):,} of {candidates:,} row")
    assert counts_in(said, "status") == statuses

    for given in ({"rule": "all_original"}, {"rule": "srt", "margin": 9.0, "mode": "paper"}):
        tally = select_again(
            run.root, given=lenient | given, student=None, progress=Silent(), afresh=True
        )
        said = joined(select_text(tally, run=run.root))
        found = facts_of(run)
        check_counts(said, f"Choice: {found['kept']} of {found['examples']} example")
        assert counts_in(said, "reason") == found["reasons"]
        assert ("empty: nothing was kept" in said) == (not run.selected.read_text())
        file = tmp_path / "train.jsonl"
        if not found["kept"]:
            with pytest.raises(TutelageError, match="is empty"):
                export(run, to="trl", file=file)
            continue
        said = joined(export_text(export(run, to="trl", file=file)))
        check_counts(said, f"Wrote {len(file.read_text().splitlines()):,} row")


def check_counts(said: str, sentence: str) -> None:
    """The sentence is said, with its noun in the right number, and no other one is wrong."""
    assert re.search(rf"^{re.escape(sentence)}s?\b", said, flags=re.MULTILINE), said
    assert not WRONG_PLURALS.search(said), said


def pool_of(questions: int, teachers: str, *, silent: str = "", alike: bool = False) -> list[Any]:
    """Answers of teachers that are named by a letter each."""
    return [
        {
            "instruction": f"What is {n} and {n}?",
            "model": name,
            "output": "" if name in silent else f"{'It' if alike else name} is {2 * n}, I say.",
        }
        for n in range(questions)
        for name in teachers
    ]


@pytest.mark.parametrize(
    "rows",
    [
        pool_of(1, "ab"),
        pool_of(12, "a"),
        pool_of(12, "ab", alike=True),
        pool_of(12, "abc", silent="b"),
        pool_of(3, "ab", silent="ab"),
    ],
    ids=["one question", "one teacher", "all equal", "one is silent", "all are silent"],
)
def test_what_a_ranking_of_an_unusual_pool_says_is_in_its_tables(
    tmp_path: Path, rows: list[Any]
) -> None:
    data = fakes.write_rows(tmp_path / "pool.jsonl", rows)
    job = {"data": {"path": str(data)}, "student": {"model": "table"}, "out": str(tmp_path / "out")}
    found = rank_teachers({**job, "draws": 100, "report": False}, doors=fakes.doors())
    said = joined(ranking_text(ranked_summary(found)))
    assert not WRONG_PLURALS.search(said), said
    assert "Report:" not in said
    standings = [r for r in found.standings.to_pylist() if r["predictor"] == found.by]
    numbered = [row for row in standings if row["value"] is not None]
    if not numbered:
        assert said.startswith("No entrant has a number")
        return
    first = min(numbered, key=lambda row: row["rank"])
    assert first["questions"] == len({row["instruction"] for row in rows})
    assert f"{first['entrant']} is first of {count(len(numbered), 'teacher')} for" in said
    without = len({row["model"] for row in rows}) - len(numbered)
    assert ("not ranked" in said) == bool(without)
    assert ("nothing was compared" in said) == (len(numbered) == 1)
    if len(numbered) == 1:
        assert "settled" not in said
    worse = [
        pair["b"]
        for pair in found.pairs.to_pylist()
        if (pair["a"], pair["predictor"]) == (first["entrant"], found.by) and pair["told_apart"]
    ]
    assert ("significantly worse" in said) == (
        len(numbered) > 1 and len(worse) == len(numbered) - 1
    )


@pytest.mark.parametrize(
    ("rows", "compared"), [(pool_of(1, "ab"), "of 1 question "), (pool_of(6, "a"), None)]
)
def test_what_two_rankings_of_an_unusual_pool_have_in_common_is_said(
    tmp_path: Path, rows: list[Any], compared: str | None
) -> None:
    data = fakes.write_rows(tmp_path / "pool.jsonl", rows)
    job = {"data": {"path": str(data)}, "draws": 100, "report": False}
    for name in ("x", "y"):
        given = {"student": {"model": name}, "out": str(tmp_path / name)}
        rank_teachers(job | given, doors=fakes.doors())
    found = rank_agreement([tmp_path / "x", tmp_path / "y"])
    said = " ".join(agreement_in_words(found))
    assert not WRONG_PLURALS.search(said)
    assert ("no choice is compared" in said) == (compared is None)
    assert compared is None or compared in said


class Waiting(Silent):
    """Collects what is told while the teacher waits for the student."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.notes: list[str] = []

    def tell(self, text: str) -> None:
        self.told.append(text)

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        if note is not None and not count:
            self.notes.append(note)


def test_the_line_of_the_teacher_says_that_it_waits_for_the_student(tmp_path: Path) -> None:
    data = fakes.write_rows(tmp_path / "data.jsonl", fakes.rows(3))
    shown = Waiting()
    wanted = fakes.settings(data, tmp_path / "run", select={"max_unscored_fraction": 1.0})
    run_all(wanted, progress=shown, doors=fakes.doors(), with_page=False)
    assert "The student reads 6 versions to choose between instructions" in shown.told
    assert shown.notes[0] == "waiting for the student: 0 of 6 versions read"
    assert shown.notes[-1] == "waiting for the student: 6 of 6 versions read"
    assert len(shown.notes) == 7


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[1.0, 1.0]], "With one seed, no difference counts as shown, however large it is."),
        ([[0.3, 0.1]], "With one seed, no difference counts as shown, however large it is."),
        ([[0.0, 0.0]] * 3, "The values do not vary between items and seeds"),
        ([[0.3, 0.1], [0.1, 0.2], [0.2, 0.4]], "Minimum detectable effect"),
    ],
)
def test_a_comparison_does_not_say_what_it_could_find_where_it_could_find_nothing(
    values: list[list[float]], said: str
) -> None:
    one = compared(paired_interval(np.array(values)))
    text = sentence(one, checked(ProveSettings, EXPERIMENT, place="test"))
    assert said in text
    assert not WRONG_PLURALS.search(text)
    assert (one.row()["detectable"] is None) == ("Minimum detectable effect" not in said)


EXPERIMENT = {
    "out": "x", "students": [{"name": "s", "model": "m"}], "seeds": [0],
    "arms": [{"name": n, "file": "f"} for n in ("choice", "random")],
    "tasks": [{"name": "t", "kind": "choice", "path": "f"}],
}  # fmt: skip


def compared(interval: Interval, *, corrected: float | None = None) -> Compared:
    return Compared(
        student="s", balance="examples", task="t", measure="value", arm="choice", against="random",
        interval=interval, p_corrected=interval.p_value if corrected is None else corrected,
        comparisons=1, detectable_corrected=interval.detectable, items_left_out=0, seeds_left_out=0,
        mean_arm=0.0, mean_against=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "p", "corrected", "shown", "said"),
    [
        (
            0.0003,
            0.058,
            0.058,
            False,
            " 0 lies outside the interval, but the p-value decides: p = .058.",
        ),
        (0.0003, 0.03, 0.09, False, "but the p-value decides: p = .090 after correction."),
        (
            -0.0001,
            0.049,
            0.049,
            True,
            " 0 lies inside the interval, but the p-value decides: p = .049.",
        ),
        (0.01, 0.0004, 0.0004, True, ""),
        (-0.01, 0.4, 1.0, False, ""),
    ],
)
def test_the_p_value_alone_decides_what_is_shown_and_the_page_says_so(
    low: float, p: float, corrected: float, *, shown: bool, said: str
) -> None:
    made = paired_interval(np.array([[0.3, 0.1], [0.1, 0.2], [0.2, 0.4]]))
    one = compared(replace(made, low=low, high=0.06, p_value=p), corrected=corrected)
    settings = checked(ProveSettings, EXPERIMENT, place="test")
    text = sentence(one, settings)
    assert ("choice was better" in text) == shown
    assert ("no significant difference" in text) == (not shown)
    assert said in text
    assert ("p-value decides" in text) == bool(said)
    (section, *_) = sections_of([one], settings, primary="t", sets=(), cells=())
    (table,) = section.tables
    assert table.rows[0][-1] == ("yes" if shown else "no")
    assert "It alone decides what is shown: below 0.05, with two seeds or more" in table.note
