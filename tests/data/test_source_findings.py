"""What is said about a source as a whole: what is missing, and what is broken."""

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.data import ReadSettings, TableWriter, byte_streams, read
from tutelage.data.schemas import ROWS
from tutelage.errors import DataError


def lines(path: Path, rows: list) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


ROW = {"instruction": "Name a hill", "output": "Ben Vrackie", "gold_label": "yes"}


@pytest.mark.parametrize("rows", [[ROW], [ROW] * 100])
def test_a_mapped_name_that_no_row_has_is_an_error_with_the_nearest(
    tmp_path: Path, rows: list
) -> None:
    path = lines(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match=r"reference=gold_labl: .* 'gold_labl'") as caught:
        list(read(path, ReadSettings(fields={"reference": "gold_labl"})))
    assert "did you mean --map reference=gold_label?" in caught.value.hint
    with pytest.raises(DataError) as caught:
        list(read(path, ReadSettings(fields={"reference": "zzz"})))
    assert "the fields are instruction, output, gold_label" in caught.value.hint


def test_a_mapped_name_is_looked_for_before_anything_is_done(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROW] * 500), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="gold"):
        next(iter(read(str(tmp_path / "rows.parquet"), ReadSettings(fields={"model": "golf"}))))


def test_a_name_that_a_later_row_has_is_found(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [ROW] * 200 + [{**ROW, "output": "x", "late": "no"}])
    found = list(read(path, ReadSettings(fields={"reference": "late"})))
    assert found[-1].example.reference == "no"


def test_dots_reach_inside_a_field() -> None:
    row = {"q": {"text": "6*7?"}, "meta": '{"answers": ["42", "43"]}', "said": "42."}
    settings = {
        "fields": {"instruction": "q.text", "reference": "meta.answers.0", "response": "said"}
    }
    (found,) = read([row], ReadSettings(**settings))
    assert (found.example.instruction, found.example.reference) == ("6*7?", "42")
    assert found.candidates[0].response == "42."
    assert json.loads(found.example.extra) == {"q": {"text": "6*7?"}, "meta": row["meta"]}
    with pytest.raises(DataError) as caught:
        list(read([row], ReadSettings(fields={"instruction": "q.txt"})))
    assert "did you mean --map instruction=q.text?" in caught.value.hint
    dotted = {"a.b": "6*7?", "output": "42"}
    (found,) = read([dotted], ReadSettings(fields={"instruction": "a.b"}))
    assert found.example.instruction == "6*7?"


def test_a_file_without_responses_says_so_and_names_the_likely_column(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"problem": "6*7?", "model_solution": "42", "id": "x"}])
    other = lines(tmp_path / "b.jsonl", [ROW])
    found = read([path, other])
    assert [row.status for row in found] == ["ok", "ok"]
    assert found.unanswered == (path,)
    (note,) = found.notes
    assert "--map response=model_solution" in note
    questions = read([{"question": "Why?", "level": "hard"}])
    list(questions)
    assert "--map response=NAME" in questions.notes[0]
    assert read([ROW]).notes == []


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "only text"),
        ({"messages": [{"role": "critic", "content": "x"}]}, "known roles"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "turn of the user"),
        ({"text": "x", "story": "y"}, "--map instruction=FIELD"),
        ({"text": "### Instruction: x"}, "the only field is text"),
        (["x"], "JSON objects"),
    ],
)
def test_the_hint_matches_the_fault(tmp_path: Path, row: object, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read(lines(tmp_path / "rows.jsonl", [row, row])))
    assert hint in caught.value.hint


def test_a_lone_surrogate_in_a_name_costs_that_row_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"instruction": "One?", "output": "1"}\n{"\\udc9f": "x"}\n'
        '{"instruction": "Two?", "output": "2", "\\ud800": 1}\n'
    )
    found = list(read(str(path)))
    assert [row.status for row in found] == ["ok", "missing_fields", "ok"]
    with TableWriter(tmp_path / "rows.parquet", ROWS) as table:  # no row keeps it from a table
        table.append({"row": row.row, "detail": row.detail} for row in found)
    assert json.loads(found[2].example.extra) == {"\ufffd": 1}


def test_a_file_name_that_is_not_utf_8_can_be_read(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jsonl")
    lines(Path(path), [ROW])
    (row,) = read(path)
    assert row.status == "ok"
    assert row.file.encode().endswith(b"caf\\xe9.jsonl")
    assert row.example.source == "caf\\xe9"


def test_a_table_whose_name_is_not_utf_8_can_be_read(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "rows.parquet")
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.parquet")
    (tmp_path / "rows.parquet").rename(path)
    assert [row.status for row in read(path)] == ["ok"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Rows may have 64 kB only, so that tests stay small."""
    from tutelage.data import file_records

    size = 1 << 16
    for module, name in (
        (byte_streams, "ROW_BYTES"),
        (file_records, "ROW_BYTES"),
        (file_records, "_FIELD_CHARACTERS"),
    ):
        monkeypatch.setattr(module, name, size)
    return size


LONG = 40 << 20


def test_a_line_of_a_gigabyte_costs_itself_and_little_memory(tmp_path: Path, small: int) -> None:
    good = json.dumps(ROW).encode()
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(good + b'\n{"instruction": "')
        for _ in range(LONG >> 20):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + good.replace(b"hill", b"lake"))
    tracemalloc.start()
    found = list(read(str(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row.status for row in found] == ["ok", "row_too_large", "ok"]
    assert peak < LONG // 3


@pytest.mark.parametrize("name", ["rows.json", "rows.csv"])
def test_a_huge_row_of_other_formats_has_a_reason(tmp_path: Path, small: int, name: str) -> None:
    path = tmp_path / name
    long = "x" * (20 * small)
    if name.endswith("json"):
        path.write_text(json.dumps([ROW, {**ROW, "output": long}, ROW], indent=1))
    else:
        path.write_text(f"instruction,output\na,b\nc,{long}\nd,e\n")
    statuses = [row.status for row in read(str(path))]
    assert statuses == ["ok", "row_too_large", *(["ok"] if name.endswith("csv") else [])]


def test_what_unpacks_without_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_streams, "_BOMB_BYTES", 1 << 20)
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb") as file:
        file.write(json.dumps(ROW).encode() + b"\n")
        for _ in range(8):
            file.write(b"\n" * (1 << 20))
    found = list(read(str(path)))
    assert [row.status for row in found] == ["ok", "broken_file"]
    assert "250 times" in found[1].detail


def test_deep_nesting_has_a_reason(tmp_path: Path) -> None:
    deep = "[" * 50_000 + "]" * 50_000
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"instruction": {deep}}}\n{json.dumps(ROW)}\n')
    assert [row.status for row in read(str(path))] == ["nested_too_deeply", "ok"]


def test_columns_that_were_not_read_are_listed() -> None:
    found = read([{"prompt": "Why?", "gpt": "It is so.", "claude": "It is not."}])
    list(found)
    assert "gpt, claude" in found.notes[0] or "--map response=" in found.notes[0]
