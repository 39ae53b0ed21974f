"""What the product says about unusual runs, held against the tables behind it."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.pipeline import fakes
from tutelage.errors import TutelageError
from tutelage.experiments.frontier.page import frontier_words
from tutelage.experiments.rounds.page import rounds_done
from tutelage.pipeline import RunFolder, report_text, run_all, select_again
from tutelage.progress import Silent
from tutelage.reporting.number_format import reason_words
from tutelage.selection.reasons import REASONS, meaning_of
from tutelage.stats.paired_design import paired_interval
from tutelage.teacher import Request

WRONG_PLURALS = re.compile(
    r"\b1 (rows|examples|candidates|versions|rounds|replies|input rows|teachers|loops|seeds"
    r"|requests|rewrites|new calls|responses|texts|questions)\b"
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
        r"(The rule|The student \S+) kept (\d+) of (\d+) examples? \([^)]*\): (\d+) in a refined "
        r"version and (\d+) as they were. It refused (\d+)",
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
    assert "1 of 7 example is" in frontier_words({"kept": 1, "examples": 7})
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
