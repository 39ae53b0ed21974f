"""The command line: parse, call one stage, print."""

from tutelage.cli.main import main

__all__ = ["main"]
