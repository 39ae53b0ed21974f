"""Stage `quality_gate`: a calibrated gate is fitted on a run's own rows and judges all of them.

candidates, scores --> a sample of examples, with planted faults --> the student reads them
    --> quality_gate.json (the fitted gate) --> quality_gate.parquet (a result for each candidate)

Every reading comes from the student's cache where it is there, so only the plants cost time.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.data import END_VIEW, OK, ORIGINAL, VIEW_NAMES, Candidate, Reading, content_hash, read
from tutelage.errors import RunError, SettingsError
from tutelage.gate import (
    DOSES,
    FAULTS,
    HELD_OUT,
    MIN_EXAMPLES,
    NAMES,
    VERSION,
    Dose,
    GateRow,
    Part,
    PlantRow,
    ScoredText,
    TooFewRowsError,
    features_of,
    fit_gate,
    part_of,
    plain_features,
    plant,
)
from tutelage.gate.features import DIFFERENCES
from tutelage.metrics import most_of, statistics_for
from tutelage.pipeline.config import checked
from tutelage.pipeline.gate_results import NOT_FITTED, REJECTED, write_gate, write_results
from tutelage.pipeline.resources import Doors, Reader, opened_student
from tutelage.pipeline.run_dir import RunFolder, checksum
from tutelage.pipeline.score_stage import ReadingCounter
from tutelage.pipeline.stage import Stage, Tally, noted, quality_gate_stage, run_stage
from tutelage.pipeline.stages import stored_candidates
from tutelage.progress import Progress
from tutelage.selection import SelectSettings
from tutelage.student import Statistics, StudentSettings

GATE_VIEWS = (*VIEW_NAMES, END_VIEW)
"""Views that the gate's features are computed from."""
_CLEAN_MOST = 4000
"""Most clean candidates on which a gate is fitted and measured."""
_MEASURED: Statistics = "full"
"""Statistics that the features of a text are made of."""


def statistics_needed(metrics: Sequence[str], settings: SelectSettings) -> Statistics:
    """Statistics that scores and a calibrated gate need of each candidate.

    Scores are measured with these, so that the gate finds its numbers in the student's cache.

    Args:
        metrics: Metrics of the scores.
        settings: The selection, with or without a gate.
    """
    gate = _MEASURED if settings.quality_gate == "calibrated" else "nll"
    return most_of(statistics_for(metrics), gate)


def calibrate(
    run: RunFolder, settings: SelectSettings, *, student: Reader, progress: Progress
) -> Tally:
    """Fit the gate of a run and judge every candidate, unless this was done before.

    It is done again when the candidates, the student, how it reads, the seed or the settings of
    the gate change.

    Args:
        run: A run folder with scores.
        settings: `max_false_refusals`, `quality_gate_examples`, `quality_gate_rejected`, `seed`.
        student: The student that reads the plants.
        progress: Told of each text that is read.

    Returns:
        What was fitted and how many were refused; or why nothing was fitted.
    """
    stage = _stage(run, settings, fingerprint=student.fingerprint)
    return run_stage(
        run, stage, lambda: _fit_and_judge(run, settings, student=student, progress=progress)
    )


def ensure_calibrated(
    run: RunFolder,
    settings: SelectSettings,
    *,
    fingerprint: str,
    progress: Progress,
    doors: Doors | None = None,
) -> None:
    """Calibrate the gate of a run whose student is not loaded; it is loaded only if needed.

    Args:
        run: The run.
        settings: Settings of the selection.
        fingerprint: Fingerprint of the student.
        progress: Gets the progress.
        doors: Factories of teacher and student; None for the usual ones.

    Raises:
        RunError: The student whose scores decide cannot be found by what the manifest says.
    """
    if is_calibrated(run, settings, fingerprint=fingerprint):
        return
    reading = reading_of_run(run, fingerprint=fingerprint, doors=doors)
    with opened_student(reading, doors) as student:
        calibrate(run, settings, student=student, progress=progress)


def is_calibrated(run: RunFolder, settings: SelectSettings, *, fingerprint: str) -> bool:
    """Whether the gate of a run is fitted already, by the same student on the same candidates.

    Args:
        run: A run folder with scores.
        settings: The selection, with the settings of its gate.
        fingerprint: Of the student whose scores decide.
    """
    stage = _stage(run, settings, fingerprint=fingerprint)
    done = noted(run, stage.name)
    return bool(done and done["key"] == stage.key and all(path.exists() for path in stage.outputs))


def reading_of_run(
    run: RunFolder, *, fingerprint: str, doors: Doors | None = None
) -> StudentSettings:
    """The settings of the student whose scores decide, from the manifest.

    Args:
        run: A run folder with scores.
        fingerprint: Of the student.
        doors: How the student is reached.

    Raises:
        RunError: The student cannot be found by what the manifest says.
    """
    manifest = run.read_manifest()
    told = manifest.get("student", {})
    described = {name: told[name] for name in ("model", "template", "dtype") if told.get(name)}
    for values in (manifest.get("settings", {}).get("student"), described):
        if not values:
            continue
        wanted = checked(StudentSettings, values, place=str(run.manifest))
        with opened_student(wanted, doors) as student:
            if student.fingerprint == fingerprint:
                return wanted
    raise RunError(
        f"{run.root}: the quality gate needs the student {fingerprint} to score planted faults, "
        "and the manifest describes another one",
        hint="`tutelage score RUN --student MODEL` makes MODEL the student of this run",
    )


def _stage(run: RunFolder, settings: SelectSettings, *, fingerprint: str) -> Stage:
    rejected = settings.quality_gate_rejected
    return quality_gate_stage(
        run,
        settings,
        student=fingerprint,
        version=VERSION,
        rejected=None if rejected is None else _rejected_digest(rejected),
    )


def _rejected_digest(path: str) -> str:
    if not Path(path).is_file():
        raise SettingsError(
            f"quality_gate_rejected: there is no file {path}",
            hint="give a file of rows in any shape that `data.path` accepts",
        )
    return checksum(Path(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVersion:
    """One candidate with its features."""

    candidate_id: str
    example_id: str
    step: str
    features_F: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GateMaterial:
    """Token statistics on which a gate is fitted.

    Attributes:
        versions: The candidates.
        unread: Why others could not be read, by candidate id.
        clean: The candidates as rows that count as clean.
        planted: Rows with planted faults, and those that a person rejected.
        planted_examples: Into how many examples faults were planted.
        rejected: Ids of candidates that a person rejected: they are no clean rows, and never pass.
    """

    versions: Sequence[GateVersion]
    unread: Mapping[str, str]
    clean: Sequence[GateRow]
    planted: Sequence[GateRow]
    planted_examples: int
    rejected: frozenset[str] = frozenset()

    @property
    def rows(self) -> list[GateRow]:
        """All rows for fitting."""
        return [*self.clean, *self.planted]


def read_material(
    written: Sequence[Candidate],
    settings: SelectSettings,
    *,
    student: Reader,
    progress: Progress,
    doses: Sequence[Dose] = DOSES,
    held_out_fraction: float = HELD_OUT,
) -> GateMaterial:
    """Plant faults into a sample of candidates, and measure both with the student.

    Args:
        written: Candidates with text. Of too few examples nothing is planted.
        settings: `quality_gate_examples`, `quality_gate_rejected` and `seed`.
        student: The student that reads.
        progress: Told of each text that is read.
        doses: In which doses faults are planted.
        held_out_fraction: As `part_of` takes it: the two parts are given different wordings.
    """
    plants = _plants(written, settings, doses, held_out_fraction)
    rejected = list(_rejected(settings))
    progress.begin("quality gate", total=len(written) + len(plants) + len(rejected), unit="texts")
    versions, unread = read_versions(written, student=student, progress=progress)
    originals = {v.example_id: v.features_F for v in versions if v.step == ORIGINAL}
    planted = _planted_rows(plants, originals, student, progress)
    by_person = _same_texts(written, rejected)
    unjudged = [v for v in versions if v.candidate_id not in by_person]
    return GateMaterial(
        versions=versions,
        unread=unread,
        clean=_clean_rows(unjudged, seed=settings.seed),
        planted=[*planted, *_rejected_rows(rejected, student, progress)],
        planted_examples=len({p.example_id for p, _, _ in plants}),
        rejected=by_person,
    )


def _fit_and_judge(
    run: RunFolder, settings: SelectSettings, *, student: Reader, progress: Progress
) -> Tally:
    written = [c for c in stored_candidates(run.candidates) if c.status == OK]
    material = read_material(written, settings, student=student, progress=progress)
    versions, rows = material.versions, material.rows
    about = {
        "version": VERSION,
        "student": student.fingerprint,
        "max_false_refusals": settings.max_false_refusals,
        "seed": settings.seed,
        "candidates_sha256": checksum(run.candidates),
        "planted_examples": material.planted_examples,
    }
    try:
        gate = fit_gate(rows, max_false_refusals=settings.max_false_refusals, seed=settings.seed)
    except TooFewRowsError as error:
        write_gate(run.quality_gate, {**about, "status": NOT_FITTED, "detail": str(error)})
        write_results(run, written, {}, {}, student=student.fingerprint, rejected=material.rejected)
        progress.end(note="not fitted")
        return {"fitted": False, "detail": str(error)}
    write_gate(run.quality_gate, {**about, "status": "fitted", "gate": gate.as_json()})
    found = gate.judge(np.stack([v.features_F for v in versions]))
    by_id = {v.candidate_id: j for v, j in zip(versions, found, strict=True)}
    write_results(
        run, written, by_id, material.unread, student=student.fingerprint,
        rejected=material.rejected,
    )  # fmt: skip
    refused = Counter(
        j.fault for name, j in by_id.items() if not j.passed and name not in material.rejected
    )
    refused[REJECTED] += len(material.rejected)
    refused = +refused
    progress.end(note=f"{refused.total()} rejected")
    return {
        "fitted": True,
        "refused": dict(sorted(refused.items(), key=lambda item: (-item[1], item[0]))),
        "judged": len(found),
        "suspected": dict(gate.suspected),
        "fit_examples": gate.fit_examples,
        "held_out_examples": gate.held_out_examples,
        "false_refusals": {
            "share": gate.false_refusals.fraction,
            "low": gate.false_refusals.low,
            "high": gate.false_refusals.high,
        },
    }


def _sample(written: Sequence[Candidate], settings: SelectSettings) -> list[Candidate]:
    """One version of each sampled example: the last one, so a rewrite if there is any."""
    last: dict[str, Candidate] = {}
    for candidate in sorted(written, key=lambda c: (c.step != ORIGINAL, c.candidate_id)):
        last[candidate.example_id] = candidate
    drawn = sorted(last, key=lambda name: content_hash("gate sample", settings.seed, name))
    return [last[name] for name in drawn[: settings.quality_gate_examples]]


def texts_beyond_candidates(
    written: Sequence[Candidate],
    settings: SelectSettings,
    *,
    doses: Sequence[Dose] = DOSES,
    held_out_fraction: float = HELD_OUT,
) -> list[Candidate]:
    """The texts that `read_material` lets the student read beyond the candidates themselves.

    Args:
        written: Candidates with text.
        settings: As `read_material` takes them.
        doses: In which doses faults are planted.
        held_out_fraction: As `part_of` takes it.
    """
    planted = _plants(written, settings, doses, held_out_fraction)
    return [*(candidate for candidate, _, _ in planted), *_rejected(settings)]


def _plants(
    written: Sequence[Candidate],
    settings: SelectSettings,
    doses: Sequence[Dose],
    held_out_fraction: float,
) -> list[tuple[Candidate, str, str]]:
    """The faulty versions of a sample: candidate, fault and dose. Of too few examples none."""
    if len({c.example_id for c in written}) < MIN_EXAMPLES:
        return []
    sample = _sample(written, settings)
    rows = [
        PlantRow(row_id=c.example_id, instruction=c.instruction, response=c.response)
        for c in sample
    ]
    plants: list[tuple[Candidate, str, str]] = []
    for row, candidate in zip(rows, sample, strict=True):
        part: Part = part_of(row.row_id, seed=settings.seed, held_out_fraction=held_out_fraction)
        for fault in FAULTS:
            for dose in doses:
                found = plant(
                    row, fault=fault, dose=dose, others=rows, seed=settings.seed, part=part
                )
                if found.response is not None:
                    planted = _with_response(candidate, found.response, fault, dose)
                    plants.append((planted, fault, dose))
    return plants


def _with_response(candidate: Candidate, text: str, *what: str) -> Candidate:
    turn = replace(candidate.messages[-1], content=text)
    return replace(
        candidate,
        candidate_id=content_hash("planted", candidate.candidate_id, *what, text),
        messages=(*candidate.messages[:-1], turn),
    )


def _rejected(settings: SelectSettings) -> Iterator[Candidate]:
    """Rows that a person rejected: the most changed version of each."""
    if settings.quality_gate_rejected is None:
        return
    for row in read(settings.quality_gate_rejected):
        versions = [c for c in (*row.repeated, *row.candidates) if c.status == OK]
        if not versions:
            raise SettingsError(
                f"quality_gate_rejected: row {row.row} of {settings.quality_gate_rejected} has no "
                "response",
                hint="give the response that was rejected, or remove the row",
            )
        yield versions[-1]


def _same_texts(written: Sequence[Candidate], rejected: Sequence[Candidate]) -> frozenset[str]:
    """Ids of the candidates whose instruction and response a person rejected."""
    texts = {(c.instruction.strip(), c.response.strip()) for c in rejected}
    return frozenset(
        c.candidate_id for c in written if (c.instruction.strip(), c.response.strip()) in texts
    )


def _read(
    candidates: Sequence[Candidate], student: Reader, progress: Progress
) -> Iterator[tuple[Candidate, ScoredText | str]]:
    """Candidates with their token statistics and texts, or the reason for having none."""
    counter = ReadingCounter(progress)
    with counter.watching(student):
        outcomes = student.read(counter.asked(candidates), views=GATE_VIEWS, statistics=_MEASURED)
        for candidate, outcome in zip(candidates, outcomes, strict=True):
            counter.came()
            if isinstance(outcome, Reading):
                yield (
                    candidate,
                    ScoredText(
                        reading=outcome,
                        instruction=candidate.instruction,
                        response=student.response_text(candidate),
                    ),
                )
            else:
                yield candidate, outcome.reason


def read_versions(
    written: Sequence[Candidate], *, student: Reader, progress: Progress
) -> tuple[list[GateVersion], dict[str, str]]:
    """Features of all candidates; originals first, since rewrites are compared with them.

    Args:
        written: The candidates.
        student: Measures the token statistics.
        progress: Gets the progress.
    """
    ordered = sorted(written, key=lambda c: (c.step != ORIGINAL,))
    originals: dict[str, Mapping[str, float]] = {}
    versions, unread = [], {}
    for candidate, text in _read(ordered, student, progress):
        if isinstance(text, str):
            unread[candidate.candidate_id] = text
            continue
        original = None
        if candidate.step == ORIGINAL:
            originals[candidate.example_id] = plain_features(text)
        else:
            original = originals.get(candidate.example_id)
        versions.append(
            GateVersion(
                candidate_id=candidate.candidate_id,
                example_id=candidate.example_id,
                step=candidate.step,
                features_F=features_of(text, original=original),
            )
        )
    return versions, unread


def _clean_rows(versions: Iterable[GateVersion], *, seed: int) -> list[GateRow]:
    """User rows that count as clean; a sample of them where there are many."""
    drawn = sorted(versions, key=lambda v: content_hash("gate clean", seed, v.candidate_id))
    return [GateRow(example_id=v.example_id, features_F=v.features_F) for v in drawn[:_CLEAN_MOST]]


def _planted_rows(
    plants: Sequence[tuple[Candidate, str, str]],
    originals: Mapping[str, Any],
    student: Reader,
    progress: Progress,
) -> list[GateRow]:
    """Plants with their features; each also as if its row had no original, for fitting only."""
    rows = []
    what = {c.candidate_id: (fault, dose) for c, fault, dose in plants}
    for candidate, text in _read([c for c, _, _ in plants], student, progress):
        if isinstance(text, str):
            continue  # a plant is not the user's: nothing is lost with it
        fault, dose = what[candidate.candidate_id]
        original_F = originals.get(candidate.example_id)
        known = None if original_F is None else dict(zip(NAMES, original_F, strict=True))
        compared = known if candidate.step != ORIGINAL else None
        row = GateRow(
            example_id=candidate.example_id,
            features_F=features_of(text, original=compared),
            fault=fault,
            dose=dose,
        )
        rows.append(row)
        if compared is not None:
            alone_F = row.features_F.copy()
            alone_F[-len(DIFFERENCES) :] = np.nan
            rows.append(replace(row, features_F=alone_F, measured=False))
    return rows


def _rejected_rows(
    rejected: Sequence[Candidate], student: Reader, progress: Progress
) -> list[GateRow]:
    return [
        GateRow(
            example_id=candidate.example_id,
            features_F=features_of(text),
            fault=REJECTED,
            dose="given",
        )
        for candidate, text in _read(rejected, student, progress)
        if not isinstance(text, str)
    ]
