"""Features of the answers of a pool, from which rankings are made, and GRACE from gradients."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.data import OK, Unscored, content_hash, write_table
from tutelage.data.schemas import ANSWERS, GRADIENTS, STANDINGS, columns_of, table_schema
from tutelage.errors import DataError
from tutelage.experiments.rank.answer_pool import PoolAnswer, examples_of, question_of
from tutelage.experiments.rank.config import (
    FEWEST_FOR_GRACE,
    GraceSettings,
    OwnAnswers,
    RankSettings,
)
from tutelage.pipeline.resources import Doors, Reader, opened_journal, run_id
from tutelage.pipeline.run_dir import RunFolder, is_whole, sound
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
from tutelage.student import StudentSettings, open_student
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
        progress: Notified of each answer.
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


# ----------------------------------------------------------------------------------------------
# GRACE: does what a teacher's answers teach go together, and does it reach other questions?.
#
# Gradients of a part of the questions span directions; those of the others are measured in them.
# ----------------------------------------------------------------------------------------------


SPLITS = 10
TEST_FRACTION = 0.1
SMOOTHING = 1e-3


def grace(
    gradients_N_D: NDArray[np.float64], questions_N: NDArray[np.int64], *, seed: int = 0
) -> NDArray[np.float64]:
    """GRACE of one teacher: the mean over splits. Lower is better.

    trace(inverse(S_train) S_test), with S the second moment of gradients: those of the training
    questions scaled to length 1, its eigenvalues smoothed by a thousandth of their mean; those of
    the other questions as they are. The result does not depend on the order of gradients.

    Source: In Good GRACEs (arXiv 2511.02833), as in the authors' code. Deviations: the projection
    (see `student.gradients`), inner weights instead of adapters, and as many dimensions as the
    caller projects to, which should be fewer than training gradients.

    Args:
        gradients_N_D: One a response.
        questions_N: The question of each; splits are by question.
        seed: Seed of the splits.

    Returns:
        float64, one score a split.

    Raises:
        DataError: Fewer than 10 questions, or a gradient that is zero or not finite.
    """
    names = np.unique(questions_N)
    if len(names) < FEWEST_FOR_GRACE:
        raise DataError(f"GRACE needs at least {FEWEST_FOR_GRACE} questions, got {len(names)}")
    lengths_N = np.linalg.norm(gradients_N_D, axis=1)
    if not np.isfinite(gradients_N_D).all() or not (lengths_N > 0).all():
        raise DataError("a gradient is zero or not finite", hint="leave such answers out")
    order = np.lexsort((*gradients_N_D.T, questions_N))
    gradients, questions, lengths = gradients_N_D[order], questions_N[order], lengths_N[order]
    generator = np.random.default_rng(seed)
    tested = max(1, round(TEST_FRACTION * len(names)))
    scores = []
    for _ in range(SPLITS):
        test = np.isin(questions, generator.permutation(names)[:tested])
        train_N_D = gradients[~test] / lengths[~test, None]
        values_D, vectors_D_D = np.linalg.eigh(train_N_D.T @ train_N_D / len(train_N_D))
        smoothed_D = (1 - SMOOTHING) * np.maximum(values_D, 0.0) + SMOOTHING * values_D.mean()
        along_N_D = gradients[test] @ vectors_D_D
        scores.append(float(((along_N_D**2) / smoothed_D).sum(axis=1).mean()))
    return np.array(scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graced:
    """GRACE result of one teacher.

    Attributes:
        value: Mean over splits; lower is better. None with too few gradients.
        spread: Standard deviation over splits, which share their questions: not an interval.
        questions: With a gradient.
    """

    value: float | None
    spread: float | None
    questions: int


def grace_scores(
    answers: Sequence[PoolAnswer],
    settings: GraceSettings,
    *,
    student: StudentSettings,
    folder: Path,
    seed: int,
    progress: Progress,
) -> dict[str, Graced]:
    """GRACE of every teacher or source, on its first questions in the order of asking.

    Args:
        answers: In that order.
        settings: The settings.
        student: A small model: every answer costs a backward pass in float32.
        folder: Where gradients are kept; a second call computes only what is not there.
        seed: Seed of the projection and the splits.
        progress: Notified of each answer.
    """
    from tutelage.student.gradients import projected_gradients

    asked: dict[str, dict[str, None]] = {}  # of each, since sources share no questions
    for answer in answers:
        asked.setdefault(answer.entrant, {})[answer.question] = None
    allowed = {name: set(list(found)[: settings.questions]) for name, found in asked.items()}
    wanted = [a for a in answers if a.question in allowed[a.entrant] and a.candidate.status == OK]
    wanted.sort(key=lambda a: a.entrant)  # stable: questions keep their order
    found: dict[str, Graced] = {}
    progress.begin("gradients", total=len(wanted), unit="answers")
    model = open_student(student)
    try:
        for entrant, group in groupby(wanted, key=lambda a: a.entrant):
            mine = list(group)
            ids = [a.candidate.candidate_id for a in mine]
            key = content_hash("gradients", model.fingerprint, ids, settings.dimensions, seed)
            path = folder / f"{key}.parquet"
            if not is_whole(path):
                folder.mkdir(parents=True, exist_ok=True)
                gradients = projected_gradients(
                    (a.candidate for a in mine),
                    student=model,
                    dimensions=settings.dimensions,
                    seed=seed,
                )
                rows = []
                for answer, gradient in zip(mine, gradients, strict=True):
                    rows.append(_row(answer, gradient))
                    progress.advance()
                write_table(path, pa.Table.from_pylist(rows, schema=GRADIENTS))
            else:
                progress.advance(len(mine))
            found[entrant] = _graced(pq.read_table(sound(path)), seed=seed)
    finally:
        model.close()
    progress.end()
    return found


def _row(answer: PoolAnswer, gradient: Any) -> dict[str, Any]:
    failed = isinstance(gradient, Unscored)
    return {
        "question": answer.question,
        "candidate_id": answer.candidate.candidate_id,
        "status": gradient.reason if failed else OK,
        "gradient": None if failed else gradient.tolist(),
    }


def _graced(table: pa.Table, *, seed: int) -> Graced:
    rows = [row for row in table.to_pylist() if row["gradient"] is not None]
    rows = [row for row in rows if any(row["gradient"])]
    names = sorted({row["question"] for row in rows})
    if len(names) < FEWEST_FOR_GRACE:
        return Graced(value=None, spread=None, questions=len(names))
    place = {name: index for index, name in enumerate(names)}
    scores = grace(
        np.array([row["gradient"] for row in rows], dtype=np.float64),
        np.array([place[row["question"]] for row in rows]),
        seed=seed,
    )
    return Graced(
        value=float(scores.mean()), spread=float(scores.std(ddof=1)), questions=len(names)
    )


def with_grace(standings: pa.Table, scores: Mapping[str, Graced]) -> pa.Table:
    """Standings with rows for the predictor `grace`: value and rank, without an interval."""
    known = {name: g.value for name, g in scores.items() if g.value is not None}
    ordered = sorted(scores, key=lambda name: (name not in known, known.get(name, 0.0), name))
    rows = [
        {
            "domain": "all",
            "predictor": "grace",
            "entrant": name,
            "better": "lower",
            "value": known.get(name),
            "rank": 1 + sum(v < known[name] for v in known.values()) if name in known else None,
            "questions": scores[name].questions,
        }
        for name in ordered
    ]
    return pa.concat_tables([standings, pa.Table.from_pylist(rows, schema=STANDINGS)])
