"""Repeated selection from stored scores, under another rule or another name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tutelage.errors import SettingsError
from tutelage.pipeline import stages
from tutelage.pipeline.config import checked
from tutelage.pipeline.gate_stage import ensure_calibrated
from tutelage.pipeline.resources import Doors, note
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.stage import noted
from tutelage.pipeline.staleness import stale_outputs
from tutelage.progress import Progress
from tutelage.selection import SelectSettings


def select_again(
    root: Path,
    *,
    given: Mapping[str, Any],
    student: str | None,
    progress: Progress,
    afresh: bool = False,
    name: str | None = None,
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Select again from stored scores; the student is needed only to fit a quality gate.

    Args:
        root: The run folder.
        given: Settings of the selection that differ from those of the last one.
        student: Fingerprint of the student whose scores decide; None takes the run's own.
        progress: Told how far it is.
        afresh: Whether what is not given is the default, and not what it was last time.
        name: Write it to `selections/NAME/` and leave the other selections as they are; None or
            `main` is the run's own selection.
        doors: How the student is reached, where a quality gate has to be fitted.

    Returns:
        The tally of the selection.

    Raises:
        SettingsError: A setting is wrong, or there are no scores of that student.
    """
    run = RunFolder(root=root).existing().with_selection(name)
    settings = selection_settings(run, given=given, afresh=afresh)
    manifest = run.read_manifest()
    fingerprint = student or manifest.get("student", {}).get("fingerprint")
    _need_scores_of(run, student)
    with run.locked():
        if settings.quality_gate == "calibrated":
            ensure_calibrated(
                run, settings, fingerprint=fingerprint, progress=progress, doors=doors
            )
        tally = stages.select_once(run, settings=settings, student=fingerprint, progress=progress)
        if older := [one.text for one in stale_outputs(run)]:
            tally = {**tally, "out_of_date": older}
        if run.selection is not None:
            return {**tally, "selection": run.selection, "out": str(run.decided_in)}
        # Only now: what was refused must not be what the next call starts from.
        note(
            run,
            settings={**manifest.get("settings", {}), "select": settings.model_dump(mode="json")},
            seeds={"select": settings.seed},
        )
        return tally


def selection_settings(run: RunFolder, *, given: Mapping[str, Any], afresh: bool) -> SelectSettings:
    """The settings of a new selection: those that are given, else those of the last one.

    Args:
        run: A run folder with scores, and the selection to write.
        given: Settings that differ from those of the last selection.
        afresh: Whether what is not given is the default.

    Raises:
        RunError: Nothing has been scored.
        SettingsError: A setting is wrong.
    """
    run.need(run.scores)
    before = dict(run.read_manifest().get("settings", {}).get("select", {}))
    last = noted(run, run.select_stage)
    if run.selection is not None and last is not None:
        before = dict(last["tally"].get("rule", {}))
    if afresh or given.get("rule", before.get("rule")) != before.get("rule"):
        before = {}
    return checked(SelectSettings, {**before, **given}, place="select")


def _need_scores_of(run: RunFolder, student: str | None) -> None:
    column = pq.read_table(run.scores, columns=["student"])["student"]
    there = sorted({str(name) for name in column.unique().to_pylist()})
    if student is not None and student not in there:
        raise SettingsError(
            f"{run.scores}: holds no scores of a student {student!r}",
            hint=f"--student takes one of {', '.join(there)}",
        )
