"""Pool of answers to rank, with what is known of each answer, and the result of a ranking."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from tutelage.data import OK, Candidate, Example, Row, content_hash, read
from tutelage.errors import DataError
from tutelage.experiments.rank.standings import asking_order
from tutelage.pipeline.config import DataSettings
from tutelage.pipeline.stage import Tally

EntrantKind: TypeAlias = Literal["teachers", "sources"]

_SHOWN_FIELDS = 8
"""Most fields listed in a message."""
UNNAMED = "(unnamed)"
"""Author or source where the data names none."""


class PoolFields(BaseModel):
    """Field names of an answer's author, domain and other facts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str | None = Field(
        default=None, description="What kind of question it is; by default the row's source."
    )
    right: str | None = Field(default=None, description="Whether the answer is right: true, false.")
    reward: str | None = Field(default=None, description="The quality of the answer, at least 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAnswer:
    """One answer of a pool.

    Attributes:
        question: Hash of the conversation before the answer; the same for all who answer it.
        entrant: The teacher, or the source of the question.
        domain: What kind of question it is; empty where unknown.
        candidate: The answer.
        example: The question with its reference.
        right: 1.0 or 0.0 where the data says so.
        reward: Where the data has one.
    """

    question: str
    entrant: str
    domain: str
    candidate: Candidate
    example: Example
    right: float | None = None
    reward: float | None = None


def question_of(example: Example) -> str:
    """Hash of a question, equal for answers to the same question."""
    return content_hash("key", [[m.role, m.content] for m in example.context])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Answers of a pool by question.

    Attributes:
        answers: The answers to the drawn questions, in the order of asking.
        left_out: Rows that are no example, by status, and rows read again (`duplicate`).
    """

    answers: Sequence[PoolAnswer]
    left_out: Mapping[str, int]


def pool_answers(
    data: DataSettings,
    *,
    kind: EntrantKind,
    fields: PoolFields,
    questions: int | None,
    seed: int,
) -> Pool:
    """Answers to a sample of a pool's questions, in the order of asking.

    The data is read twice, once for the questions and once for the requested answers, so only the
    sampled part is in memory. The sample depends on the texts of the questions and the seed, not on
    their order.

    Args:
        data: Where the pool is.
        kind: Whether all teachers share the draw, or each source has its own.
        fields: What the rows say about answers.
        questions: How many at most (of each source, where sources are ranked); None takes all.
        seed: Seed of the draw.

    Raises:
        DataError: The pool holds no answer, or a field is not what it should be.
    """
    wanted = _drawn(data, kind=kind, questions=questions, seed=seed)
    found: dict[str, PoolAnswer] = {}
    statuses: Counter[str] = Counter()
    named = {name for name in (fields.domain, fields.right, fields.reward) if name is not None}
    extras: Counter[str] = Counter()
    for row in read(data.path, settings=data):
        statuses[row.status] += 1
        if row.example is not None and not named <= extras.keys():
            extras.update(_extra(row.example).keys())
        for answer in _of_row(row, kind=kind, fields=fields):
            if answer.question in wanted[_pot(answer.entrant, kind)]:
                found.setdefault(f"{answer.candidate.candidate_id} {answer.entrant}", answer)
    if not found:
        raise DataError(
            f"{data.path}: contains no answer to rank",
            hint="a pool has the fields instruction, model and response; --map names others",
        )
    if absent := sorted(named - extras.keys()):
        known = ", ".join(name for name, _ in extras.most_common(_SHOWN_FIELDS))
        raise DataError(
            f"{data.path}: no row has the field {absent[0]!r}",
            hint=f"the further fields of the rows are {known}"
            if known
            else "the rows have no further fields",
        )
    statuses.pop(OK, None)
    return Pool(answers=in_asking_order(found.values(), seed=seed), left_out=dict(statuses))


def in_asking_order(answers: Iterable[PoolAnswer], *, seed: int) -> list[PoolAnswer]:
    """Answers sorted by question, so that those with a common context are read together.

    Fewer questions are the first of more, so a reading that was stopped serves a smaller ranking.
    """
    found = list(answers)
    order = asking_order(sorted({answer.question for answer in found}), seed=seed)
    place = {question: index for index, question in enumerate(order)}
    return sorted(found, key=lambda a: (place[a.question], a.entrant, a.candidate.candidate_id))


def _pot(entrant: str, kind: EntrantKind) -> str:
    return "" if kind == "teachers" else entrant


def _drawn(
    data: DataSettings, *, kind: EntrantKind, questions: int | None, seed: int
) -> Mapping[str, set[str]]:
    seen: dict[str, set[str]] = {}
    for row in read(data.path, settings=data):
        if row.example is not None and row.candidates:
            question = question_of(row.example)
            for candidate in row.candidates:
                name = _entrant(row.example, candidate, kind=kind)
                seen.setdefault(_pot(name, kind), set()).add(question)
    return {
        pot: set(asking_order(sorted(names), seed=seed)[:questions]) for pot, names in seen.items()
    }


def _entrant(example: Example, candidate: Candidate, *, kind: EntrantKind) -> str:
    if kind == "sources":
        return example.source or UNNAMED
    return candidate.teacher or UNNAMED


def _of_row(row: Row, *, kind: EntrantKind, fields: PoolFields) -> Iterator[PoolAnswer]:
    if row.example is None:
        return
    extra = _extra(row.example)
    place = f"{row.file}:{row.line}"
    domain = row.example.source if fields.domain is None else extra.get(fields.domain)
    for candidate in row.candidates:
        yield PoolAnswer(
            question=question_of(row.example),
            entrant=_entrant(row.example, candidate, kind=kind),
            domain="" if kind == "sources" or domain is None else str(domain),
            candidate=candidate,
            example=row.example,
            right=_number(extra, fields.right, place=place, least=0.0, most=1.0),
            reward=_number(extra, fields.reward, place=place, least=0.0),
        )


def _extra(example: Example) -> Mapping[str, Any]:
    if example.extra is None:
        return {}
    found = json.loads(example.extra)
    return found if isinstance(found, Mapping) else {}


def _number(
    extra: Mapping[str, Any],
    name: str | None,
    *,
    place: str,
    least: float = 0.0,
    most: float = math.inf,
) -> float | None:
    if name is None or extra.get(name) is None:
        return None
    value = extra[name]
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{place}: {name} is {value!r}, not a number", hint="null means unknown"
        ) from error
    if not (least <= found <= most and math.isfinite(found)):
        upper = "" if math.isinf(most) else f" and at most {most:g}"
        raise DataError(
            f"{place}: {name} is {value!r}, it must be finite and at least {least:g}{upper}",
            hint="shift or squash rewards that can be negative first; right is true or false",
        )
    return found


def examples_of(answers: Sequence[PoolAnswer]) -> list[Example]:
    """Questions of the answers, each once, in their order."""
    return list({answer.question: answer.example for answer in answers}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Result of a ranking: standings, pairs and paths.

    Attributes:
        kind: What was ranked.
        by: The predictor that decides.
        answers: One row an answer, with its numbers.
        standings: The STANDINGS schema.
        pairs: The PAIRS schema.
        settling: The SETTLING schema; None for sources, which share no questions.
        student: What is known of the student.
        tally: How many answers have which status, seconds and tokens of reading.
        out: The folder.
    """

    kind: EntrantKind
    by: str
    answers: pa.Table
    standings: pa.Table
    pairs: pa.Table
    settling: pa.Table | None
    student: Mapping[str, Any]
    tally: Tally
    out: str
