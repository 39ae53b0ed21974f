"""The filter of an extension: a user's function says why a candidate is dropped."""

import re
from typing import Any

import numpy as np

from tutelage.data.extensions import extension_named
from tutelage.errors import DataError
from tutelage.filters.candidate_texts import Pool
from tutelage.filters.decisions import Verdicts

KEPT = "kept"
"""The reason of a candidate that the function keeps."""

_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")


def judge_by_extension(pool: Pool, function: str) -> Verdicts:
    """Ask the function once a candidate.

    Raises:
        DataError: It failed, or gave something other than None or a reason.
    """
    asked = extension_named("filter", function)
    reasons = []
    rows: Any = zip(
        pool.candidate_ids, pool.instructions.to_pylist(), pool.responses.to_pylist(), strict=True
    )
    for candidate_id, instruction, response in rows:
        about = f"candidate {candidate_id}"
        told = asked.call(
            {"candidate_id": candidate_id, "instruction": instruction, "response": response},
            about=about,
        )
        if told is not None and not (isinstance(told, str) and _REASON.fullmatch(told)):
            raise DataError(
                f"extension filter {function}: gave {told!r} for {about}",
                hint="give None to keep it, or one snake_case word that says why it is dropped",
            )
        reasons.append(told or KEPT)
    return Verdicts(
        kept_N=np.array([reason == KEPT for reason in reasons], dtype=np.bool_),
        reasons_N=reasons,
        values_N=np.zeros(len(reasons)),
        known_N=np.zeros(len(reasons), dtype=np.bool_),
        details_N=[None] * len(reasons),
    )
