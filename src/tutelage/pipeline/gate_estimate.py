"""Estimate of a calibrated gate: the planted faults that the student has to read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.data import OK, Candidate
from tutelage.gate import DOSES, HELD_OUT, Dose
from tutelage.pipeline.gate_stage import is_calibrated, reading_of_run, texts_beyond_candidates
from tutelage.pipeline.reselection import selection_settings
from tutelage.pipeline.resources import Doors
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.stages import stored_candidates
from tutelage.pipeline.work_estimate import (
    MEASURE_SECONDS,
    Work,
    reading_of,
    reading_work,
    scaled_reading,
    summed,
    text_sample,
)
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings

GATE_TEXTS = "quality gate: candidates"
GATE_PLANTS = "quality gate: planted faults"


def gate_work(
    written: Sequence[Candidate],
    settings: SelectSettings,
    *,
    student: StudentSettings,
    doors: Doors | None,
    measure_seconds: float,
    doses: Sequence[Dose] = DOSES,
    held_out_fraction: float = HELD_OUT,
    already_read: bool = False,
    fresh: bool = False,
) -> list[Work]:
    """The readings of a calibrated gate as parts of a command's work.

    The faults are planted as the gate would plant them, so their texts are counted and not guessed.

    Args:
        written: The candidates, those without text included.
        settings: `quality_gate_examples`, `quality_gate_rejected` and `seed`.
        student: Who reads.
        doors: How the student is reached.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.
        doses: In which doses faults are planted.
        held_out_fraction: The share of the examples on which the gate is measured, in (0, 1).
        already_read: Whether the candidates were read before, with all statistics.
        fresh: Whether another student will read them, of which nothing is cached.
    """
    texts = [c for c in written if c.status == OK]
    plants = texts_beyond_candidates(
        texts, settings, doses=doses, held_out_fraction=held_out_fraction
    )
    parts = [(GATE_PLANTS, plants), *([] if already_read else [(GATE_TEXTS, texts)])]
    work = []
    for stage, candidates in parts:
        sample = text_sample(candidates)
        reading = reading_of(
            sample,
            student=student,
            metrics=None,
            doors=doors,
            measure_seconds=measure_seconds,
            every_statistic=True,
            kind=stage,
            more_like_it=fresh,
        )
        if fresh:
            reading = scaled_reading(reading, times=1.0)
        work.append(reading_work(stage, reading, count=sample.count, unit="texts"))
    return work[::-1]


def estimate_select(
    root: Path,
    *,
    given: Mapping[str, Any],
    student: str | None,
    afresh: bool = False,
    name: str | None = None,
    doors: Doors | None = None,
    measure_seconds: float = MEASURE_SECONDS,
) -> dict[str, Any]:
    """Texts that `select_again` would let the student score: none, unless a gate has to be fitted.

    Args:
        root: The run folder.
        given: Settings of the selection that differ from those of the last one.
        student: Fingerprint of the student whose scores decide; None takes the run's own.
        afresh: Whether what is not given is the default, and not what it was last time.
        name: Of a named selection.
        doors: How the student is reached.
        measure_seconds: How long its speed is measured at most; 0 takes the last measurement.

    Raises:
        RunError: There is no run, or nothing has been scored.
        SettingsError: A setting is wrong.
    """
    run = RunFolder(root=root).existing().with_selection(name)
    settings = selection_settings(run, given=given, afresh=afresh)
    written = list(stored_candidates(run.need(run.candidates)))
    work: list[Work] = []
    if settings.quality_gate == "calibrated":
        own = run.read_manifest().get("student", {}).get("fingerprint")
        fingerprint = str(student or own)
        if not is_calibrated(run, settings, fingerprint=fingerprint):
            reading = reading_of_run(run, fingerprint=fingerprint, doors=doors)
            work = gate_work(
                written, settings, student=reading, doors=doors, measure_seconds=measure_seconds
            )
    note = (
        {} if work else {"note": "a selection from stored scores reads nothing and takes seconds"}
    )
    return {"candidates": len(written), **summed(work), **note}
