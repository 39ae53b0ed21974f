"""What a student knows of an example, from a handful of its own attempts.

The classes are those of SliCK (Gekhman et al., 2024, arXiv 2405.05904): greedy answers always
right (known), sometimes right (maybe known), never right but some sampled answer is (weakly
known), none right (unknown). They ask ten times with different examples in the prompt. Where only
one greedy answer was asked for, "sometimes" is told by the samples instead: that is a deviation.
"""

from typing import Literal, TypeAlias

from tutelage.data.attempts import Attempts

Knowledge: TypeAlias = Literal["known", "maybe_known", "weakly_known", "unknown"]
KNOWLEDGE: tuple[Knowledge, ...] = ("known", "maybe_known", "weakly_known", "unknown")

KNOWN_FROM = 0.9
"""With one greedy answer or none, the pass rate from which an example counts as known."""
MAYBE_FROM = 0.5
"""Without a greedy answer, the pass rate from which it counts as maybe known."""


def place(attempts: Attempts) -> Knowledge | None:
    """The class of an example, or None where there is no checked attempt.

    Examples:
        >>> place(Attempts(example_id="a", greedy=3, greedy_right=1))
        'maybe_known'
        >>> place(Attempts(example_id="a", greedy=1, sampled=4, sampled_right=1))
        'weakly_known'
    """
    if not attempts.checked:
        return None
    if not attempts.greedy:
        return place_rate(attempts.pass_rate or 0.0)
    if attempts.greedy_right == attempts.greedy:
        one_may_be_luck = attempts.greedy == 1 and attempts.sampled > 0
        if one_may_be_luck and attempts.sampled_right < KNOWN_FROM * attempts.sampled:
            return "maybe_known"
        return "known"
    if attempts.greedy_right:
        return "maybe_known"
    return "weakly_known" if attempts.sampled_right else "unknown"


def place_rate(rate: float, *, least: float = 0.0) -> Knowledge:
    """The class that a pass rate alone suggests.

    Args:
        rate: In [0, 1]; measured or predicted.
        least: At or below this rate an example is unknown; for predicted rates, which are never 0.
    """
    if rate <= least:
        return "unknown"
    if rate >= KNOWN_FROM:
        return "known"
    return "maybe_known" if rate >= MAYBE_FROM else "weakly_known"
