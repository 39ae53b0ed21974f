"""Dry run of an audit: what the student would read (`tutelage audit --dry-run`)."""

from dataclasses import replace
from typing import Any

from tutelage.data import OK, read
from tutelage.experiments.audit.config import AuditSettings
from tutelage.experiments.audit.run import PLANTS, draw_sample, planted_into
from tutelage.pipeline.check_estimate import gate_work
from tutelage.pipeline.jobs import with_responses
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.work_estimate import (
    MEASURE_SECONDS,
    reading_of,
    reading_work,
    summed,
    text_sample,
)
from tutelage.progress import Progress


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
        progress: Notified of each row.
        doors: How the student is reached.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.
    """
    found = draw_sample(
        with_responses(read(settings.data.path, settings=settings.data)),
        examples=settings.examples,
        seed=settings.seed,
        progress=progress,
    )
    texts = [c for c in found.candidates if c.status == OK]
    sample = text_sample(texts)
    reading = reading_of(
        sample,
        student=settings.student,
        metrics=None,
        doors=doors,
        measure_seconds=measure_seconds,
        every_statistic=True,
    )
    (planted,) = gate_work(
        planted_into(texts, settings),
        settings.gate,
        student=settings.student,
        doors=doors,
        measure_seconds=measure_seconds,
        already_read=True,
        **PLANTS,
    )
    work = [
        reading_work("score the sampled texts", reading, count=sample.count, unit="texts"),
        replace(planted, stage="score planted faults"),
    ]
    return {"rows": found.rows, **summed(work)}
