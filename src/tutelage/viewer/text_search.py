"""Full-text search over a run, straight from Parquet, row group by row group.

There is no word index: a search reports its matches and progress so far, and continues in a
separate thread. It keeps one row group in memory at a time.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

KEPT_SEARCHES = 8


class Search:
    """One running or finished search.

    Args:
        words: All must be in one version; between double quotes they stand as they are.
        sources: Parquet files with messages, each with the example of every row.
        examples: How many examples there are.
    """

    def __init__(
        self, words: str, *, sources: tuple[tuple[Path, NDArray[np.int32]], ...], examples: int
    ) -> None:
        self.terms = terms_of(words)
        self._sources = sources
        self._found = np.zeros(examples, dtype=bool)
        self._groups_done = 0
        self._groups = 1
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="search", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> float:
        """Share of the texts that were searched, in [0, 1]; exactly 1 when it is done."""
        return self._groups_done / self._groups if not self.done else 1.0

    @property
    def done(self) -> bool:
        """Whether all texts were searched."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Stop the search early."""
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Wait until the search is done, but no longer than some seconds."""
        self._thread.join(seconds)

    def examples(self) -> pa.Table:
        """Examples found so far, ascending, as a table with the column `n`."""
        return pa.table({"n": pa.array(np.flatnonzero(self._found), pa.int32())})

    def _run(self) -> None:
        try:
            files = [(pq.ParquetFile(path), of_row) for path, of_row in self._sources]
            self._groups = sum(file.num_row_groups for file, _ in files) or 1
            for file, of_row in files:
                with file:
                    self._look_through(file, of_row)
        except (OSError, pa.ArrowException) as error:
            self.failure = f"{type(error).__name__}: {error}"

    def _look_through(self, file: pq.ParquetFile, of_row: NDArray[np.int32]) -> None:
        start = 0
        paths = [file.schema.column(at).path for at in range(len(file.schema))]
        columns = [p for p in paths if p == "criticism" or p.endswith(".content")]
        for group in range(file.num_row_groups):
            if self._stop.is_set():
                return
            table = file.read_row_group(group, columns=columns)
            rows = np.flatnonzero(matching(table, self.terms)) + start
            found = of_row[rows]
            self._found[found[found >= 0]] = True
            start += table.num_rows
            self._groups_done += 1


def terms_of(words: str) -> tuple[str, ...]:
    """Search terms; a phrase in double quotes is one term.

    Examples:
        >>> terms_of('red "two  foxes" fox')
        ('red', 'two  foxes', 'fox')
    """
    terms: list[str] = []
    for at, part in enumerate(words.split('"')):
        terms += [part] if at % 2 else part.split()
    return tuple(term for term in dict.fromkeys(terms) if term)


def matching(table: pa.Table, terms: tuple[str, ...]) -> NDArray[np.bool_]:
    """Mask of rows that contain every term in one of their texts, in any case."""
    held = np.ones(table.num_rows, dtype=bool)
    messages: Any = table["messages"].combine_chunks()
    offsets, contents = messages.offsets.to_numpy(), messages.values.field("content")
    for term in terms:
        found = np.zeros(table.num_rows, dtype=bool)
        places = np.flatnonzero(_hits(contents, term))
        rows = np.searchsorted(offsets, places, side="right") - 1
        found[rows[(rows >= 0) & (rows < table.num_rows)]] = True
        if "criticism" in table.column_names:
            found |= _hits(table["criticism"], term)
        held &= found
        if not held.any():
            break
    return held


def _hits(texts: Any, term: str) -> NDArray[np.bool_]:
    found: Any = pc.match_substring(texts, term, ignore_case=True)
    return np.asarray(pc.fill_null(found, False))


class Searches:
    """Cache of recent searches, so that filtering a result does not search again.

    Args:
        open_search: Starts one.
    """

    def __init__(self, open_search: Callable[[str], Search]) -> None:
        self._open = open_search
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Search] = OrderedDict()

    def of(self, words: str) -> Search:
        """Search for these words, started at the first call."""
        with self._lock:
            search = self._kept.get(words)
            if search is None:
                done = OrderedDict((w, s) for w, s in self._kept.items() if s.done)
                for name, other in self._kept.items():  # one at a time: the newest is wanted
                    if name not in done:
                        other.stop()
                self._kept = done
                search = self._kept[words] = self._open(words)
            self._kept.move_to_end(words)
            while len(self._kept) > KEPT_SEARCHES:
                self._kept.popitem(last=False)
            return search

    def close(self) -> None:
        """Stop all running searches."""
        with self._lock:
            for search in self._kept.values():
                search.stop()
            self._kept.clear()
