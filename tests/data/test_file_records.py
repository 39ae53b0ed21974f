"""A JSON file is read the same however it comes in pieces."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.file_records import csv_records, json_records, jsonl_records, list_of_rows

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
sizes = st.integers(1, 40)
few = settings(max_examples=60, deadline=None)


def pieces(data: bytes, size: int):
    for at in range(0, len(data), size):
        yield data[at : at + size]


def plain(records) -> list:
    found = list(records)
    assert all(record.problem is None for record in found), found
    return [record.value for record in found]


@few
@given(st.lists(values, max_size=5), st.sampled_from([None, 0, 2]), st.booleans(), sizes)
def test_an_array_is_its_elements(rows: list, indent: int | None, ascii_only, size: int) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    data = text.encode("utf-8", "surrogatepass") if ascii_only else text.encode(errors="replace")
    assert plain(json_records(pieces(data, size))) == json.loads(data)


@few
@given(st.lists(st.dictionaries(st.text(max_size=3), values), max_size=4), values, sizes)
def test_the_list_in_an_object_is_its_elements(rows: list, before: object, size: int) -> None:
    data = json.dumps({"about": before, "data": rows, "after": [1]}).encode()
    turns = rows and next(iter(rows[0]), "") in ("role", "from", "content", "value")
    expected = [json.loads(data)] if turns else rows
    assert plain(json_records(pieces(data, size))) == expected


@few
@given(st.lists(values, max_size=5), sizes)
def test_values_one_after_another_are_each_one(rows: list, size: int) -> None:
    data = "\n".join(json.dumps(row, indent=2) for row in [{"x": 1}, *rows]).encode()
    assert plain(json_records(pieces(data, size))) == [{"x": 1}, *rows]


@few
@given(st.lists(values, max_size=5), sizes)
def test_lines_are_each_one(rows: list, size: int) -> None:
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    assert plain(jsonl_records(pieces(data, size))) == rows


@few
@given(st.lists(st.lists(st.text(max_size=5), min_size=2, max_size=2), max_size=5), sizes)
def test_csv_cells_come_back(rows: list, size: int) -> None:
    clean = [[cell.encode(errors="replace").decode().replace("\r", "") for cell in r] for r in rows]
    quoted = [[cell.replace('"', '""') for cell in row] for row in [["a", "b"], *clean]]
    data = "\n".join(f'"{one}","{two}"' for one, two in quoted).encode()
    found = plain(csv_records(pieces(data, size), delimiter=","))
    assert [list(row.values()) for row in found] == clean


@few
@given(
    st.lists(st.dictionaries(st.text(max_size=3), values), min_size=1, max_size=4), sizes, st.data()
)
def test_a_cut_array_keeps_its_whole_elements(rows: list, size: int, data) -> None:
    text = json.dumps(rows).encode()
    cut = data.draw(st.integers(1, len(text) - 1))
    found = list(json_records(pieces(text[:cut], size)))
    assert [r.value for r in found[:-1]] == rows[: len(found) - 1]
    assert found[-1].problem.status == "malformed_json"


def test_a_list_of_rows_is_told_from_a_conversation() -> None:
    assert list_of_rows('{"data": [{"question": 1}]}') == 9
    assert list_of_rows('{"n": {"data": []}, "data" : [ {"q": 1}]}') == 29
    assert list_of_rows('{"data": [{"role": "user"}]}') is None
    assert list_of_rows('{"data": ["a", "b"]}') is None
    assert list_of_rows('{"question": "data"}') is None
    assert list_of_rows('{"data": {"x": [{}]}}') is None
