"""Programs in responses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.verification.code_check import check_program, find_program
from tutelage.verification.config import VerifySettings
from tutelage.verification.sandbox import why_no_sandbox

SETTINGS = VerifySettings(check="code", time_limit_seconds=5)
needs_walls = pytest.mark.skipif(
    why_no_sandbox() is not None, reason=f"no isolation here: {why_no_sandbox()}"
)
DOUBLE = "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("response", "program"),
    [
        (f"```python\n{DOUBLE}```", DOUBLE),
        (f"Sure!\n\n```py\n{DOUBLE}```\nUse it so:\n```python\nprint(double(2))\n```", DOUBLE),
        (f"```\n{DOUBLE}```\nOutput:\n```\n4 is printed\n```", DOUBLE),
        (f"```python\n{DOUBLE}", DOUBLE),
        (DOUBLE, DOUBLE),
        (f"Here is the function.\n\n{DOUBLE}", DOUBLE),
        ("```python\nimport math\n```\n```python\ndef f():\n    return math.pi\n```", None),
        ("x = 5", "x = 5"),
    ],
)
def test_the_program_is_found(response, program):
    found = find_program(response)
    if program is None:
        assert found is not None
        assert found.index("import math") < found.index("def f")
    else:
        assert found == program


@pytest.mark.parametrize("response", ["", "I cannot.", "```bash\nls\n```", "42", "No def here (x"])
def test_other_responses_hold_no_program(response):
    assert find_program(response) is None


@given(st.text(max_size=100))
def test_no_response_breaks_the_search(response):
    find_program(response)


@needs_walls
@pytest.mark.parametrize(
    ("response", "tests", "verdict", "evidence"),
    [
        (DOUBLE, "assert double(2) == 4", "right", "all tests passed"),
        (DOUBLE, "assert double(2) == 5, 'not five'", "wrong", "AssertionError: not five"),
        (DOUBLE, "assert triple(2) == 6", "wrong", "NameError"),
        (DOUBLE, "assert double(", "cannot_check", "do not compile"),
        ("import os\nos._exit(0)", "pass", "wrong", "before the end of its tests"),
    ],
)
def test_a_program_is_right_when_all_its_tests_pass(response, tests, verdict, evidence):
    found = check_program(response, tests, SETTINGS)
    assert found.verdict == verdict
    assert evidence in found.evidence


def test_without_tests_or_program_nothing_is_run():
    assert check_program(DOUBLE, None, SETTINGS).verdict == "cannot_check"
    assert check_program(DOUBLE, " ", SETTINGS).verdict == "cannot_check"
    assert check_program("I cannot.", "pass", SETTINGS).verdict == "no_answer"
