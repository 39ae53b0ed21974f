"""How far apart two ways of writing are, by what can be seen without understanding them.

Eleven numbers of the surface of a text: how long it is, how long its words and sentences, how many
lines, and which share of it are digits, operators, brackets and quotes, markup, capitals, commas,
list markers. The distance of two texts is the mean absolute difference of the eleven, each in
standard deviations over all texts of the comparison. Our own; a program, a JSON object and a
chat answer lie far apart, two chat answers of different opinions do not.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tutelage.errors import DataError
from tutelage.stats.intervals import Numbers

FEATURES = (
    "log_words",
    "characters_a_word",
    "log_words_a_sentence",
    "log_lines",
    "digits",
    "operators",
    "brackets_and_quotes",
    "markup",
    "capitals",
    "commas",
    "list_lines",
)
"""The names of the eleven numbers; those after `log_lines` are shares in [0, 1]."""

_SENTENCE = re.compile(r"[.?!\u3002\uff01\uff1f]+(?:\s|$)")
_LIST_LINE = re.compile(r"\s*(?:[-*\u2022+]|\(?\d{1,3}[.)])\s")
_OPERATORS = frozenset("=+-*/<>^%$")
_BRACKETS = frozenset("()[]{}\"'\u201c\u201d")
_MARKUP = frozenset("\\`_#|~")
_COMMAS = frozenset(",;:")


def style_features(text: str) -> Numbers:
    """The numbers of `FEATURES`, float64; zeros for a text without a word.

    Examples:
        >>> style_features("x = 1").round(2).tolist()[4:6]
        [0.33, 0.33]
    """
    words = text.split()
    if not words:
        return np.zeros(len(FEATURES))
    characters = sum(map(len, words))
    sentences = max(1, len(_SENTENCE.findall(text)))
    lines = [line for line in text.splitlines() if line.strip()]
    letters = sum(c.isalpha() for c in text)

    def share(kind: frozenset[str]) -> float:
        return sum(c in kind for c in text) / characters

    return np.array(
        [
            np.log1p(len(words)),
            characters / len(words),
            np.log1p(len(words) / sentences),
            np.log1p(len(lines)),
            sum(c.isdigit() for c in text) / characters,
            share(_OPERATORS),
            share(_BRACKETS),
            share(_MARKUP),
            sum(c.isupper() for c in text) / max(1, letters),
            share(_COMMAS),
            sum(bool(_LIST_LINE.match(line)) for line in lines) / len(lines),
        ]
    )


def style_distances(
    answers: Sequence[tuple[str, str]], *, own: Mapping[str, str]
) -> list[float | None]:
    """The distance of each answer from the student's own answer to the same question.

    Args:
        answers: Question and text.
        own: The student's answer by question.

    Returns:
        In the order given, at least 0 standard deviations; None where the student has no answer.

    Raises:
        DataError: The student has answered none of the questions.

    Examples:
        >>> style_distances([("q", "Yes."), ("q", "No, 3.")], own={"q": "Yes."})[0]
        0.0
    """
    if not any(question in own for question, _ in answers):
        raise DataError("the student answered none of the questions: there is no style to compare")
    ours = {question: style_features(text) for question, text in own.items()}
    theirs = [style_features(text) for _, text in answers]
    spread = np.vstack([*theirs, *ours.values()]).std(axis=0)
    spread[spread == 0] = 1.0  # all alike: the difference is 0 whatever it is divided by
    return [
        float((np.abs(features - ours[question]) / spread).mean()) if question in ours else None
        for (question, _), features in zip(answers, theirs, strict=True)
    ]
