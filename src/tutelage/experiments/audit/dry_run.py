"""Dry run of an audit: what the student would read (`tutelage audit --dry-run`)."""

from typing import Any

from tutelage.data import read
from tutelage.experiments.audit.config import AuditSettings
from tutelage.experiments.audit.run import draw_sample
from tutelage.pipeline.load_stage import with_responses
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.work_estimate import (
    MEASURE_SECONDS,
    reading_of,
    reading_work,
    scaled_reading,
    summed,
    text_sample,
)
from tutelage.progress import Progress

READINGS_A_PLANT = 12
"""Approximate number of faulty texts made from each example with planted faults."""


def estimate_audit(
    settings: AuditSettings,
    *,
    progress: Progress,
    doors: Doors | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Estimate the texts, tokens and time of an audit.

    Args:
        settings: Settings of the audit.
        progress: Told of each row.
        doors: How the student is reached.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.
    """
    found = draw_sample(
        with_responses(read(settings.data.path, settings=settings.data)),
        examples=settings.examples,
        seed=settings.seed,
        progress=progress,
    )
    sample = text_sample(found.candidates)
    reading = reading_of(
        sample,
        student=settings.student,
        metrics=None,
        doors=doors,
        measure_seconds=measure_seconds,
        more_like_it=True,
    )
    planted = READINGS_A_PLANT * min(settings.planted, found.drawn)
    more = scaled_reading(reading, times=planted / sample.count if sample.count else 0.0)
    work = [
        reading_work("read the drawn texts", reading, count=sample.count, unit="texts"),
        reading_work("read planted faults", more, count=planted, unit="texts"),
    ]
    return {"rows": found.rows, **summed(work)}
