"""Search in a run: full text straight from Parquet, and embeddings for meaning and the map of rows.

There is no word index: a full-text search reports its matches and progress so far, and continues
in a separate thread, with one row group in memory at a time. Another thread embeds the texts and
places them on a map; until it is done, requests get its progress. The same run and embedder always
give the same map.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.errors import DataError, TutelageError
from tutelage.filters import Embedder, make_embedder
from tutelage.pipeline.config import EmbedderChoice

KEPT_SEARCHES = 8


class Search:
    """One running or finished search.

    Args:
        words: All must be in one version; between double quotes they are taken literally.
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


MOST_ROWS = 50_000
"""Most rows that are embedded; of more rows, every k-th one is used."""
NEAREST = 200
"""Rows that a semantic search finds."""
_CHARACTERS = 1000
"""Characters of the instruction and of the response that are embedded."""
_BATCH_TEXTS = 2000


class RowMap:
    """Vectors and map positions of a run's rows.

    Args:
        path: The table of examples.
        of_row: The example's number for each row of the file; -1 where it does not count.
        embedder: A static embedding model; None: bags of words, for the map alone.

    Attributes:
        rows: How many rows there are.
        drawn: How many of them are embedded.
        failure: Why there is no map, or None.
    """

    def __init__(self, path: Path, of_row: NDArray[np.int32], *, embedder: Embedder | None) -> None:
        self._path = path
        self._embedder = embedder
        counted = np.flatnonzero(of_row >= 0)
        self.rows = len(counted)
        at = np.linspace(0, max(0, self.rows - 1), min(self.rows, MOST_ROWS)).round()
        self._wanted = counted[np.unique(at.astype(np.int64))] if self.rows else counted
        self._numbers = of_row[self._wanted]
        self.drawn = len(self._wanted)
        self._embedded = 0
        nothing = np.zeros((0, 1), dtype=np.float32)
        self._vectors = (nothing, nothing)
        self._placed: pa.Table = _places(self._numbers[:0], nothing)
        self._stop = threading.Event()
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="row map", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """Source of the vectors."""
        return _words().name if self._embedder is None else self._embedder.name

    @property
    def done(self) -> bool:
        """Whether the map is complete, or cannot be made."""
        return not self._thread.is_alive()

    @property
    def progress(self) -> float:
        """Share of rows that are embedded, in [0, 1]; exactly 1 when the map is complete."""
        return 1.0 if self.done else min(0.99, self._embedded / max(1, 2 * self.drawn))

    def wait(self, seconds: float) -> None:
        """Wait until the map is complete, but no longer than some seconds."""
        self._thread.join(seconds)

    def stop(self) -> None:
        """Stop computing the embeddings."""
        self._stop.set()

    def placed(self) -> pa.Table:
        """Columns `n`, `x` and `y`; no rows until the map is complete.

        Raises:
            DataError: The map cannot be made.
        """
        self._check()
        return self._placed

    def near(self, text: str) -> pa.Table:
        """Rows nearest to a text in meaning: `n` and `cosine`; none until all are embedded.

        A row is as near as its instruction or its response, whichever is nearer.

        Raises:
            DataError: There is no embedding model, or the map cannot be made.
        """
        if self._embedder is None:
            raise DataError(NO_MODEL, hint=NO_MODEL_HINT)
        self._check()
        cosines = np.zeros(0)
        instructions, responses = self._vectors
        if len(instructions):
            (wanted,) = self._embedder.embed([text])
            cosines = np.maximum(instructions @ wanted, responses @ wanted)
        best = np.argsort(-cosines, kind="stable")[:NEAREST]
        return pa.table(
            {
                "n": pa.array(self._numbers[best], pa.int32()),
                "cosine": pa.array(cosines[best], pa.float64()),
            }
        )

    def _check(self) -> None:
        if self.failure is not None:
            raise DataError(f"the rows could not be embedded: {self.failure}")

    def _run(self) -> None:
        try:
            texts = list(self._texts())
            if self._embedder is None:  # its words are weighted over all texts at once
                together = ["\n".join(pair) for pair in texts]
                self._placed = _places(self._numbers, _words().embed(together))
                return
            instructions, responses = (self._embed([pair[at] for pair in texts]) for at in (0, 1))
            if self._stop.is_set():
                return
            self._placed = _places(self._numbers, instructions + responses)
            self._vectors = (instructions, responses)
        except (OSError, ValueError, pa.ArrowException, TutelageError) as error:
            self.failure = f"{type(error).__name__}: {error}"

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        parts = [np.zeros((0, 1), dtype=np.float32)]
        for start in range(0, len(texts), _BATCH_TEXTS):
            if self._stop.is_set() or self._embedder is None:
                break
            parts.append(self._embedder.embed(texts[start : start + _BATCH_TEXTS]))
            self._embedded += len(parts[-1])
        return np.concatenate(parts[1:] or parts)

    def _texts(self) -> Iterator[tuple[str, str]]:
        """Instruction and response of each sampled row, in the order of the file."""
        start = 0
        with pq.ParquetFile(self._path) as file:
            for group in range(file.num_row_groups):
                if self._stop.is_set():
                    return
                rows = file.metadata.row_group(group).num_rows
                mine = self._wanted[(self._wanted >= start) & (self._wanted < start + rows)]
                if len(mine):
                    table = file.read_row_group(group, columns=["messages"])
                    places: NDArray[np.int64] = mine - start
                    chosen = table.take(places)
                    yield from map(_pair_of, chosen["messages"].to_pylist())
                start += rows


NO_MODEL = "the search by meaning needs a static embedding model, and this viewer has none"
NO_MODEL_HINT = "pip install 'tutelage[filters]', then `tutelage view RUN --embedder MODEL`"


def _words() -> Embedder:
    return make_embedder(EmbedderChoice(embedder={"kind": "words"}).embedder)  # type: ignore[arg-type]


def _pair_of(messages: list[dict[str, Any]] | None) -> tuple[str, str]:
    turns = messages or []
    users = [turn["content"] or "" for turn in turns if turn["role"] == "user"]
    answer = turns[-1]["content"] or "" if turns and turns[-1]["role"] == "assistant" else ""
    return (users[-1] if users else "")[:_CHARACTERS], answer[:_CHARACTERS]


def _places(numbers: NDArray[np.int32], vectors: NDArray[np.float32]) -> pa.Table:
    flat = plane_of(vectors)
    return pa.table(
        {
            "n": pa.array(numbers, pa.int32()),
            "x": pa.array(flat[:, 0], pa.float64()),
            "y": pa.array(flat[:, 1], pa.float64()),
        }
    )


def plane_of(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """First two principal components of some vectors.

    The sign of a component is chosen so that its largest weight is positive: the same vectors
    always lie at the same places.

    Args:
        vectors: N rows.

    Returns:
        N places; all 0 where there is nothing to tell rows apart by.

    Examples:
        >>> plane_of(np.array([[0, 0], [4, 0], [0, 1], [4, 1]], dtype=np.float32)).tolist()
        [[-2.0, -0.5], [2.0, -0.5], [-2.0, 0.5], [2.0, 0.5]]
    """
    if not len(vectors):
        return np.zeros((0, 2))
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, components = np.linalg.eigh(centred.T @ centred)
    first = components[:, ::-1][:, :2]
    largest = np.abs(first).argmax(axis=0)
    first = first * np.where(first[largest, np.arange(first.shape[1])] < 0, -1.0, 1.0)
    flat = np.zeros((len(vectors), 2))
    flat[:, : first.shape[1]] = centred @ first
    return flat
