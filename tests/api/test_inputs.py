"""Data in every form gives the same rows."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import tutelage as tt
from tests.pipeline.fakes import doors, rows
from tutelage.api import inputs
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.student import TableStudent

Form = Callable[[list[Any]], Any]


def test_data_in_every_form_is_loaded_alike(form: Form) -> None:
    loaded = tt.load(form(rows(5)))
    plain = tt.load(rows(5))
    assert loaded["status"].to_pylist() == ["ok"] * 5
    assert loaded["example_id"] == plain["example_id"]
    assert loaded.run.candidates.table.equals(plain.run.candidates.table)


def test_data_in_every_form_is_read_alike(form: Form) -> None:
    found, plain = list(tt.read(form(rows(4)))), list(tt.read(rows(4)))
    assert [row.candidates for row in found] == [row.candidates for row in plain]


def test_what_read_returns_is_data_with_its_settings() -> None:
    given = [{"q": "Name one.", "output": "Red."}, {"q": "And another.", "output": "Blue."}]
    found = tt.read(given, fields={"instruction": "q"}, limit=1)
    assert [row.status for row in found] == ["ok"]
    loaded = tt.load(found)
    assert len(loaded) == 1
    assert len(tt.load(found, limit=2)) == 2
    assert len(list(tt.read(found))) == 1


def test_a_row_that_is_none_keeps_its_reason(tmp_path: Path) -> None:
    loaded = tt.load([*rows(2), ["not", "a", "row"], {"x": 1}], out=tmp_path / "run")
    assert loaded.reasons == {"ok": 2, "missing_fields": 1, "not_an_object": 1}
    assert loaded.dropped["row"].to_pylist() == [2, 3]


def test_values_of_other_libraries_are_written_as_json() -> None:
    numpy = pytest.importorskip("numpy")
    given = {
        **rows(1)[0],
        "when": datetime(2026, 1, 2, tzinfo=UTC),
        "score": numpy.float32(0.5),
        "ids": numpy.array([1, 2]),
        "missing": float("nan"),
        "lone": "\ud800",
    }
    assert tt.load([given])["status"].to_pylist() == ["ok"]


def test_a_frame_with_columns_of_several_types_is_read_row_by_row() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "instruction": ["Name one.", "Name two.", "Name three."],
            "output": ["Red.", "Red, blue.", None],
            "mixed": [1, "one", {"of": "them"}],
            "gone": [1.5, float("nan"), pandas.NA],
        }
    )
    loaded = tt.load(frame)
    assert loaded["status"].to_pylist() == ["ok"] * 3
    assert loaded.run.candidates.kept.num_rows == 2


@pytest.mark.parametrize("keeps_order", [True, False])
def test_the_keys_of_a_tool_in_a_frame_keep_their_order(
    *, keeps_order: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    if keeps_order and not inputs._KEEPS_ORDER:
        pytest.skip("this pyarrow sorts keys")
    monkeypatch.setattr(inputs, "_KEEPS_ORDER", keeps_order)
    tool = {"name": "weather", "description": "The weather now.", "about": "cities"}
    row = {"instruction": "How warm is it?", "output": "4 degrees.", "tools": [tool]}
    held = inputs.in_memory(pandas.DataFrame([row]))
    assert isinstance(held, pa.Table) == keeps_order
    loaded = tt.load(pandas.DataFrame([row]))
    (tools,) = loaded.run.examples["tools"].to_pylist()
    assert list(json.loads(tools)[0]["function"]) == ["name", "description", "about"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (5, "cannot read rows from int"),
        (b"rows", "cannot read rows from bytes"),
        ({"instruction": "a", "output": "b"}, "a single mapping"),
        ([{"instruction": "a", "output": object()}], "row 0: cannot be written as JSON"),
        ("no/such/file.jsonl", "no such file"),
    ],
)
def test_what_is_no_data_is_said(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        tt.load(data)


def test_a_frame_with_two_columns_of_one_name_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([["a", "b"]], columns=["output", "output"])
    with pytest.raises(DataError, match="several columns output"):
        tt.load(frame)


def test_a_dataset_with_several_splits_needs_one_to_be_named() -> None:
    datasets = pytest.importorskip("datasets")
    one, two = (datasets.Dataset.from_list(rows(n)) for n in (2, 3))
    both = datasets.DatasetDict({"train": one, "test": two})
    with pytest.raises(DataError, match="has the splits train, test"):
        tt.load(both)
    assert len(tt.load(both, split="test")) == 3


def test_rows_in_memory_can_be_loaded_again_into_the_same_folder(tmp_path: Path) -> None:
    first = tt.load(rows(3), out=tmp_path / "run")
    again = tt.load(rows(3), out=tmp_path / "run")
    other = tt.load(pa.Table.from_pylist(rows(4)), out=tmp_path / "run")
    assert first.table.equals(again.table)
    assert len(other) == 4
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(RunError, match="not a run folder"):
        tt.load(rows(3), out=tmp_path / "mine")


def test_options_of_reading_have_no_place_beside_a_run() -> None:
    loaded = tt.load(rows(2))
    with pytest.raises(SettingsError, match="limit say how data is read"):
        tt.score(loaded, "table", limit=1, doors=doors())


@pytest.mark.parametrize("nothing", [[], (), pa.table({"instruction": []}), iter([])])
def test_data_without_a_row_is_an_error_that_says_what_was_empty(nothing: Any) -> None:
    with pytest.raises(DataError, match=f"the {type(nothing).__name__} contains no rows"):
        tt.load(nothing)


def test_an_error_refers_to_rows_in_memory_and_not_to_their_file() -> None:
    def read_from_a_file() -> None:
        with inputs.scratch_folder() as folder:
            values = inputs.data_values([{"foo": "x"}], {}, folder=Path(folder))
            list(tt.read(values["path"]))

    with pytest.raises(DataError, match=r"^<rows>: none of the 1 row could be read") as caught:
        read_from_a_file()
    assert "tutelage-" not in str(caught.value)


def test_a_student_scores_what_read_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(settings: Any) -> TableStudent:
        return TableStudent(name=settings.model)

    monkeypatch.setattr("tutelage.pipeline.score_stage.open_student", opened)
    student = tt.Student("fake", dtype="float32")
    assert repr(student) == "Student('fake', dtype='float32')"
    plain = student.score(tt.read(rows(3)), metrics=["ifd", "r_ifd"])
    for given in (rows(3), list(tt.read(rows(3))), iter(tt.read(rows(3))), iter(rows(3))):
        assert student.score(given, metrics="ifd, r_ifd").equals(plain)
    assert repr(tt.read(rows(3))) == "Rows(<rows>)"
    with pytest.raises(DataError, match=r"nope\.jsonl: no such file"):
        student.score("nope.jsonl")
