"""Command line: parsing, one function call, printing."""

from tutelage.cli.command_group import main

__all__ = ["main"]
