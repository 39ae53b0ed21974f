"""Features of the answers of a pool, from which rankings are made."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tutelage.data import OK
from tutelage.data.schemas import ANSWERS, columns_of, table_schema
from tutelage.errors import DataError
from tutelage.experiments.rank.answer_pool import PoolAnswer, examples_of, question_of
from tutelage.experiments.rank.config import OwnAnswers, RankSettings
from tutelage.pipeline.resources import Doors, Reader, opened_journal, run_id
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.score_stage import score_candidates
from tutelage.pipeline.student_attempts import (
    ANSWERED,
    CUT,
    AttemptSettings,
    attempt_all,
    own_teacher,
)
from tutelage.progress import Progress
from tutelage.stats.intervals import Numbers
from tutelage.verification import Claim, VerifySettings, verify_table

# ----------------------------------------------------------------------------------------------
# How far apart two ways of writing are, by what can be seen without understanding them.
#
# Eleven numbers of the surface of a text: how long it is, how long its words and sentences, how
# many
# lines, and which share of it are digits, operators, brackets and quotes, markup, capitals, commas,
# list markers. The distance of two texts is the mean absolute difference of the eleven, each in
# standard deviations over all texts of the comparison. Our own; a program, a JSON object and a
# chat answer lie far apart, two chat answers of different opinions do not.
# ----------------------------------------------------------------------------------------------


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
"""Names of the eleven features; those after `log_lines` are shares in [0, 1]."""

_SENTENCE = re.compile(r"[.?!\u3002\uff01\uff1f]+(?:\s|$)")
_LIST_LINE = re.compile(r"\s*(?:[-*\u2022+]|\(?\d{1,3}[.)])\s")
_OPERATORS = frozenset("=+-*/<>^%$")
_BRACKETS = frozenset("()[]{}\"'\u201c\u201d")
_MARKUP = frozenset("\\`_#|~")
_COMMAS = frozenset(",;:")


def style_features(text: str) -> Numbers:
    """Features of `FEATURES`, float64; zeros for a text without a word.

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
    """Style distance of each answer from the student's own answer to the same question.

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


# ----------------------------------------------------------------------------------------------
# Answer features.
# ----------------------------------------------------------------------------------------------


_NUMBER = {"right": 1.0, "wrong": 0.0, "no_answer": 0.0}


def answers_table(
    answers: Sequence[PoolAnswer],
    settings: RankSettings,
    *,
    student: Reader,
    progress: Progress,
    style: Sequence[float | None] | None = None,
) -> pa.Table:
    """Table with one row per answer: author, question, scores and correctness.

    Args:
        answers: Question by question: answers that share a context are read together.
        settings: What is wanted.
        student: The student that reads.
        progress: Told of each answer.
        style: The distance of each answer's style, where it is wanted.

    Returns:
        The columns above and one a number, null where there is none.
    """
    metrics = settings.metrics
    progress.begin("read", total=len(answers), unit="answers")
    rows: list[dict[str, Any]] = []
    scored = score_candidates((a.candidate for a in answers), student=student, metrics=metrics)
    for answer, score in zip(answers, scored, strict=True):
        rows.append(
            {
                "question": answer.question,
                "entrant": answer.entrant,
                "domain": answer.domain or None,
                "candidate_id": answer.candidate.candidate_id,
                "status": score["status"],
                "detail": score["detail"],
                "response_tokens": score["response_tokens"],
                **{name: score[name] for name in metrics},
            }
        )
        progress.advance()
    progress.end()
    more: dict[str, Sequence[float | None]] = {}
    if settings.check is not None:
        more["right"] = _checked(answers, settings.check)
    elif settings.fields.right is not None:
        more["right"] = [answer.right for answer in answers]
    if settings.fields.reward is not None:
        more["reward"] = [answer.reward for answer in answers]
    if style is not None:
        more["style_distance"] = style
    schema = table_schema(ANSWERS, columns_of(metrics, pa.float64()))
    table = pa.Table.from_pylist(rows, schema=schema)
    for name, values in more.items():
        table = table.append_column(name, pa.array(values, type=pa.float64()))
    return table


def _checked(answers: Sequence[PoolAnswer], check: VerifySettings) -> list[float | None]:
    """Correctness of each answer: 1 right, 0 wrong or no answer, None if not checkable."""
    found: list[float | None] = [None] * len(answers)
    places = [i for i, answer in enumerate(answers) if answer.candidate.status == OK]
    claims = (
        Claim(
            response=answers[i].candidate.response,
            reference=answers[i].example.reference,
            instruction=answers[i].candidate.instruction,
        )
        for i in places
    )
    for i, verdict in zip(places, verify_table(claims, check), strict=True):
        found[i] = _NUMBER.get(verdict.verdict)
    return found


def style_of(
    answers: Sequence[PoolAnswer],
    own: OwnAnswers,
    settings: RankSettings,
    *,
    run: RunFolder,
    doors: Doors,
    progress: Progress,
) -> list[float | None]:
    """Style distance of every answer from the student's own answer; None without one.

    The student answers once, without sampling; its answers are in the run's journal.

    Args:
        answers: The answers.
        own: Settings of the student's own answers.
        settings: The ranking.
        run: The run folder.
        doors: Factories of teacher and student.
        progress: Gets the progress.
    """
    asked = own.asked_through or own_teacher(settings.student, batch=own.batch)
    examples = examples_of(answers)
    with opened_journal(run, asked) as journal:
        attempts, _ = attempt_all(
            examples,
            settings=AttemptSettings(greedy=1, sampled=0, max_tokens=own.max_tokens),
            teacher=asked,
            journal=journal,
            run=run_id(run),
            doors=doors,
            progress=progress,
        )
    question = {example.example_id: question_of(example) for example in examples}
    texts: Mapping[str, str] = {
        question[attempt.example_id]: attempt.text
        for attempt in attempts
        if attempt.status in (ANSWERED, CUT) and attempt.text.strip()
    }
    there = [i for i, answer in enumerate(answers) if answer.candidate.status == OK]
    found: list[float | None] = [None] * len(answers)
    pairs = [(answers[i].question, answers[i].candidate.response) for i in there]
    for i, distance in zip(there, style_distances(pairs, own=texts), strict=True):
        found[i] = distance
    return found
