"""A share of `python -m tests.killed_commands` and of `python -m tests.fuzzed_files`."""

import os

import pytest

from tests.fuzzed_files import try_files
from tests.killed_commands import COMMANDS, try_kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_commands_that_are_killed_and_given_again_end_as_if_left_alone() -> None:
    quick = {name: COMMANDS[name] for name in ("run", "score", "select")}
    found = try_kills(3, seed=7, commands=quick)
    assert sum(n for name, n in found.items() if name.endswith(": killed")) >= 3


def test_a_share_of_the_fuzzed_files() -> None:
    assert try_files(60, seed=5).total() == 60
