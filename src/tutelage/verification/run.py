"""Verification of claims: one verdict each, in their order."""

import asyncio
import importlib.util
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

import pyarrow as pa

from tutelage.data.extensions import extension_named
from tutelage.data.schemas import VERDICTS
from tutelage.data.thinking import split_thinking
from tutelage.errors import DataError, MissingExtraError, SettingsError
from tutelage.teacher import Teacher
from tutelage.verification.code_check import check_program
from tutelage.verification.config import VerifySettings
from tutelage.verification.ifeval import check_constraints
from tutelage.verification.llm_judge import judge
from tutelage.verification.math_equivalence import HardClaim, check_maths
from tutelage.verification.math_pool import MathsWorkers
from tutelage.verification.text_match import check_choice, check_exact
from tutelage.verification.verdict import (
    RULINGS,
    Claim,
    Constraint,
    Verdict,
    cannot_check,
    no_answer,
    shorten,
)

# The check of an extension: a user's function says whether a response is right.


def check_by_extension(claim: Claim, function: str | None) -> Verdict:
    """Check one claim with a user's function.

    Raises:
        DataError: It failed, or gave no verdict.
    """
    asked = extension_named("check", function)
    about = f"candidate {claim.candidate_id}" if claim.candidate_id else "a response"
    told = asked.call(claim, about=about)
    ruling, evidence = told if isinstance(told, tuple) and len(told) == 2 else (told, None)  # noqa: PLR2004
    for known in RULINGS:
        if ruling == known:
            said = str(evidence) if evidence else f"said by {asked.name}"
            return Verdict(verdict=known, evidence=shorten(said))
    raise DataError(
        f"extension check {asked.name}: gave {told!r} for {about}",
        hint=f"give one of {', '.join(RULINGS)}, or a pair of it and the evidence",
    )


WINDOW_ROWS = 4_096
"""Most verdicts that wait for an earlier, slower one before reading pauses."""
JUDGED_AT_ONCE = 64

_Pending: TypeAlias = "Verdict | Future[Verdict]"


def verify_table(
    claims: Iterable[Claim], settings: VerifySettings, *, teacher: Teacher | None = None
) -> Iterator[Verdict]:
    """Check claims lazily; verdicts come in the order of the claims.

    Worker processes and sandboxes are started when first needed and ended when the iterator ends,
    is closed, or fails.

    Args:
        claims: What is to be checked; read a few thousand ahead at most.
        settings: Which check, with which limits.
        teacher: The model that judges; needed by the check `judge` only.

    Raises:
        MissingExtraError: The check needs a library that is not installed; before any verdict.
        SettingsError: The check is `judge` and there is no teacher; before any verdict.
    """
    if settings.check == "judge":
        if teacher is None:
            raise SettingsError("check 'judge' needs a teacher", hint="name one with --teacher")
        return _judged(claims, teacher)
    if settings.check == "maths" and importlib.util.find_spec("math_verify") is None:
        raise MissingExtraError(
            "check 'maths' needs math-verify",
            hint="pip install 'tutelage[maths]', or use check 'number' for plain numbers",
        )
    return _checked(claims, settings)


def verify_responses(
    rows: Iterable[Mapping[str, object]],
    settings: VerifySettings,
    *,
    response_field: str = "response",
    reference_field: str = "reference",
    candidate_id_field: str | None = None,
    choices_field: str = "choices",
    tests_field: str = "tests",
    instruction_field: str = "instruction",
    kinds_field: str = "instruction_id_list",
    arguments_field: str = "kwargs",
    teacher: Teacher | None = None,
) -> pa.Table:
    """Check the responses of a data file.

    Only the fields that the check needs are read: the response and the reference (maths, number,
    exact, choice with its choices), the tests (code), the kinds and arguments of constraints
    (constraints), the instruction and the reference if there is one (judge).

    Args:
        rows: Mappings of field name to value. A reference may be a number.
        settings: Which check, with which limits.
        response_field: Which field holds the response.
        reference_field: Which field holds the right answer.
        candidate_id_field: Which field holds the id that comes back, if any.
        choices_field: A list of texts, or a JSON list.
        tests_field: Python statements that raise if the program is wrong, or a list of them.
        instruction_field: What was asked.
        kinds_field: A list of constraint kinds, as in IFEval.
        arguments_field: A list of mappings, one for each kind.
        teacher: The model that judges.

    Returns:
        A table of the schema `VERDICTS`, one row for each input row, in order.

    Raises:
        DataError: The first row has no field of the name that the check needs.
    """
    claims = claims_of(
        rows,
        settings,
        response_field=response_field,
        reference_field=reference_field,
        candidate_id_field=candidate_id_field,
        choices_field=choices_field,
        tests_field=tests_field,
        instruction_field=instruction_field,
        kinds_field=kinds_field,
        arguments_field=arguments_field,
    )
    return verdicts_to_table(verify_table(claims, settings, teacher=teacher))


def claims_of(
    rows: Iterable[Mapping[str, object]],
    settings: VerifySettings,
    *,
    response_field: str = "response",
    reference_field: str = "reference",
    candidate_id_field: str | None = None,
    choices_field: str = "choices",
    tests_field: str = "tests",
    instruction_field: str = "instruction",
    kinds_field: str = "instruction_id_list",
    arguments_field: str = "kwargs",
) -> Iterator[Claim]:
    """Claims of the rows of a data file; see `verify_responses` for the arguments.

    Raises:
        DataError: The first row has no field of the name that the check needs.
    """
    needed = {
        "code": (response_field, tests_field),
        "constraints": (response_field, kinds_field),
        "judge": (response_field, instruction_field),
        "extension": (response_field,),
    }.get(settings.check, (response_field, reference_field))
    for row, value in enumerate(rows):
        missing = [name for name in needed if name not in value]
        if row == 0 and missing:
            raise DataError(
                f"row 0: no field {missing[0]!r}; it has {', '.join(map(repr, value))}",
                hint=f"check {settings.check!r} needs the fields of the response and of what "
                "it is checked against; name them",
            )
        yield Claim(
            candidate_id=_text(value.get(candidate_id_field)) if candidate_id_field else None,
            response=_text(value.get(response_field)),
            reference=_text(value.get(reference_field)),
            choices=_texts(value.get(choices_field)),
            tests="\n".join(_texts(value.get(tests_field))) or None,
            constraints=_constraints(value.get(kinds_field), value.get(arguments_field)),
            instruction=_text(value.get(instruction_field)),
        )


def verdicts_to_table(verdicts: Iterable[Verdict]) -> pa.Table:
    """Verdicts as a table of the schema `VERDICTS`, numbered in the order given."""
    found = list(verdicts)
    return pa.table(
        {
            "row": range(len(found)),
            "candidate_id": [v.candidate_id for v in found],
            "verdict": [v.verdict for v in found],
            "evidence": [v.evidence for v in found],
        },
        schema=VERDICTS,
    )


def _checked(claims: Iterable[Claim], settings: VerifySettings) -> Iterator[Verdict]:
    workers = MathsWorkers(
        processes=settings.processes,
        seconds=settings.time_limit_seconds,
        mebibytes=settings.memory_mebibytes,
    )
    pool = ThreadPoolExecutor(settings.processes, thread_name_prefix="verify")
    waiting: deque[tuple[str | None, _Pending]] = deque()
    try:
        for claim in claims:
            waiting.append((claim.candidate_id, _begin(claim, settings, workers, pool)))
            while waiting and (len(waiting) >= WINDOW_ROWS or _is_done(waiting[0][1])):
                yield _finish(*waiting.popleft())
        while waiting:
            yield _finish(*waiting.popleft())
    finally:
        # Closing the workers first frees the threads that wait for them.
        pool.shutdown(wait=False, cancel_futures=True)
        workers.close()
        pool.shutdown(wait=True)


def _begin(
    claim: Claim, settings: VerifySettings, workers: MathsWorkers, pool: ThreadPoolExecutor
) -> _Pending:
    response = answer_of(claim.response or "")
    if isinstance(response, Verdict):
        return response
    if settings.check == "code":
        return pool.submit(check_program, response, claim.tests, settings)
    outcome = _compare(claim, response, settings)
    if isinstance(outcome, Verdict):
        return outcome
    if settings.check == "number":
        return cannot_check(f"not a plain number: {outcome.answer!r}, {outcome.reference!r}")
    return pool.submit(workers.decide, outcome)


def answer_of(response: str) -> str | Verdict:
    """Text after the last closed block of thinking, or the verdict that there is none."""
    if not response.strip():
        return no_answer("the response is empty")
    thinking = split_thinking(response)
    if thinking.closed and thinking.answer.strip():
        return thinking.answer
    why = "nothing follows the thinking" if thinking.closed else "the thinking is not closed"
    return no_answer(why)


def _compare(claim: Claim, response: str, settings: VerifySettings) -> Verdict | HardClaim:
    if settings.check == "constraints":
        return check_constraints(response, claim.constraints)
    if settings.check == "extension":
        return check_by_extension(replace(claim, response=response), settings.function)
    if claim.reference is None:
        return cannot_check("there is no reference")
    if settings.check == "exact":
        return check_exact(response, claim.reference, ignore_case=settings.ignore_case)
    if settings.check == "choice":
        return check_choice(response, claim.reference, claim.choices)
    return check_maths(response, claim.reference, instruction=claim.instruction)


def _is_done(pending: _Pending) -> bool:
    return isinstance(pending, Verdict) or pending.done()


def _finish(candidate_id: str | None, pending: _Pending) -> Verdict:
    verdict = pending if isinstance(pending, Verdict) else pending.result()
    return replace(verdict, candidate_id=candidate_id)


def _judged(claims: Iterable[Claim], teacher: Teacher) -> Iterator[Verdict]:
    remaining = iter(claims)
    # One loop for all: a teacher's connections belong to the loop they were opened in.
    with asyncio.Runner() as runner:
        while batch := list(islice(remaining, JUDGED_AT_ONCE)):
            for claim, verdict in zip(batch, runner.run(_judge_all(batch, teacher)), strict=True):
                yield replace(verdict, candidate_id=claim.candidate_id)


async def _judge_all(claims: list[Claim], teacher: Teacher) -> list[Verdict]:
    return await asyncio.gather(*(_judge_answer(claim, teacher) for claim in claims))


async def _judge_answer(claim: Claim, teacher: Teacher) -> Verdict:
    if claim.response is None or not claim.response.strip():
        return await judge(claim, teacher)
    answer = answer_of(claim.response)
    if isinstance(answer, Verdict):
        return answer
    return await judge(replace(claim, response=answer), teacher)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and math.isnan(value):
        return None  # how some readers write a missing number
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _texts(value: object) -> tuple[str, ...]:
    value = _loaded(value)
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)


def _loaded(value: object) -> object:
    """Parsed list of a cell with JSON; any other value unchanged."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value  # a text that happens to start with a bracket
    return value


def _constraints(kinds: object, arguments: object) -> tuple[Constraint, ...]:
    names, given = _texts(kinds), _loaded(arguments)
    if not isinstance(given, list) or len(given) != len(names):
        given = [None] * len(names)  # each check says which argument it misses
    return tuple(
        Constraint(kind=name, arguments={k: v for k, v in (values or {}).items() if v is not None})
        for name, values in zip(names, given, strict=True)
    )
