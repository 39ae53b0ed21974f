"""A share of `python -m tests.killed_commands` and of `python -m tests.fuzzed_files`."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from tests.fuzzed_files import DOCUMENTS, kinds, prepare_place, try_file, try_files
from tests.killed_commands import COMMANDS, try_kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_commands_that_are_killed_and_given_again_end_as_if_left_alone() -> None:
    quick = {name: COMMANDS[name] for name in ("run", "score", "select")}
    found = try_kills(3, seed=7, commands=quick)
    assert sum(n for name, n in found.items() if name.endswith(": killed")) >= 3


def test_a_share_of_the_fuzzed_files() -> None:
    assert try_files(60, seed=5).total() == 60


DEEP = b"[" * 100_000


def test_a_file_that_is_nested_too_deeply_or_names_damaged_text_is_an_error(tmp_path: Path) -> None:
    there = kinds(tmp_path)
    for name in ("overrides", "quality gate", "filter settings", "manifest", "run settings"):
        place = tmp_path / name
        place.mkdir()
        content = DEEP + b"\n" if name == "overrides" else DEEP
        assert try_file(there[name], content, place) == ("refused", "")
    journal = there["journal"]
    place = tmp_path / "journal"
    place.mkdir()
    damaged = journal.whole.replace(b"CREATE TABLE replies", b"CREATE TABLE \xberplies")
    assert damaged != journal.whole
    assert try_file(journal, damaged, place) == ("refused", "")


def _with(whole: bytes, place: tuple[str | int, ...], value: Any) -> bytes:
    """A JSON document in which one value is another, or gone."""
    document = holder = json.loads(whole)
    for step in place[:-1]:
        holder = holder[step]
    if value is GONE:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return json.dumps(document).encode()


GONE = object()
CHANGES: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("quality gate", ("gate",), GONE),
    ("quality gate", ("gate",), []),
    ("quality gate", ("gate", "suspected"), 1.5),
    ("quality gate", ("gate", "seed"), math.inf),
    ("quality gate", ("gate", "detectors", 0, "trees", 0, "first"), "x"),
    ("training manifest", ("rows",), 3),
    ("training manifest", ("state",), GONE),
    ("training manifest", ("result", "steps"), GONE),
    ("experiment manifest", ("cells", 0, "arm"), GONE),
    ("experiment manifest", ("cells", 0, "seed"), []),
    ("experiment manifest", ("settings",), GONE),
    ("manifest of a cell", ("trained",), []),
    ("manifest of a cell", ("trained", "seconds"), None),
]


@pytest.mark.parametrize(("name", "place", "value"), CHANGES)
def test_a_document_of_valid_json_that_says_something_else_is_an_error(
    tmp_path: Path, name: str, place: tuple[str | int, ...], value: Any
) -> None:
    kind = DOCUMENTS[name]
    folder = tmp_path / "there"
    prepare_place(name, folder)
    assert try_file(kind, kind.whole, folder) == ("read", "")
    assert try_file(kind, _with(kind.whole, place, value), folder) == ("refused", "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("example_id", []),
        ("candidate_id", 1.5),
        ("note", None),
        ("withdrawn", "x"),
        ("example_id", "\ud800"),
    ],
)
def test_an_override_whose_values_have_other_types_is_an_error(
    tmp_path: Path, field: str, value: Any
) -> None:
    kind = DOCUMENTS["overrides"]
    line = _with(kind.whole.splitlines()[0], (field,), value) + b"\n"
    assert try_file(kind, kind.whole + line, tmp_path) == ("refused", "")
