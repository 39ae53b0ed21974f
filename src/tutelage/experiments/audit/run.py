"""Run of `tutelage audit`: in minutes and without training, whether selection is likely to pay.

rows --> a sample --> planted faults --> the student reads both --> a calibrated gate
    --> estimated shares of faulty rows, the gate's rates, break-even shares, one recommendation
"""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from time import monotonic
from typing import Any, TypedDict

from tutelage.data import OK, ORIGINAL, SAMPLE, Candidate, Row, Rows, content_hash, read, write_text
from tutelage.errors import DataError, RunError, SettingsError
from tutelage.experiments.audit.config import AuditSettings
from tutelage.experiments.audit.findings import (
    BEYOND,
    PASSED,
    AuditReadings,
    CrossedGates,
    SideFinding,
    break_even_table,
    crossed_gates,
    is_beyond,
    kind_of,
    look_faulty,
    recommendation_of,
    sides_of,
)
from tutelage.experiments.audit.page import (
    facts_of,
    headline,
    label_of,
    noun_of,
    page_of,
    shown_first,
    text_of,
)
from tutelage.gate import Dose, TooFewRowsError
from tutelage.pipeline.config import checked
from tutelage.pipeline.gate_results import write_gate
from tutelage.pipeline.gate_stage import read_material, read_versions
from tutelage.pipeline.jobs import with_responses
from tutelage.pipeline.resources import Doors, Reader, opened_student
from tutelage.pipeline.resources import versions as library_versions
from tutelage.pipeline.stages import input_checksums
from tutelage.progress import Progress, Silent
from tutelage.reporting.number_format import count, duration

# ----------------------------------------------------------------------------------------------
# The rows that an audit reads: a random sample of examples, with at most two versions of each.
# ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSample:
    """Sample of examples, and the outcome of every input row.

    Attributes:
        candidates: The versions to read, an example's original first.
        row_of: The 0-based input row of each, by candidate id.
        rows_by_status: How many input rows were read, or why not.
        examples: How many examples have a response.
        without_response: How many examples have none.
        drawn: How many examples were drawn.
        without_text: Why versions of sampled examples have no text, with counts.
        with_reference: How many sampled examples have a reference to check answers against.
    """

    candidates: tuple[Candidate, ...] = field(repr=False)
    row_of: Mapping[str, int] = field(repr=False)
    rows_by_status: Mapping[str, int]
    examples: int
    without_response: int
    drawn: int
    without_text: Mapping[str, int]
    with_reference: int

    @property
    def rows(self) -> int:
        """Number of input rows."""
        return sum(self.rows_by_status.values())


@dataclass(slots=True)
class _Drawn:
    """Versions of one example of the sample."""

    place: int
    has_reference: bool
    versions: list[tuple[int, Candidate]] = field(default_factory=list)


def draw_sample(
    rows: Iterable[Row], *, examples: int, seed: int, progress: Progress
) -> AuditSample:
    """Sample examples in one pass over the rows, with only the sample in memory.

    The sample depends on the seed and the ids of examples, not on their order. If an example has
    several responses, one of them is sampled, together with the original if there is one.

    Args:
        rows: All rows.
        examples: How many examples are sampled, at most.
        seed: Seed of the sample.
        progress: Notified of each row.
    """
    statuses: Counter[str] = Counter()
    drawn: dict[str, _Drawn] = {}
    heap: list[tuple[int, str]] = []
    answered: set[str] = set()
    unanswered: set[str] = set()
    progress.begin("sample", total=None, unit="rows")
    for row in rows:
        statuses[row.status] += 1
        progress.advance()
        if row.example is None:
            continue
        name = row.example.example_id
        if not row.candidates:
            if not row.repeated:
                unanswered.add(name)
            continue
        if name not in answered:
            answered.add(name)
            place = int(content_hash("audit sample", seed, name), 16)
            heapq.heappush(heap, (-place, name))
            has_reference = row.example.reference is not None
            drawn[name] = _Drawn(place=place, has_reference=has_reference)
            if len(heap) > examples:
                del drawn[heapq.heappop(heap)[1]]
        if name in drawn:
            drawn[name].versions += [(row.row, c) for c in row.candidates]
    chosen = sorted(drawn.values(), key=lambda d: d.place)
    progress.end(note=f"{count(len(chosen), 'example')} sampled")
    kept = [pair for d in chosen for pair in _two_versions(d.versions, seed=seed)]
    lost = Counter(c.status for d in chosen for _, c in d.versions if c.status != OK)
    return AuditSample(
        candidates=tuple(c for _, c in kept),
        row_of={c.candidate_id: row for row, c in kept},
        rows_by_status=dict(sorted(statuses.items())),
        examples=len(answered),
        without_response=len(unanswered - answered),
        drawn=len(chosen),
        without_text=dict(sorted(lost.items())),
        with_reference=sum(d.has_reference for d in chosen),
    )


def _two_versions(
    versions: Iterable[tuple[int, Candidate]], *, seed: int
) -> list[tuple[int, Candidate]]:
    """Original and most changed version; one of several samples, at random."""
    written = [(row, c) for row, c in versions if c.status == OK]
    originals = [(row, c) for row, c in written if c.step == ORIGINAL]
    others = [(row, c) for row, c in written if c.step != ORIGINAL]
    rewritten = [(row, c) for row, c in others if c.step != SAMPLE]
    if rewritten:
        return [*originals[:1], rewritten[-1]]
    others.sort(key=lambda pair: content_hash("audit version", seed, pair[1].candidate_id))
    return [*originals[:1], *others[:1]]


# ----------------------------------------------------------------------------------------------
# Run.
# ----------------------------------------------------------------------------------------------


class _Plants(TypedDict):
    doses: Sequence[Dose]
    held_out_fraction: float


VERSION = 1
"""Version of the format of audit.json."""
PLANTS: _Plants = {"doses": ("strong",), "held_out_fraction": 0.5}
"""Settings of planted faults: the strong dose, with half of the examples held out."""
FITTED_A_PLANT = 1.5
"""Examples on which the gate is fitted and measured, per example with planted faults."""

_WRONG_ANSWERS = (
    "Fluent wrong answers: the student's likelihoods cannot distinguish them from right ones. "
    "`tutelage verify` checks answers."
)
_OWN_ROWS = (
    "Your own rows serve as the clean ones. A fault is found only where it clearly differs from "
    "them, and a fault that more than half of the rows have looks normal."
)
_DOSE = (
    "The shares refer to faults like the planted ones at their strong dose. Another kind of fault "
    "is found only if it resembles one of these."
)
_HARM = (
    "Whether a faulty row harms this student, and whether a clean rewrite helps it, is not "
    "measured: that needs training (`tutelage prove`)."
)
_MEANT = "A requested translation or template looks faulty too: read the examples."
_TRUST = (
    "The accuracy was measured with a student of 135M parameters. With 0, 10, 30 and 50 % of rows "
    "that were given one of three faults, 34 of 36 intervals contained the truth. In real rows "
    "that a reader had labelled, the shares were near the reader's, but single verdicts were "
    "not: 6 of 39 rejected texts were faulty, all of them refusals (docs/audit.md)."
)
_LIMITS = (_WRONG_ANSWERS, _OWN_ROWS, _TRUST, _MEANT, _DOSE, _HARM)


def audit(
    data: str | Path | Iterable[Row],
    *,
    student: str | Mapping[str, Any],
    out: str | Path | None = None,
    progress: Progress | None = None,
    doors: Doors | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Estimate how many rows are faulty, and whether selection is likely to pay, without training.

    Args:
        data: A path, a folder, a glob or a hub data set; or what `tutelage.read` gives.
        student: A folder, a hub id or an alias; or settings of the student.
        out: The folder for audit.html, audit.json and gate.json; by default audit-NAME.
        progress: Notified of the progress.
        doors: How the student is reached.
        **settings: Anything else `AuditSettings` takes, such as `examples` and `seed`.

    Returns:
        What audit.json holds, with `page` (its path) and `in_words`.

    Raises:
        TutelageError: A setting is wrong, or the data or the student cannot be used.
    """
    rows = None if isinstance(data, str | Path) else data
    path = data if isinstance(data, str | Path) else None
    return audit_data(
        audit_settings(path, student=student, out=out, **settings),
        progress=progress or Silent(),
        doors=doors,
        rows=rows,
    )


def audit_settings(
    path: str | Path | None,
    *,
    student: str | Mapping[str, Any],
    out: str | Path | None = None,
    **settings: Any,
) -> AuditSettings:
    """The checked settings of an audit.

    Args:
        path: The data; None for rows in memory.
        student: A folder, a hub id or an alias; or settings of the student.
        out: The folder of the audit; by default audit-NAME.
        **settings: Anything else `AuditSettings` takes.

    Raises:
        SettingsError: Some are wrong; all of them are named.
    """
    values = {
        "data": {"path": "rows in memory" if path is None else str(path)},
        "student": {"model": student} if isinstance(student, str) else dict(student),
        "out": default_out("rows" if path is None else str(path)) if out is None else out,
        **settings,
    }
    return checked(AuditSettings, values, place="audit")


def default_out(data: str) -> Path:
    """Default folder of an audit.

    Examples:
        >>> str(default_out("data/pairs.jsonl.gz"))
        'audit-pairs'
    """
    name = Path(data).name.partition(".")[0]
    return Path(f"audit-{''.join(c if c.isalnum() or c in '-_' else '-' for c in name) or 'data'}")


def audit_data(
    settings: AuditSettings,
    *,
    progress: Progress,
    doors: Doors | None = None,
    rows: Iterable[Row] | None = None,
) -> dict[str, Any]:
    """Do an audit and write its folder.

    Args:
        settings: Everything that decides what it finds.
        progress: Notified of the progress.
        doors: How the student is reached.
        rows: Read instead of `settings.data`.

    Returns:
        What audit.json holds, with `page` and `in_words`.

    Raises:
        DataError: No row has a response, or the student could read none of those drawn.
        RunError: The folder is a run folder.
    """
    started = monotonic()
    _check_out(settings.out)
    found = rows if isinstance(rows, Rows) else None
    if rows is None:
        found = read(settings.data.path, settings=settings.data)
    source = rows if found is None else with_responses(found)
    sample = draw_sample(
        source if source is not None else (),
        examples=settings.examples,
        seed=settings.seed,
        progress=progress,
    )
    if not sample.candidates:
        raise DataError(
            f"{settings.data.path}: no example has a response to audit",
            hint="`tutelage sample` lets a teacher answer instructions that have none",
        )
    settings.out.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=settings.out):
        pass  # it can be written to: to be known before minutes of scoring
    with opened_student(settings.student, doors) as student:
        _check_measures(student)
        readings, unread = _read(sample, settings, student=student, progress=progress)
        described = dict(student.describe())
    if not readings.versions:
        raise DataError(
            f"{settings.data.path}: the student could read none of {len(sample.candidates)} texts "
            f"({', '.join(sorted(set(unread.values())))})",
            hint="`tutelage doctor --student` checks the template",
        )
    gates, detail = _fitted(readings, settings, progress)
    sides = sides_of(readings, gates, seed=settings.seed)
    seconds = monotonic() - started
    return _written(
        settings,
        sample=sample,
        readings=readings,
        unread=unread,
        gates=gates,
        sides=sides,
        about={
            "version": VERSION,
            "data": settings.data.model_dump(mode="json"),
            "inputs": input_checksums(settings.data) if rows is None else {},
            "student": described,
            "settings": settings.model_dump(mode="json", exclude={"data", "student", "out"}),
            "versions": library_versions(),
            "seconds": round(seconds, 1),
            "detail": detail,
            **({"notes": found.notes} if found is not None and found.notes else {}),
        },
    )


def _check_out(out: Path) -> None:
    if (out / "manifest.json").exists():
        raise RunError(
            f"{out}: is a run folder or an experiment", hint="give the audit another --out"
        )


def _check_measures(student: Reader) -> None:
    if student.measures != "full":
        raise SettingsError(
            "an audit needs entropies, which this student's backend does not provide",
            hint="use the backend packed or transformers",
        )


def _read(
    sample: AuditSample, settings: AuditSettings, *, student: Reader, progress: Progress
) -> tuple[AuditReadings, dict[str, str]]:
    """Token statistics of the sample, and reasons for texts that could not be read.

    The gate is fitted on a part of the examples. If many rows are faulty already, compared with the
    planted ones, its detectors would learn that these are clean.
    """
    texts = planted_into(sample.candidates, settings)
    fitted_on = {c.example_id for c in texts}
    material = read_material(texts, settings.gate, student=student, progress=progress, **PLANTS)
    further = [c for c in sample.candidates if c.example_id not in fitted_on]
    progress.end()
    progress.begin("further examples", total=len(further), unit="texts")
    reserve, unread = read_versions(further, student=student, progress=progress)
    return (
        AuditReadings(material=material, reserve=reserve),
        {**material.unread, **unread},
    )


def planted_into(candidates: Sequence[Candidate], settings: AuditSettings) -> list[Candidate]:
    """The versions of the examples that the gate is fitted and measured on.

    Args:
        candidates: Of the sample, in its order.
        settings: `planted` says into how many examples faults are planted.
    """
    names = list(dict.fromkeys(c.example_id for c in candidates))
    fitted_on = set(names[: round(FITTED_A_PLANT * settings.planted)])
    return [c for c in candidates if c.example_id in fitted_on]


def _fitted(
    readings: AuditReadings, settings: AuditSettings, progress: Progress
) -> tuple[CrossedGates | None, str | None]:
    """Fitted gates, or the reason for having none."""
    try:
        gates = crossed_gates(
            readings, max_false_refusals=settings.max_false_refusals, seed=settings.seed
        )
    except TooFewRowsError as error:
        progress.end(note="not fitted")
        return None, str(error)
    progress.end(note="fitted")
    return gates, None


def _written(
    settings: AuditSettings,
    *,
    sample: AuditSample,
    readings: AuditReadings,
    unread: Mapping[str, str],
    gates: CrossedGates | None,
    sides: Sequence[SideFinding],
    about: dict[str, Any],
) -> dict[str, Any]:
    main, alone = sides[0], len(sides) == 1
    noun = noun_of(main, alone=alone)
    advice = recommendation_of(main, checkable=2 * sample.with_reference >= sample.drawn)
    opening = headline(advice, main, noun=noun, detail=about["detail"])
    examples = _examples(sample, readings, gates, sides, seed=settings.seed)
    report = _report(
        sample,
        readings,
        unread,
        sides,
        {
            **about,
            "status": "not_enough_rows" if gates is None else "ok",
            "recommendation": None
            if advice is None
            else {
                "advice": advice.advice,
                "because": advice.because,
                "words": label_of(advice, noun=noun),
            },
            "basis": opening[1:],
        },
    )
    report["examples"] = [
        {k: v for k, v in e.items() if k not in ("version", "original")} for e in examples
    ]
    start = (
        f"Audit of {settings.data.path} by {settings.student.model}: "
        f"{count(sample.drawn, 'example')} of {sample.examples:,}, "
        f"{count(len(readings.versions), 'text')} scored and faults planted into "
        f"{count(readings.material.planted_examples, 'example')}, {duration(about['seconds'])}."
    )
    page = page_of(
        {
            "title": Path(str(settings.data.path)).name,
            "sides": sides,
            "gates": gates,
            "opening": [*opening, start],
            "facts": facts_of(sides, examples=sample.drawn, seconds=about["seconds"]),
            "limits": _LIMITS,
        },
        shown=[e for e in examples if e["shown"]],
    )
    written = settings.out / "audit.html"
    write_text(written, page)
    write_text(settings.out / "audit.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    (settings.out / "gate.json").unlink(missing_ok=True)  # of an earlier audit
    if gates is not None:
        write_gate(
            settings.out / "gate.json",
            {
                "status": "fitted",
                "student": about["student"]["fingerprint"],
                "gate": gates.fitted_on_fit.as_json(),
                "other_half": gates.fitted_on_held_out.as_json(),
            },
        )
    words = text_of(sides, opening=opening, start=start, page=str(written))
    return {**report, "page": str(written), "in_words": words}


def _report(
    sample: AuditSample,
    readings: AuditReadings,
    unread: Mapping[str, str],
    sides: Sequence[SideFinding],
    start: Mapping[str, Any],
) -> dict[str, Any]:
    """Content of audit.json without the examples."""
    return {
        **start,
        "rows": {"rows": sample.rows, "by_status": dict(sample.rows_by_status)},
        "sample": {
            "examples": sample.examples,
            "without_response": sample.without_response,
            "drawn": sample.drawn,
            "texts_read": len(readings.versions),
            "without_text": dict(sample.without_text),
            "unread": _tally(unread.values()),
            "with_reference": sample.with_reference,
            "planted_examples": readings.material.planted_examples,
        },
        "sides": [asdict(side) for side in sides],
        "break_even": {
            "formula": "q / (1 - q) > (FPR / TPR) (B / H)",
            "not_measured": ["B", "H"],
            "rows": [asdict(row) for row in break_even_table(sides[0])],
        },
        "limits": list(_LIMITS),
    }


def _tally(reasons: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(reasons).items()))


def _examples(
    sample: AuditSample,
    readings: AuditReadings,
    gates: CrossedGates | None,
    sides: Sequence[SideFinding],
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """Every text that was rejected, that looks faulty and was not, or that is beyond the student.

    `shown` are those on the page.
    """
    by_id = {c.candidate_id: c for c in sample.candidates}
    originals = {c.example_id: c for c in sample.candidates if c.step == ORIGINAL}
    rewritten = {c.example_id for c in sample.candidates if c.step != ORIGINAL}
    versions = readings.versions
    judged = gates.judge(versions) if gates else None
    looks = look_faulty(sides, readings, gates) if gates else {}
    found: list[dict[str, Any]] = []
    for place, version in enumerate(versions):
        judgement = None if judged is None else judged[place]
        kind = PASSED if judgement is None else kind_of(judgement)
        looks_like = looks.get(version.candidate_id)
        if kind == PASSED and looks_like is None and not is_beyond(version):
            continue
        candidate = by_id[version.candidate_id]
        rejected = judgement is not None and not judgement.passed
        found.append(
            {
                "row": sample.row_of[version.candidate_id],
                "example_id": version.example_id,
                "candidate_id": version.candidate_id,
                "step": version.step,
                "title": _title(version.step, is_alone=version.example_id not in rewritten),
                "kind": kind if rejected else looks_like or BEYOND,
                "fault": judgement.fault if judgement is not None and rejected else None,
                "excess": judgement.excess if judgement is not None and rejected else None,
                "evidence": dict(judgement.evidence) if judgement is not None and rejected else {},
                "version": candidate,
                "original": None if version.step == ORIGINAL else originals.get(version.example_id),
            }
        )
    return shown_first(found, seed=seed)


def _title(step: str, *, is_alone: bool) -> str:
    if step == SAMPLE:
        return "Sampled response"
    if step != ORIGINAL:
        return "Rewrite"
    return "Response" if is_alone else "Original"
