"""`overload` of the Python API: type checkers read `typing.overload`, whose register is not used.

That register holds each variant of a function, and with it all that its module imports. Once torch
has been imported, it outlives the interpreter: a script would end with DuckDB's report of leaks.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["VARIANTS", "overload"]

VARIANTS: dict[str, list[Callable[..., Any]]] = {}
"""The variants of each function, by the names of its module and of the function."""

if TYPE_CHECKING:
    from typing import overload
else:

    def overload(variant: Callable[..., Any]) -> Callable[..., Any]:
        """Keep one variant of a function."""
        VARIANTS.setdefault(f"{variant.__module__}.{variant.__qualname__}", []).append(variant)
        return variant
