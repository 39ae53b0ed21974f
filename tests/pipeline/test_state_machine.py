"""A short share of `python -m tests.state_machine`."""

from tests.state_machine import TestRunFolder

__all__ = ["TestRunFolder"]
