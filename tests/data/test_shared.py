"""The real data beside the project: every row of every file is accounted for, and mapped right."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from tutelage.data import ReadSettings, read
from tutelage.errors import DataError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
JSONL = sorted(SHARED.rglob("*.jsonl")) + sorted(SHARED.rglob("*.jsonl.gz"))

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not JSONL, reason="the real data is not there"),
]


def lines_in(path: Path) -> int:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    return sum(1 for line in data.split(b"\n") if line.strip())


def tally(name: str, **settings) -> tuple[Counter, Counter, int]:
    rows, candidates, examples = Counter(), Counter(), set()
    for row in read(SHARED / name, ReadSettings(**settings)):
        rows[row.status] += 1
        candidates.update((c.step, c.status) for c in row.candidates)
        examples.add(row.example.example_id)
    return rows, candidates, len(examples)


@pytest.mark.parametrize("path", JSONL, ids=lambda p: p.name)
def test_every_line_is_a_row(path: Path) -> None:
    if path.stat().st_size > 3_000_000:
        pytest.skip("large files are counted below")
    if path.name == "test_difficulty.jsonl":  # has no instructions
        with pytest.raises(DataError, match="none of the 1319 rows"):
            list(read(path))
        return
    rows = list(read(path))
    assert len(rows) == lines_in(path)
    assert {row.status for row in rows} <= {"ok", "duplicate"}


def test_refined_pairs() -> None:
    rows, candidates, examples = tally("refined_pairs/coachlm_expert_revision.jsonl.gz")
    assert rows == {"ok": 1600}
    assert examples == 1600
    assert candidates == {
        ("original", "ok"): 1600,
        ("response_reflection", "ok"): 1175,
        ("instruction_reflection", "ok"): 425,
    }


def test_an_export_with_chosen_and_rejected_can_be_mapped() -> None:
    name = "refined_pairs/style_rewrites_polite_rude.jsonl"
    assert set(tally(name)[1]) == {("original", "ok")}
    candidates = tally(name, fields={"refined_response": "rejected"})[1]
    assert candidates["response_reflection", "ok"] + candidates["response_reflection", "unchanged"]


def test_many_teachers_are_pools() -> None:
    _, candidates, examples = tally("alpaca_eval_multi_teacher/outputs.jsonl.gz")
    assert examples == 600
    assert candidates == {("sample", "ok"): 27579, ("sample", "empty_response"): 15}


def test_questions_with_a_known_answer_keep_it_as_the_reference() -> None:
    name = SHARED / "math_word_problems" / "problems.jsonl.gz"
    (row,) = read(name, ReadSettings(fields={"reference": "answer"}, limit=1))
    assert (row.example.reference, row.example.source, row.candidates) == ("51.0", "svamp", ())


def test_tables_about_models_are_refused_with_their_fields() -> None:
    with pytest.raises(DataError, match="none of the 46 rows") as caught:
        list(read(SHARED / "alpaca_eval_multi_teacher" / "models.csv"))
    assert "win_rate" in caught.value.hint
