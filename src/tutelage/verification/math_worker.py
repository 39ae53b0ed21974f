"""Worker process that compares formulas: `python -m tutelage.verification.math_worker SECONDS MIB`.

It reads one claim per line of its standard input and writes one verdict per line, as JSON. It is
a process of its own so that a formula that hangs or eats memory takes only itself down.

`math-verify` reads LaTeX into sympy objects; whether two of them are equal is decided here, because
its own comparison rounds to decimal places (so that all tiny numbers are equal) and depends on
which of the two is the reference.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tutelage.errors import MissingExtraError
from tutelage.verification.math_equivalence import (
    HardClaim,
    all_same,
    compare_expressions,
    conditions_of,
    listed_conditions,
    rule,
    same_sets,
)
from tutelage.verification.notations import as_latex
from tutelage.verification.number_parsing import read_quantity, same_measure
from tutelage.verification.verdict import Verdict, cannot_check

DECIMAL_TOLERANCE = 1.5e-6
"""Relative difference up to which a decimal matches a number without a finite decimal form, such as
3.141593 for pi.
"""
NOISE = 1e-9
"""Relative difference between two decimals that is explained by rounding in a program."""
_DIGITS, _MORE_DIGITS = 60, 400
_CLEARLY, _EXACTLY = 1e-30, 1e-250
_FEWEST_POINTS = 3
_POINTS = ("0.731", "2.217", "1.389", "-0.843", "3.571", "-1.927", "0.317", "-2.611")


def equal(one: Any, other: Any) -> bool | None:
    """Whether two sympy objects are equal; None where this cannot be decided.

    Symmetric. Numbers are compared with a relative tolerance that is zero unless a decimal
    fraction is among them; expressions with unknowns at several points; conditions on one unknown
    as the sets that they describe; equations up to a factor.
    """
    sympy = _sympy()
    one, other = _clean(one), _clean(other)
    if any(isinstance(x, sympy.MatrixBase) for x in (one, other)):
        return _same_matrices(one, other)
    if isinstance(one, sympy.Eq) and isinstance(other, sympy.Eq):
        return _same_equations(one, other)
    for first, second in ((one, other), (other, one)):
        if isinstance(first, sympy.Eq) and isinstance(second, sympy.Expr):
            return equal(first.rhs, second) if _is_name(first.lhs) else False
    if isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr):
        return _same_values(one, other)
    if isinstance(one, sympy.Expr) or isinstance(other, sympy.Expr):
        return _same_singles(one, other)
    return _same_conditions(one, other)


def _sympy() -> Any:
    return importlib.import_module("sympy")  # an extra without type stubs, slow to import


def _is_name(side: Any) -> bool:
    return bool(side.is_Symbol or side.is_Function)


def _clean(thing: Any) -> Any:
    """Expression with one symbol per name; i is the imaginary unit outside conditions."""
    sympy = _sympy()
    if isinstance(thing, sympy.MatrixExpr) and not thing.free_symbols:
        thing = thing.doit().as_explicit()  # sums and products of matrices
    if isinstance(thing, sympy.MatrixBase) or not isinstance(thing, sympy.Basic):
        return thing
    if isinstance(thing, sympy.Eq) and isinstance(thing.rhs, sympy.Set):
        return thing.rhs  # x in [1, 2]
    is_value = isinstance(thing, sympy.Expr)
    replaced: dict[Any, Any] = {}
    for symbol in thing.free_symbols:
        imaginary = is_value and symbol.name == "i"
        replaced[symbol] = sympy.I if imaginary else sympy.Symbol(symbol.name, real=True)
    cleaned = thing.xreplace(replaced)
    if is_value:
        if cleaned.has(sympy.Limit):
            cleaned = cleaned.doit()
        functions = cleaned.atoms(sympy.core.function.AppliedUndef)
        cleaned = cleaned.xreplace({f: sympy.Symbol(str(f), real=True) for f in functions})
    return cleaned


def _same_matrices(one: Any, other: Any) -> bool | None:
    sympy = _sympy()
    for matrix, thing in ((one, other), (other, one)):
        if isinstance(thing, sympy.Tuple | tuple | list) and 1 in getattr(matrix, "shape", ()):
            if len(matrix) != len(thing):
                return False
            return all_same(equal(a, b) for a, b in zip(list(matrix), thing, strict=True))
    if not (isinstance(one, sympy.MatrixBase) and isinstance(other, sympy.MatrixBase)):
        return None if not isinstance(one, sympy.Expr | sympy.MatrixBase) else False
    if one.shape != other.shape:
        # A row and a column of the same numbers: a vector either way, or not.
        return None if sorted(one.shape) == sorted(other.shape) else False
    return all_same(equal(a, b) for a, b in zip(list(one), list(other), strict=True))


def _same_values(one: Any, other: Any) -> bool | None:
    sympy = _sympy()
    floats = [bool(x.atoms(sympy.Float)) for x in (one, other)]
    tolerance = NOISE if any(floats) else 0.0
    if floats[0] != floats[1]:
        exact = other if floats[0] else one
        tolerance = NOISE if _is_whole(exact) else DECIMAL_TOLERANCE
    one, other = (_without_floats(x) for x in (one, other))
    one, other = _same_case(one, other)
    if one == other:
        return True
    if one.free_symbols or other.free_symbols:
        return _same_formulas(one, other, tolerance)
    return _same_numbers(one, other, tolerance)


def _is_whole(number: Any) -> bool:
    return bool(not number.free_symbols and number.is_integer)


def _without_floats(value: Any) -> Any:
    sympy = _sympy()
    return value.xreplace({f: sympy.Rational(str(f)) for f in value.atoms(sympy.Float)})


def _same_case(one: Any, other: Any) -> tuple[Any, Any]:
    """Unify C and c where each side has only one of them."""
    sympy = _sympy()
    mine, theirs = one.free_symbols, other.free_symbols
    if mine == theirs or len(mine) != len(theirs):
        return one, other
    names = [sorted(s.name.casefold() for s in symbols) for symbols in (mine, theirs)]
    if names[0] != names[1] or len(set(names[0])) != len(names[0]):
        return one, other
    lower = {s: sympy.Symbol(s.name.casefold(), real=True) for s in mine | theirs}
    return one.xreplace(lower), other.xreplace(lower)


def _same_numbers(one: Any, other: Any, tolerance: float) -> bool | None:
    sympy = _sympy()
    infinite = [x.has(sympy.oo, sympy.zoo, sympy.nan) for x in (one, other)]
    if any(infinite):
        return bool(all(infinite) and one.doit() == other.doit())
    apart = _apart(one, other, _DIGITS)
    if apart is None:
        return None
    if tolerance and apart <= tolerance:
        return True
    if apart > _CLEARLY:
        return False
    # Equal in all these digits, such as 3^200 and 3^200 + 1.
    one, other = one.doit(), other.doit()
    if one.is_Rational and other.is_Rational:
        return bool(one == other)
    apart = _apart(one, other, _MORE_DIGITS)
    return None if apart is None else apart < _EXACTLY


def _apart(one: Any, other: Any, digits: int) -> Any:
    """Relative difference of two numbers, at least 0; None without a value."""
    sympy = _sympy()
    first, second = (sympy.N(x, digits) for x in (one, other))
    if not (first.is_number and second.is_number and first.is_finite and second.is_finite):
        return None
    greater = max(abs(first), abs(second))
    if not greater:
        return 0.0
    difference = sympy.N(abs(first - second), digits)
    return difference / greater if greater else None


def _same_formulas(one: Any, other: Any, tolerance: float) -> bool | None:
    """Compare two formulas at fixed points."""
    sympy = _sympy()
    symbols = sorted(one.free_symbols | other.free_symbols, key=lambda s: s.name)
    kinds = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Derivative, sympy.Limit)
    summed = any(x.has(*kinds) for x in (one, other))
    if summed:
        return True if sympy.simplify(one.doit() - other.doit()) == 0 else None
    seen = 0
    complex_ = any(x.has(sympy.I) for x in (one, other))
    for start in range(len(_POINTS)):
        at = {
            symbol: sympy.Rational(_POINTS[(start + 3 * index) % len(_POINTS)]) + index
            for index, symbol in enumerate(symbols)
        }
        values = [sympy.N(x.xreplace(at), 40) for x in (one, other)]
        if not all(v.is_number and v.is_finite for v in values):
            continue
        if not complex_ and not all(v.is_real for v in values):
            continue  # roots and logarithms of negative numbers
        apart = _apart(values[0], values[1], 40)
        if apart is None or apart > max(tolerance, 1e-20):
            return False if apart is not None else None
        seen += 1
    if seen >= _FEWEST_POINTS:
        return True
    return True if sympy.simplify(one - other) == 0 else None


def _same_equations(one: Any, other: Any) -> bool | None:
    """Whether two equations are the same or multiples of each other."""
    sympy = _sympy()
    sides = [_without_floats(x.lhs - x.rhs) for x in (one, other)]
    if all(isinstance(x.lhs, sympy.Expr) and isinstance(x.rhs, sympy.Expr) for x in (one, other)):
        first, second = (sympy.expand(side) for side in sides)
        if not first.free_symbols or first.free_symbols != second.free_symbols:
            named = [x for x in (one, other) if _is_name(x.lhs)]
            if len(named) == 2 and one.lhs != other.lhs:  # noqa: PLR2004  (f(x) = ... and y = ...)
                return equal(one.rhs, other.rhs)
            return False
        ratio = sympy.simplify(sympy.together(first) / sympy.together(second))
        if not ratio.free_symbols:
            return bool(ratio.is_finite and ratio != 0)
        return False if first.is_polynomial() and second.is_polynomial() else None
    return equal(one.rhs, other.rhs) if one.lhs == other.lhs else None


def _same_singles(one: Any, other: Any) -> bool | None:
    """Compare a value with something else: a set of one value is equal to that value."""
    sympy = _sympy()
    value, thing = (one, other) if isinstance(one, sympy.Expr) else (other, one)
    if isinstance(thing, sympy.FiniteSet) and len(thing) == 1:
        return equal(value, next(iter(thing)))
    return False


def _same_conditions(one: Any, other: Any) -> bool | None:
    """Compare sets, intervals, inequalities and combinations of them."""
    sympy = _sympy()
    if one == other:
        return True
    finite = [isinstance(x, sympy.FiniteSet) for x in (one, other)]
    if all(finite) and not any(_is_condition(e) for x in (one, other) for e in x):
        return same_sets(list(one), list(other), equal)
    for kind in (sympy.Tuple, tuple, list):
        if isinstance(one, kind) and isinstance(other, kind):
            if len(one) != len(other):
                return False
            return all_same(equal(a, b) for a, b in zip(one, other, strict=True))
    sets = [_as_set(x) for x in (one, other)]
    if sets[0] is None or sets[1] is None:
        return _same_inequalities(one, other)
    return _same_real_sets(sets[0], sets[1])


def _is_condition(thing: Any) -> bool:
    sympy = _sympy()
    return isinstance(thing, sympy.logic.boolalg.Boolean) and not isinstance(thing, sympy.Symbol)


def _as_set(thing: Any) -> Any:
    """Set of numbers that an expression describes; None where it describes none."""
    sympy = _sympy()
    if isinstance(thing, sympy.FiniteSet) and any(_is_condition(e) for e in thing):
        parts = [_as_set(e) for e in thing]
        return None if None in parts else sympy.Union(*parts)
    if isinstance(thing, sympy.Set):
        return thing
    if isinstance(thing, sympy.Tuple) and len(thing) == 2:  # noqa: PLR2004  (two ends)
        return sympy.Interval.open(*thing)
    if _is_condition(thing) and len(thing.free_symbols) <= 1:
        return _exact(thing).as_set()
    return None


def _exact(thing: Any) -> Any:
    sympy = _sympy()
    return thing.xreplace({f: sympy.Rational(str(f)) for f in thing.atoms(sympy.Float)})


def _same_real_sets(one: Any, other: Any) -> bool | None:
    sympy = _sympy()
    if isinstance(one, sympy.Interval) and isinstance(other, sympy.Interval):
        if (one.left_open, one.right_open) != (other.left_open, other.right_open):
            return False
        return all_same([equal(one.start, other.start), equal(one.end, other.end)])
    one, other = _exact(one), _exact(other)
    only = [sympy.Complement(one, other).is_empty, sympy.Complement(other, one).is_empty]
    return False if False in only else None if None in only else True


def _same_inequalities(one: Any, other: Any) -> bool | None:
    """Compare inequalities with several unknowns, up to a positive factor."""
    sympy = _sympy()
    joined = (sympy.And, sympy.Or)
    if isinstance(one, joined) and isinstance(other, joined):
        if type(one) is not type(other):
            return False
        return same_sets(list(one.args), list(other.args), _same_inequalities)
    if not all(isinstance(x, sympy.core.relational.Relational) for x in (one, other)):
        return None
    kinds, sides = zip(*(_as_greater(x) for x in (one, other)), strict=True)
    ratio = sympy.simplify(sides[0] / sides[1]) if sides[1] != 0 else sympy.nan
    if ratio.free_symbols or not ratio.is_finite:
        return False
    unordered = isinstance(one, sympy.Ne)
    return bool(kinds[0] is kinds[1] and (ratio > 0 or (unordered and ratio != 0)))


def _as_greater(relation: Any) -> tuple[type, Any]:
    sympy = _sympy()
    flipped = isinstance(relation, sympy.StrictLessThan | sympy.LessThan)
    kind = type(relation.reversed) if flipped else type(relation)
    side = relation.lhs - relation.rhs
    return kind, _without_floats(-side if flipped else side)


def any_equal(ours: Sequence[object], theirs: Iterable[object]) -> bool | None:
    """Whether one reading of the answer equals one reading of the reference."""
    compare: Callable[[Any, Any], bool | None] = equal
    sympy = _sympy()
    results = [
        compare(a, b)
        for b in theirs
        for a in ours
        if not isinstance(a, str)
        and not isinstance(b, str)
        and isinstance(a, sympy.Basic | sympy.MatrixBase)
    ]
    return True if True in results else None if None in results or not results else False


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
