"""What a result shows and gives away."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tutelage as tt
from tutelage.api.table_result import BY_DECISION, BY_STATUS

TABLE = pa.table(
    {
        "example_id": ["a", "b", "c", "d"],
        "kept": [True, False, True, False],
        "reason": ["won", "no_candidate", "won", "<script>alert(1)</script>\x1b[2J"],
        "ifd": [0.5, None, 0.25, None],
    }
)


def test_what_was_kept_and_what_was_not_are_both_there() -> None:
    result = tt.Result(table=TABLE, outcome=BY_DECISION)
    assert result.kept["example_id"].to_pylist() == ["a", "c"]
    assert result.dropped["example_id"].to_pylist() == ["b", "d"]
    assert next(iter(result.reasons.items())) == ("won", 2)
    assert len(result) == 4
    assert bool(result)
    assert [row["ifd"] for row in result] == [0.5, None, 0.25, None]


@given(st.lists(st.sampled_from(["ok", "too_long", None, "empty_response"])))
def test_every_row_is_kept_or_dropped(statuses: list[str | None]) -> None:
    table = pa.table({"status": pa.array(statuses, pa.string())})
    result = tt.Result(table=table, outcome=BY_STATUS)
    assert result.kept.num_rows + result.dropped.num_rows == len(statuses)
    assert set(result.kept["status"].to_pylist()) <= {"ok"}
    assert "ok" not in result.dropped["status"].to_pylist()
    assert sum(result.reasons.values()) == len(statuses)


def test_a_result_without_an_outcome_drops_nothing() -> None:
    result = tt.Result(table=TABLE)
    assert result.kept.num_rows == 4
    assert result.dropped.num_rows == 0
    assert repr(result) == "Result: 4 rows, columns example_id, kept, reason, ifd"


def test_the_repr_says_what_was_dropped_and_why_in_what_can_be_printed() -> None:
    shown = repr(tt.Result(table=TABLE, outcome=BY_DECISION))
    assert shown.startswith("Result: 4 rows, 2 kept, 2 dropped (")
    assert "no_candidate 1" in shown
    assert "\x1b" not in shown


def test_a_notebook_shows_the_reasons_and_escapes_what_the_data_says() -> None:
    shown = tt.Result(table=TABLE, outcome=BY_DECISION)._repr_html_()
    assert "<td>dropped</td><td>no_candidate</td><td>1</td>" in shown
    assert "<td>kept</td><td>won</td><td>2</td>" in shown
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert "\x1b" not in shown


def test_an_empty_result_is_shown_too() -> None:
    empty = tt.Result(table=TABLE.slice(0, 0), outcome=BY_DECISION)
    assert repr(empty) == "Result: 0 rows, 0 kept, 0 dropped"
    assert "0 rows" in empty._repr_html_()


def test_other_libraries_take_a_result() -> None:
    result = tt.Result(table=TABLE, outcome=BY_DECISION)
    assert pa.table(result).equals(TABLE)
    pandas = pytest.importorskip("pandas")
    assert list(result.to_pandas()["example_id"]) == ["a", "b", "c", "d"]
    assert isinstance(result.to_pandas(), pandas.DataFrame)


def test_a_result_becomes_a_dataset() -> None:
    pytest.importorskip("datasets")
    assert tt.Result(table=TABLE).to_dataset()["example_id"][:] == ["a", "b", "c", "d"]


def test_a_result_becomes_a_polars_frame() -> None:
    pytest.importorskip("polars")
    assert tt.Result(table=TABLE).to_polars()["example_id"].to_list() == ["a", "b", "c", "d"]


def test_the_hint_says_how_to_install_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(ImportError, match="polars cannot be loaded") as caught:
        tt.Result(table=TABLE).to_polars()
    assert caught.value.hint == "pip install polars"  # type: ignore[attr-defined]
