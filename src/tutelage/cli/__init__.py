"""The command line: parse, call one function, print."""

from tutelage.cli.command_group import main

__all__ = ["main"]
