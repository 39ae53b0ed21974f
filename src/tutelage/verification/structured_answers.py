"""Comparison of expressions that have parts: tuples, sets, and values with names."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

_T = TypeVar("_T")


def all_same(results: Iterable[bool | None]) -> bool | None:
    """Whether all parts are equal: False if one is not, None if that cannot be told of one."""
    found = set(results)
    return False if False in found else None if None in found else True


def same_sets(
    ours: Sequence[_T], theirs: Sequence[_T], same: Callable[[_T, _T], bool | None]
) -> bool | None:
    """Whether each part of one collection has an equal of its own in the other, in any order."""
    remaining = list(theirs)
    unsure = False
    for part in ours:
        results = [same(part, other) for other in remaining]
        if True in results:
            remaining.pop(results.index(True))
        elif None in results:
            unsure = True
        else:
            return False
    if unsure:
        return None
    return not remaining


def named_parts(text: str) -> dict[str, str] | None:
    """The values of `x = 1, y = 2` by their names; None unless there are two names or more."""
    if text.count("=") < 2:  # noqa: PLR2004  (two names)
        return None
    parts = [p.strip() for p in re.split(r",|;|\band\b", text.strip("()")) if p.strip()]
    matches = [re.fullmatch(r"([a-zA-Z]\w{0,3})\s*=\s*([^=]+)", part) for part in parts]
    named = {m[1]: m[2].strip() for m in matches if m is not None}
    return named if len(named) == len(parts) >= 2 else None  # noqa: PLR2004
