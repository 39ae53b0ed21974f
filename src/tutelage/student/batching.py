"""Chunks of candidates that are planned and read together."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tutelage.data import Candidate

CHUNK_CANDIDATES = 256
CHUNK_CHARACTERS = 400_000
"""Candidates of a chunk, which takes about a minute on two cores."""

_Item = TypeVar("_Item")


def chunks_of(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Divide candidates into the chunks of `StudentModel.read`.

    Reading the lists apart, in any process, computes the same batches.
    """
    return chunks(candidates, size=_characters)


def chunks(items: Iterable[_Item], *, size: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """Lists of at most `CHUNK_CANDIDATES` items and about `CHUNK_CHARACTERS` characters."""
    chunk: list[_Item] = []
    characters = 0
    for item in items:
        chunk.append(item)
        characters += size(item)
        if len(chunk) == CHUNK_CANDIDATES or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _characters(candidate: Candidate) -> int:
    return sum(len(message.content) for message in candidate.messages)
