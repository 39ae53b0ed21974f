"""Diversity orders: the first k of some vectors cover all of them well, for every k."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tutelage.errors import DataError
from tutelage.selection.candidate_table import column_of, to_numpy

Vectors = NDArray[np.float32]
"""Matrix with one unit vector per text, or zeros where there was nothing to embed."""

MOST_COMPARED = 20_000
"""Most texts for facility location: all pairs of them need 1.6 GB."""


def cover(
    vectors: Vectors,
    *,
    count: int,
    start: int,
    method: Literal["k_center", "facility_location"],
) -> list[int]:
    """Order of `count` rows, each the one that adds most after those before it.

    Args:
        vectors: M rows of length 1.
        count: How many are wanted; at most M are given.
        start: k_center: the row to begin with. Facility location begins with the most central.
        method: k_center (Gonzalez 1985) takes the row that is furthest from all taken, and so
            reaches into the corners; its greatest distance is at most twice the best possible.
            facility_location takes the row that adds most to the sum over all rows of the cosine
            with the nearest taken one, and so follows where the data are dense; the sum reaches
            at least 1 - 1/e of the best possible.

    Returns:
        Row numbers, each once. Of equal ones the smaller number is taken.

    Raises:
        DataError: Too many rows to compare all pairs.
    """
    count = min(count, len(vectors))
    if method == "k_center":
        return _k_center(vectors, count=count, start=start)
    if len(vectors) > MOST_COMPARED:
        raise DataError(
            f"facility location compares all pairs; {len(vectors)} are more than {MOST_COMPARED}",
            hint="use diversity: k_center, or choose within each source",
        )
    return _facility_location(vectors, count=count)


def _k_center(vectors: Vectors, *, count: int, start: int) -> list[int]:
    taken = [start] if count else []
    nearest = vectors @ vectors[start] if count else np.empty(0, np.float32)
    while len(taken) < count:
        nearest[taken[-1]] = np.inf  # never again, even where all others are the same text
        row = int(nearest.argmin())
        taken.append(row)
        np.maximum(nearest, vectors @ vectors[row], out=nearest)
    return taken


def _facility_location(vectors: Vectors, *, count: int) -> list[int]:
    # Negative cosines would let a text cover another by being unlike it.
    cosines = np.maximum(vectors @ vectors.T, 0.0)
    covered = np.zeros(len(vectors), dtype=np.float32)
    # What a row adds only shrinks as others are taken, so old gains are upper bounds (lazy greedy).
    gains = cosines.sum(axis=0, dtype=np.float64)
    taken: list[int] = []
    fresh = np.zeros(len(vectors), dtype=np.int64)
    while len(taken) < count:
        row = int(gains.argmax())
        if fresh[row] == len(taken):
            taken.append(row)
            np.maximum(covered, cosines[row], out=covered)
            gains[row] = -np.inf
            continue
        gains[row] = np.maximum(cosines[row] - covered, 0.0).sum(dtype=np.float64)
        fresh[row] = len(taken)
    return taken


def vectors_of(embeddings: pa.Table) -> Mapping[str, NDArray[np.float32]]:
    """Vectors by candidate id.

    Args:
        embeddings: The columns `candidate_id` and `embedding`, a list of numbers.

    Raises:
        DataError: A column is missing, or the vectors differ in length.
    """
    for name in ("candidate_id", "embedding"):
        if name not in embeddings.column_names:
            raise DataError(f"the embeddings have no column {name!r}")
    lists = column_of(embeddings, "embedding")
    flat = to_numpy(pc.list_flatten(lists)).astype(np.float32)
    rows = len(lists)
    if lists.null_count or (rows and len(flat) % rows):
        raise DataError("the embeddings differ in length, or one is missing")
    ids = [str(i) for i in embeddings["candidate_id"].to_pylist()]
    return dict(zip(ids, flat.reshape(rows, -1), strict=True))
