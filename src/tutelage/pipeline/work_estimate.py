"""Work estimate of a command: tokens, calls and time, from a short measurement.

Every `--dry-run` is built of this. Tokens are counted with the student's own tokenizer on a sample
of the texts, speeds are measured for a few seconds on this machine, or taken from the last
measurement, and nothing of the command itself is done.
"""

import heapq
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from tutelage.data import (
    OK,
    Candidate,
    ReadingOutcome,
    Unscored,
    ViewName,
    content_hash,
    replacing,
)
from tutelage.metrics import statistics_for, views_for
from tutelage.models.config import cache_folder
from tutelage.pipeline.resources import Doors, Reader, opened_student
from tutelage.student import Statistics, StudentModel, StudentSettings
from tutelage.student.student import CountsTokens
from tutelage.teacher.cost import CHARACTERS_PER_TOKEN

SAMPLE_CANDIDATES = 200
"""Texts that are tokenised exactly; the tokens of the others follow from their characters."""

MEASURE_SECONDS = 20.0
"""Default seconds of a speed measurement."""

TIMED_BLOCKS = 4
"""Blocks of consecutive texts that are kept to measure the speed."""

TIMED_BLOCK = 64
"""Texts of such a block: neighbours may share a prompt, which is then read once."""

_FIRST_CHUNK = 2

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One part of a command's work.

    Attributes:
        stage: What is done, such as `score` or `train`.
        count: How many `unit`s.
        unit: What is counted, such as `candidates`.
        tokens: Processed in all: read, trained on or written.
        seconds: How long it takes, or None where nothing is known of the speed.
        basis: Where `seconds` comes from, or why there is none.
    """

    stage: str
    count: int
    unit: str
    tokens: int | None
    seconds: float | None
    basis: str


def summed(work: Sequence[Work]) -> dict[str, Any]:
    """Parts of a command's work with their sums; a sum with an unknown part is None."""
    known = [w.seconds for w in work if w.seconds is not None]
    tokens = [w.tokens for w in work if w.tokens is not None]
    return {
        "work": [asdict(w) for w in work],
        "tokens": sum(tokens) if len(tokens) == len(work) else None,
        "seconds": sum(known) if len(known) == len(work) else None,
        "seconds_known": sum(known),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSample:
    """Sample of candidates, and the number of all.

    Attributes:
        count: Candidates with text.
        characters: Characters of all of them.
        candidates: The sample, the same for the same candidates in any order.
        timed: Runs of consecutive candidates, in the order in which they will be read.
    """

    count: int
    characters: int
    candidates: tuple[Candidate, ...]
    timed: tuple[Candidate, ...]

    def scaled(self, tokens: int) -> int:
        """Estimated tokens of all candidates, from those of the sample."""
        if len(self.candidates) == self.count:
            return tokens
        of_sample = sum(map(_characters, self.candidates))
        return round(tokens * self.characters / of_sample) if of_sample else 0


def text_sample(candidates: Iterable[Candidate], *, most: int = SAMPLE_CANDIDATES) -> TextSample:
    """Take a sample in one pass, with only the sample in memory.

    Args:
        candidates: All; those without text are not counted.
        most: The size of the sample.
    """
    count = characters = 0
    heap: list[tuple[int, int, Candidate]] = []
    blocks: list[tuple[int, int, list[Candidate]]] = []
    block: list[Candidate] = []
    for candidate in candidates:
        if candidate.status != OK:
            continue
        place = -int(content_hash("estimate", candidate.candidate_id), 16)
        if count % TIMED_BLOCK == 0:
            block = []
            heapq.heappush(blocks, (place, count, block))
            if len(blocks) > TIMED_BLOCKS:
                heapq.heappop(blocks)
        block.append(candidate)
        count += 1
        characters += _characters(candidate)
        heapq.heappush(heap, (place, count, candidate))
        if len(heap) > most:
            heapq.heappop(heap)
    drawn = sorted(heap, key=lambda entry: (-entry[0], entry[1]))
    # Whole runs first: the one at the end of the data may be short.
    runs = sorted(blocks, key=lambda entry: (-len(entry[2]), -entry[0]))
    return TextSample(
        count=count,
        characters=characters,
        candidates=tuple(c for _, _, c in drawn),
        timed=tuple(c for _, _, run in runs for c in run),
    )


def _characters(candidate: Candidate) -> int:
    return sum(len(m.content) + len(m.reasoning or "") for m in candidate.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Estimated reading of some texts by a student.

    Attributes:
        tokens: Tokens of all texts, in all views.
        uncached: Of these, what the student's cache does not have.
        speed: Tokens a second, or None where it is not known.
        basis: Where the speed comes from.
    """

    tokens: int
    uncached: int
    speed: float | None
    basis: str

    def seconds(self, tokens: int) -> float | None:
        """Estimated seconds for a number of tokens."""
        if not tokens:
            return 0.0
        return None if self.speed is None else tokens / self.speed


def reading_of(
    sample: TextSample,
    *,
    student: StudentSettings,
    metrics: Sequence[str] | None,
    doors: Doors | None = None,
    measure_seconds: float = MEASURE_SECONDS,
    more_like_it: bool = False,
    every_statistic: bool = False,
    kind: str = "read",
    clock: Clock = monotonic,
) -> Reading:
    """Count the tokens a student would read, and measure its speed.

    Args:
        sample: Sample of the texts.
        student: The student that reads.
        metrics: What is computed of them, which decides the views; None: all views.
        doors: How the student is reached.
        measure_seconds: How long at most; 0 takes the last measurement.
        more_like_it: Whether more texts like these will be read, so that the speed matters even
            where all of these are cached.
        every_statistic: Whether the four statistics of each token are read whatever the metrics.
        kind: What the speed is remembered as: texts that share prompts are read faster.
        clock: Seconds; only differences count.
    """
    names = tuple(metrics) if metrics is not None else ("ifd", "r_ifd")
    views = views_for(names)
    statistics: Statistics = "full" if every_statistic else statistics_for(names)
    doors = doors or Doors()
    with opened_student(student, doors) as model:
        counts = list(_tokens_of(sample.candidates, model, views))
        missing = _not_cached(sample.candidates, model, views, statistics)
        key = speed_key(kind if statistics == "nll" else f"{kind}, {statistics}", model.describe())
    tokens = sample.scaled(sum(counts))
    uncached = sample.scaled(sum(n for n, fresh in zip(counts, missing, strict=True) if fresh))
    speed, basis = stored_speed(key)
    if measure_seconds and (uncached or more_like_it):
        alone = student.model_copy(update={"use_cache": False})
        with opened_student(alone, doors) as model:
            watch = _Watched(model=model, views=views, statistics=statistics, clock=clock)
            read, seconds = watch.read_for(sample.timed, seconds=measure_seconds)
        if read:
            speed, basis = keep_speed(key, tokens=read, seconds=seconds)
    return Reading(tokens=tokens, uncached=uncached, speed=speed, basis=basis)


def reading_work(stage: str, reading: Reading, *, count: int, unit: str = "candidates") -> Work:
    """Reading of some texts as one part of a command's work.

    Args:
        stage: Name of the part.
        reading: The estimated reading.
        count: Number of texts.
        unit: What is counted.
    """
    cached = reading.tokens - reading.uncached
    basis = reading.basis
    if cached:
        basis = f"{cached:,} tokens are in the student's cache; {basis}"
    return Work(
        stage=stage,
        count=count,
        unit=unit,
        tokens=reading.uncached,
        seconds=reading.seconds(reading.uncached),
        basis=basis if reading.uncached else "everything is in the student's cache",
    )


def _tokens_of(
    candidates: Sequence[Candidate], model: Reader, views: Iterable[ViewName]
) -> Iterator[int]:
    if isinstance(model, CountsTokens):
        yield from model.tokens_to_read(candidates, views=frozenset(views))
        return
    for candidate in candidates:  # a student without a tokenizer: a view repeats the text
        yield round(len(set(views)) * _characters(candidate) / CHARACTERS_PER_TOKEN)


def _not_cached(
    candidates: Sequence[Candidate],
    model: Reader,
    views: Iterable[ViewName],
    statistics: Statistics,
) -> list[bool]:
    if not isinstance(model, StudentModel):
        return [True] * len(candidates)
    recalled = model.recall(candidates, views=frozenset(views))
    return [found is None or not _has(found, statistics) for found in recalled]


def _has(found: ReadingOutcome, statistics: Statistics) -> bool:
    """Whether what the cache holds of a text has all statistics that are wanted."""
    if statistics == "nll" or isinstance(found, Unscored):
        return True
    measured = [
        view.ranks_T if statistics == "ranks" else view.entropies_T for view in found.views.values()
    ]
    return all(numbers is not None for numbers in measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """A student whose reading is timed."""

    model: Reader
    views: Sequence[ViewName]
    statistics: Statistics
    clock: Clock

    def read_for(self, candidates: Sequence[Candidate], *, seconds: float) -> tuple[int, float]:
        """Tokens and seconds of the last and largest chunk read within the time.

        A first text is read without the clock: the weights are loaded for it. Chunks double,
        since a graphics card is only as fast as its batches are large.
        """
        shortest = min(candidates, key=_characters, default=None)
        if shortest is None:
            return 0, 0.0
        self._read([shortest])
        size, at, spent = _FIRST_CHUNK, 0, 0.0
        last = (0, 0.0)
        while at < len(candidates) and spent < seconds:
            chunk = candidates[at : at + size]
            began = self.clock()
            self._read(chunk)
            took = max(self.clock() - began, 1e-6)
            read = sum(_tokens_of(chunk, self.model, self.views))
            if read and (len(chunk) == size or not last[0]):  # a short last chunk tells less
                last = (read, took)
            spent, at, size = spent + took, at + size, size * 2
            if spent + 2 * took > seconds:
                break
        return last

    def _read(self, candidates: Sequence[Candidate]) -> None:
        for _ in self.model.read(candidates, views=self.views, statistics=self.statistics):
            pass


def scaled_reading(reading: Reading, *, times: float) -> Reading:
    """Estimate for the same texts read repeatedly, or for more such texts, without caching."""
    tokens = round(reading.tokens * times)
    return replace(reading, tokens=tokens, uncached=tokens)


def speed_key(kind: str, description: Mapping[str, object]) -> str:
    """Key of a measured speed: the kind of work, the student and the machine."""
    names = ("fingerprint", "dtype", "device", "backend")
    what = {name: str(description.get(name)) for name in names}
    return content_hash("speed", kind, what, os.cpu_count() or 0)


def _speeds_file() -> Path:
    return cache_folder() / "speeds.json"


def _stored() -> dict[str, Any]:
    try:
        found = json.loads(_speeds_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # a measurement can always be made again
        return {}
    return found if isinstance(found, dict) else {}


def stored_speed(key: str) -> tuple[float | None, str]:
    """Last measured speed, in tokens per second, and a note about it."""
    found = _stored().get(key) or {}
    try:
        tokens, seconds = int(found["tokens"]), float(found["seconds"])
        unit = str(found.get("unit", "tokens"))
    except (TypeError, KeyError, ValueError, OverflowError):
        tokens, seconds, unit = 0, 0.0, ""
    if not (tokens > 0 and 0 < seconds < math.inf):
        return None, "the speed is not known: nothing like it was measured here"
    return tokens / seconds, f"{_per_second(tokens, seconds, unit)}, measured earlier"


def keep_speed(key: str, *, tokens: int, seconds: float, unit: str = "tokens") -> tuple[float, str]:
    """Store a measured speed for the next estimate.

    Args:
        key: Key of what was measured.
        tokens: Processed; or how many of another unit.
        seconds: Spent on them.
        unit: What was counted.

    Returns:
        Units a second, and what to say about it.
    """
    seconds = max(seconds, 1e-6)
    path = _speeds_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        book = _stored() | {key: {"tokens": tokens, "seconds": seconds, "unit": unit}}
        temporary.write_text(json.dumps(book, indent=1) + "\n", encoding="utf-8")
    told = f"{_per_second(tokens, seconds, unit)}, measured on {tokens:,} {unit}"
    told += f" in {seconds:.1f} s"
    return tokens / seconds, told


def _per_second(count: int, seconds: float, unit: str) -> str:
    speed = count / seconds
    return f"{speed:,.0f} {unit}/s" if speed >= 10 else f"{speed:.2g} {unit}/s"  # noqa: PLR2004
