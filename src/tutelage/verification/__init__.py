"""Verification: checks whether a response is right, by maths, text, code, IFEval or a judge.

Every check gives a `Verdict`: `right`, `wrong`, `no_answer` or `cannot_check`, with its evidence.
Nothing here is a score, and no failure is a number. `verify_table` is the door for many rows.
"""

from tutelage.verification.answer_extraction import Found, NotFound, find_answer
from tutelage.verification.code_check import check_program, find_program
from tutelage.verification.config import CheckName, VerifySettings
from tutelage.verification.ifeval import CHECKERS, check_constraint, check_constraints
from tutelage.verification.llm_judge import judge
from tutelage.verification.majority_vote import Agreement, find_agreement, verdicts_by_majority
from tutelage.verification.math_equivalence import HardClaim, check_maths
from tutelage.verification.math_pool import MathsWorkers
from tutelage.verification.run import claims_of, verdicts_to_table, verify_responses, verify_table
from tutelage.verification.sandbox import Ran, Refused, run_sandboxed, why_no_sandbox
from tutelage.verification.text_match import check_choice, check_exact
from tutelage.verification.verdict import (
    RULINGS,
    Claim,
    Constraint,
    Ruling,
    Verdict,
    conversation_of,
)

__all__ = [
    "CHECKERS",
    "RULINGS",
    "Agreement",
    "CheckName",
    "Claim",
    "Constraint",
    "Found",
    "HardClaim",
    "MathsWorkers",
    "NotFound",
    "Ran",
    "Refused",
    "Ruling",
    "Verdict",
    "VerifySettings",
    "check_choice",
    "check_constraint",
    "check_constraints",
    "check_exact",
    "check_maths",
    "check_program",
    "claims_of",
    "conversation_of",
    "find_agreement",
    "find_answer",
    "find_program",
    "judge",
    "run_sandboxed",
    "verdicts_by_majority",
    "verdicts_to_table",
    "verify_responses",
    "verify_table",
    "why_no_sandbox",
]
