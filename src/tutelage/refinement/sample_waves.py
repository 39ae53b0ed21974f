"""Sampling in waves: several teachers in stated shares, until enough responses are accepted.

    wave 1   K responses to every example              -> accepted?
    wave 2   as many as each example still lacks       -> accepted?
    ...      until it has K, or its budget of n is asked

A wave asks no more than is lacking, so an example never has more than K accepted responses. What
was asked depends on the replies alone, so a run that was interrupted asks the same again, and its
journal answers.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt

from tutelage.data import OK, Candidate, Example, content_hash
from tutelage.errors import SettingsError
from tutelage.refinement.concurrency import DEFAULT_OUTSTANDING, run_bounded
from tutelage.refinement.config import SampleSettings
from tutelage.refinement.sample import join_duplicates, sample_one
from tutelage.refinement.statuses import WAITING_FOR_BATCH
from tutelage.teacher import Teacher

GOLDEN = (sqrt(5) - 1) / 2
"""Steps of this size around a circle come nearest to an even spread for every number of steps."""

_HEX_DIGITS = 13
"""52 bits: they fit a float without rounding."""

Accept = Callable[[Sequence[tuple[Example, Candidate]]], Collection[str]]
"""Which candidates, by id, are accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Who answers, and in which shares.

    Attributes:
        teachers: At least one; their names differ.
        shares: Above 0, one a teacher; only their ratios count.
    """

    teachers: tuple[Teacher, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        names = [teacher.name for teacher in self.teachers]
        if not names or len(names) != len(self.shares):
            raise SettingsError(f"{len(names)} teachers with {len(self.shares)} shares")
        if len(set(names)) != len(names):
            raise SettingsError(
                f"two teachers have one name: {', '.join(names)}", hint="give them a `name` each"
            )
        if any(not 0 < share < float("inf") for share in self.shares):
            raise SettingsError(f"a share must be above 0, got {list(self.shares)}")

    def teacher_of(self, example_id: str, index: int) -> Teacher:
        """Who gives sample `index` of an example.

        Each example starts at its own point of a circle that is divided in the shares, and goes on
        in golden steps: so the shares hold over all, and nearly so within each example. Whom a
        sample is from depends on nothing else.
        """
        start = int(content_hash("teacher", example_id)[:_HEX_DIGITS], 16) / 16.0**_HEX_DIGITS
        point = (start + index * GOLDEN) % 1.0 * sum(self.shares)
        for teacher, share in zip(self.teachers, self.shares, strict=True):
            if point < share:
                return teacher
            point -= share
        return self.teachers[-1]


@dataclass(slots=True)
class _Progress:
    """How far one example is."""

    example: Example
    samples: list[Candidate] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)


async def sample_in_waves(
    examples: Iterable[Example],
    *,
    crowd: Crowd,
    settings: SampleSettings,
    accept: Accept | None = None,
    on_done: Callable[[Candidate], None] | None = None,
    outstanding: int = DEFAULT_OUTSTANDING,
) -> list[Candidate]:
    """Sample responses to every example, from one teacher or several.

    Args:
        examples: Whose instructions are answered.
        crowd: Who answers.
        settings: How. Without `accepted`, `n` responses each; with it, as many of at most `n` as
            it takes until so many are accepted.
        accept: Which responses are accepted; needed with `accepted`. It is given each text of an
            example once: a repeated response is never accepted a second time.
        on_done: Called with each reply as it comes.
        outstanding: The most requests in work at a time.

    Returns:
        One candidate a request, example by example, in order of their index; equal responses of
        one example are joined, whoever wrote them.

    Raises:
        SettingsError: `accepted` without `accept`.
    """
    if settings.accepted is not None and accept is None:
        raise SettingsError("`accepted` needs a check that accepts", hint="give --accept CHECK")
    progress = [_Progress(example) for example in examples]

    async def one(_: int, unit: tuple[_Progress, int]) -> Candidate:
        of, index = unit
        teacher = crowd.teacher_of(of.example.example_id, index)
        candidate = await sample_one(of.example, index, teacher=teacher, settings=settings)
        if on_done is not None:
            on_done(candidate)
        return candidate

    while units := [(of, index) for of in progress for index in _next(of, settings)]:
        replies = await run_bounded(units, one, outstanding=outstanding)
        for (of, _), candidate in zip(units, replies, strict=True):
            of.samples.append(candidate)
        asked = {id(of): of for of, _ in units}
        for of in asked.values():
            of.samples = join_duplicates(of.samples)
        if accept is not None:
            _accept(list(asked.values()), accept)
    return [candidate for of in progress for candidate in of.samples]


def _next(of: _Progress, settings: SampleSettings) -> range:
    """The indexes of the samples to ask for now."""
    begun = len(of.samples)
    if settings.accepted is None:
        return range(begun, settings.n)
    waiting = sum(sample.status == WAITING_FOR_BATCH for sample in of.samples)
    lacking = max(0, settings.accepted - len(of.accepted) - waiting)
    return range(begun, min(settings.n, begun + lacking))


def _accept(asked: Sequence[_Progress], accept: Accept) -> None:
    """Check the texts that came with the last wave."""
    written = [
        (of, candidate)
        for of in asked
        for candidate in of.samples
        if candidate.status == OK and candidate.candidate_id not in of.checked
    ]
    found = set(accept([(of.example, candidate) for of, candidate in written]))
    for of, candidate in written:
        of.checked.add(candidate.candidate_id)
        if candidate.candidate_id in found:
            of.accepted.add(candidate.candidate_id)
