"""Documents that this package wrote: typed values, or an error that names file, place and step."""

import copy
import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tutelage.data.stored_json import StoredShape, need_shape, optional, read_stored
from tutelage.errors import RunError


class Part(StoredShape):
    seconds: float
    note: str | None = optional()


class Whole(StoredShape):
    key: str
    count: int = optional()
    parts: dict[str, Part] = optional()
    listed: list[Part] = optional()


GOOD: dict[str, Any] = {
    "key": "k",
    "count": 3,
    "parts": {"one": {"seconds": 2, "note": None}},
    "listed": [{"seconds": 0.5}],
    "more": {"of": [{"another": "version"}]},
}


def read(path: Path, text: str) -> Any:
    path.write_text(text, encoding="utf-8")
    return read_stored(path, Whole, what="a test", hint="write it again")


def test_a_document_that_is_well_is_what_it_says(tmp_path: Path) -> None:
    found = read(tmp_path / "m.json", json.dumps(GOOD))
    assert found == GOOD
    assert json.loads(json.dumps(found)) == GOOD
    pickled = pickle.loads(pickle.dumps(found))  # noqa: S301  (by this test)
    for same in (pickled, copy.deepcopy(found)):
        with pytest.raises(RunError, match=r"m\.json: more\.of\.0\.name is missing"):
            same["more"]["of"][0]["name"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"key": 3}, "key is 3, not a text"),
        ({"count": 1.5}, "count is 1.5, not a whole number"),
        ({"count": True}, "count is True, not a whole number"),
        ({"count": None}, "count is None, not a whole number"),
        ({"parts": []}, "parts is [], not an object"),
        ({"parts": {"one": None}}, "parts.one is None, not an object"),
        ({"parts": {"one": {}}}, "parts.one.seconds is missing"),
        ({"parts": {"one": {"seconds": "2"}}}, "parts.one.seconds is '2', not a number"),
        ({"listed": {}}, "listed is {}, not a list"),
        ({"listed": [{"seconds": 1}, 4]}, "listed.1 is 4, not an object"),
        ({"key": ["x" * 200]}, "..., not a text"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_place_and_the_next_step(
    tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(RunError) as caught:
        read(tmp_path / "m.json", json.dumps(GOOD | changed))
    assert str(caught.value).startswith(f"{tmp_path / 'm.json'}: is not a test: ")
    assert told in str(caught.value)
    assert len(str(caught.value).partition(": is not")[2]) < 150
    assert caught.value.hint == "write it again"


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "null", "[]", "3", '"x"', "[" * 100_000, '{"a":' * 900 + "1" + "}" * 900),
        '{"key": NaN}',
        '{"key": "k", "parts": {"one": {"seconds": Infinity}}}',
        '{"key": 1' + "0" * 9000 + "}",
        '{"key": "\\ud800", "count": "\\ud800"}',
    ],
)
def test_what_is_no_such_document_is_an_error_on_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(RunError) as caught:
        read(tmp_path / "m.json", text)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.hint
    str(caught.value).encode()
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_place_of_a_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        read_stored(tmp_path, Whole, what="a test", hint="write it again")


def test_a_part_is_copied_as_any_dictionary_is(tmp_path: Path) -> None:
    @dataclass
    class Holder:
        part: dict[str, Any]

    found = read(tmp_path / "m.json", json.dumps(GOOD))
    assert asdict(Holder(part=found["more"])) == {"part": GOOD["more"]}
    assert {**found["more"]} == found["more"].copy() == GOOD["more"]


def test_a_part_is_checked_when_it_is_needed(tmp_path: Path) -> None:
    found = read(tmp_path / "m.json", json.dumps(GOOD))
    assert need_shape(found["parts"]["one"], Part)["seconds"] == 2
    with pytest.raises(RunError, match=r"m\.json: more\.seconds is missing"):
        need_shape(found["more"], Part)
