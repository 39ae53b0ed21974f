"""A share of `python -m tests.killed_commands` and of `python -m tests.fuzzed_files`."""

import os
from pathlib import Path

import pytest

from tests.fuzzed_files import kinds, try_file, try_files
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
