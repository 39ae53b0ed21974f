"""Answers of late, so that the same question is not worked out twice."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class Answers:
    """Answers by question.

    Args:
        most: How many are kept; the one that was not asked for longest goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], Any] = OrderedDict()

    def of(
        self, key: tuple[object, ...], work: Callable[[], Any], *, keep: Callable[[Any], bool]
    ) -> Any:
        """The answer that was given before, or a new one, which is kept if it should be."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        answer = work()
        if not keep(answer):
            return answer
        with self._lock:
            self._kept[key] = answer
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return answer
