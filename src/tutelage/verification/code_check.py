"""Check of a program by its tests, in a sandbox."""

import ast
import re

from tutelage.verification.config import VerifySettings
from tutelage.verification.sandbox import LIMITS_ONLY, Ran, Refused, run_sandboxed
from tutelage.verification.verdict import Verdict, cannot_check, no_answer, right, wrong

LONGEST_PROGRAM = 200_000
_FENCE = re.compile(
    r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL
)
_PYTHON = ("python", "py", "python3")
_DEFINES = re.compile(r"^(?:@|class |def |async def |import |from )", re.MULTILINE)


def check_program(response: str, tests: str | None, settings: VerifySettings) -> Verdict:
    """Run a response's program with its tests in a sandbox.

    `right` means that every test ran and none raised. It is as good as the tests, and a program
    written to deceive its own tests from inside their process can still do so.

    Args:
        response: Python source, or prose with Python in Markdown fences.
        tests: Python statements that see what the program defined and raise if it is wrong.
        settings: The limits.

    Returns:
        `wrong` where a test raised or a limit was passed; `cannot_check` where there are no tests,
        the tests do not compile, or the system offers no isolation.
    """
    if tests is None or not tests.strip():
        return cannot_check("there are no tests")
    program = find_program(response)
    if program is None:
        return no_answer("the response contains no Python program")
    ran = run_sandboxed(
        program,
        tests,
        time_limit_seconds=settings.time_limit_seconds,
        memory_mebibytes=settings.program_memory_mebibytes,
        allow_weak=settings.allow_weak_sandbox,
    )
    if isinstance(ran, Refused):
        return cannot_check(ran.why)
    return _rule(ran)


def find_program(response: str) -> str | None:
    r"""Python source in a response.

    Of several fenced blocks those that define or import something are joined in order; the
    others are examples of use. Without a fence the whole text counts if it parses, or the part
    from its first definition on.

    Returns:
        The source, or None where there is none.

    Examples:
        >>> find_program("Here it is:\n```python\ndef f(x):\n    return x\n```\nEnjoy!")
        'def f(x):\n    return x\n'
        >>> find_program("I cannot do that.") is None
        True
    """
    response = response[:LONGEST_PROGRAM]
    fenced = [(m[1].lower(), m[2]) for m in _FENCE.finditer(response) if m[2].strip()]
    blocks = [text for name, text in fenced if name in _PYTHON or (not name and _parses(text))]
    if blocks:
        defining = [block for block in blocks if _DEFINES.search(block)]
        return "\n".join(defining or blocks)
    first = _DEFINES.search(response)
    for text in (response, response[first.start() :] if first is not None else ""):
        if text.strip() and _parses(text) and (first is not None or "=" in text):
            return text
    return None


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _rule(ran: Ran) -> Verdict:
    output = ran.output.strip()
    said = f": {output.splitlines()[-1][:300]}" if output else ""
    walls = "; not isolated, limits only" if ran.walls == LIMITS_ONLY else ""
    if ran.broken_tests:
        return cannot_check(f"the tests do not compile{said}")
    if ran.passed:
        return right(f"all tests passed in {ran.seconds:.2f} s{walls}")
    return wrong(f"{ran.why} ({ran.seconds:.2f} s{walls}){said}")
