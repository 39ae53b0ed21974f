"""Worker process that compares formulas: `python -m tutelage.verification.math_worker SECONDS MIB`.

It reads one claim per line of its standard input and writes one verdict per line, as JSON. It is
a process of its own so that a formula that hangs or eats memory takes only itself down.
"""

import importlib
import importlib.util
import json
import logging
import math
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from tutelage.errors import MissingExtraError
from tutelage.verification.algebra import any_equal
from tutelage.verification.math_equivalence import (
    HardClaim,
    compare_expressions,
    conditions_of,
    listed_conditions,
    rule,
)
from tutelage.verification.number_parsing import read_quantity, same_measure
from tutelage.verification.plain_formulas import as_latex
from tutelage.verification.verdict import Verdict, cannot_check

READY = "ready"
"""First line of a worker's output, written once math-verify is loaded."""
EXTRA_MISSING = 3
"""Exit status that means math-verify is not installed."""
STEPS_A_CLAIM = 4
"""Processor time of a claim, in step limits. Each step (two parses, one comparison) is limited by
an alarm; what the alarm cannot interrupt ends when the system ends the worker.
"""
_BARE_LOG = re.compile(r"(?<![A-Za-z])log(?![A-Za-z])(?!\s*_)")
_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Exceptions that sympy raises on formulas it cannot interpret."""


def require_math_verify() -> None:
    """Raise an error if math-verify is not installed.

    Raises:
        MissingExtraError: math-verify is not installed.
    """
    if importlib.util.find_spec("math_verify") is None:
        raise MissingExtraError(
            "comparing formulas needs math-verify",
            hint="pip install 'tutelage[maths]', or use check 'number' for plain numbers",
        )


def decide(claim: HardClaim, *, seconds: int = 5) -> Verdict:
    """Compare two formulas with math-verify.

    Must run in the main thread of its process: math-verify sets an alarm signal.

    Args:
        claim: The answer and the reference, without markup.
        seconds: Processor time of each step, at least 1.

    Returns:
        `cannot_check` where one side is not understood or the comparison fails.
    """
    trouble: list[str] = []

    def same(answer: str, reference: str) -> bool | None:
        ours, theirs = read_quantity(answer), read_quantity(reference)
        if ours is not None and theirs is not None:
            return same_measure(ours, theirs)
        return _same_formula(answer, reference, seconds=seconds, trouble=trouble)

    result = compare_expressions(claim.answer, claim.reference, same)
    if result is None:
        why = "; ".join(dict.fromkeys(trouble)) or "the two cannot be compared"
        return cannot_check(
            f"{why}: answer {claim.answer!r} ({claim.how}), reference {claim.reference!r}"
        )
    return rule(
        same=result,
        answer=claim.answer,
        reference=claim.reference,
        how=f"{claim.how}, by algebra",
    )


class _TooSlowError(Exception):
    """A comparison exceeded its time limit."""


def _same_formula(answer: str, reference: str, *, seconds: int, trouble: list[str]) -> bool | None:
    try:
        with _limited(seconds):
            ours = _parse(answer)
        with _limited(seconds):
            theirs = _parse(reference)
        for name, text, parsed in (("answer", answer, ours), ("reference", reference, theirs)):
            if not parsed:
                trouble.append(f"{name} {text!r} is not understood as a formula")
        if not ours or not theirs:
            return None
        with _limited(seconds):
            result = any_equal(ours, theirs)
    except _TooSlowError:
        trouble.append(f"no result within {seconds} s of processor time")
    except _FAILURES as error:
        trouble.append(f"{type(error).__name__}: {error}"[:200])
    else:
        return None if result is False and _may_be_natural(answer, reference) else result
    return None


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Context manager with a limit of processor time, so that no verdict depends on other programs.

    Only in the main thread.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _TooSlowError

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _parse(text: str) -> list[object]:
    """Expression that math-verify parses from the whole text, without its guesses in plain text."""
    conditions = conditions_of(text)
    if conditions:
        sympy = importlib.import_module("sympy")
        parts = [_parse(part) for part in conditions]
        return [sympy.And(*(part[0] for part in parts))] if all(parts) else []
    listed = listed_conditions(text)
    if listed:
        sympy = importlib.import_module("sympy")
        parts = [_parse(part) for part in listed]
        first = [part[0] for part in parts if part]
        # 1 < x, x < 3 means both; x < 1, x > 3 means either.
        return [sympy.And(*first), sympy.Or(*first)] if all(parts) else []
    library = importlib.import_module("math_verify")
    found = library.parse(
        f"${as_latex(text)}$",
        extraction_config=[library.LatexExtractionConfig()],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,  # `_limited` has a limit of processor time
        raise_on_error=True,
    )
    return list(found)


def _may_be_natural(answer: str, reference: str) -> bool:
    """Whether one side has a logarithm without a base, and the other a natural one or another."""
    bare = [_BARE_LOG.search(text) is not None for text in (answer, reference)]
    return bare[0] != bare[1] and any("ln" in text for text in (answer, reference))


def main(arguments: list[str], lines: Iterable[str]) -> None:
    """Decide claims, JSON line by JSON line, until the input ends."""
    seconds, mebibytes = int(arguments[0]), int(arguments[1])
    _limit_memory(mebibytes)
    logging.disable(logging.CRITICAL)
    try:
        require_math_verify()
        importlib.import_module("math_verify")  # before the first claim's time starts to run
    except MissingExtraError:
        sys.exit(EXTRA_MISSING)
    out = sys.stdout
    out.write(READY + "\n")
    out.flush()
    for line in lines:
        _limit_processor_time(seconds * STEPS_A_CLAIM)
        verdict = decide(HardClaim(**json.loads(line)), seconds=seconds)
        out.write(json.dumps([verdict.verdict, verdict.evidence]) + "\n")
        out.flush()


def _limit_processor_time(seconds: int) -> None:
    """Let the system end this process where the next claim takes longer."""
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    limit = math.ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit if most < 0 else min(limit, most), most))


def _limit_memory(mebibytes: int) -> None:
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ImportError:
        return
    size = mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(sys.argv[1:], sys.stdin)
