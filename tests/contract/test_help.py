"""`--help` of every command, as it is written down in `help/`.

The texts are edited by hand when a command changes on purpose, in the commit that changes it and
with a changelog fragment. No tool writes them.
"""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tutelage.cli import main

TEXTS = Path(__file__).parent / "help"
WIDTH = 100


def commands(command: click.Command, path: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Every command, under the name of the file with its help text."""
    found = {"-".join(("tutelage", *path)): path}
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            found.update(commands(inner, (*path, name)))
    return found


COMMANDS = commands(main)


def test_every_command_has_a_help_text_and_every_text_a_command() -> None:
    assert sorted(COMMANDS) == sorted(path.stem for path in TEXTS.glob("*.txt"))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_of_a_command_is_as_written_down(name: str) -> None:
    words = [*COMMANDS[name], "--help"]
    shown = CliRunner().invoke(main, words, prog_name="tutelage", max_content_width=WIDTH,
                               terminal_width=WIDTH)  # fmt: skip
    assert shown.exit_code == 0
    assert shown.stdout == (TEXTS / f"{name}.txt").read_text(encoding="utf-8")
