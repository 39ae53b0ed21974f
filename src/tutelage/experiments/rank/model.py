"""Result of a ranking of teachers or sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tutelage.experiments.rank.answer_pool import EntrantKind
from tutelage.pipeline.stage import Tally


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
