"""The share of the student's answers that are right."""

import numpy as np
import pyarrow as pa

from tutelage.errors import DataError
from tutelage.filters.candidate_texts import Pool
from tutelage.filters.config import PassRateSettings
from tutelage.filters.numeric import Numbers, column_numbers


def measure_pass_rate(
    pool: Pool, settings: PassRateSettings, *, scores: pa.Table | None = None
) -> Numbers:
    """Look the pass rate up. 0 means the student never gets it right, 1 that it always does.

    Raises:
        DataError: A rate is outside [0, 1], as a rate in percent would be.
    """
    measured = column_numbers(pool, settings.column, scores=scores)
    outside = measured.known_N & ((measured.values_N < 0.0) | (measured.values_N > 1.0))
    for row in np.flatnonzero(outside)[:1].tolist():
        raise DataError(
            f"candidate {pool.candidate_ids[row]}: {settings.column} is "
            f"{measured.values_N[row]}, which is not a fraction in [0, 1]",
            hint="divide the column by the number of answers, or name another column",
        )
    return measured
