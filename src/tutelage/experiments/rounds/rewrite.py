"""Rewriting of what a student rejected, with the reason given to the teacher."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import OK, ORIGINAL, Candidate, Example, TableWriter, content_hash, write_table
from tutelage.data.schemas import CANDIDATES, REWRITES, candidate_to_row, candidates_to_table
from tutelage.experiments.rounds.config import RewriteSettings, RoundDoors, RoundsSettings
from tutelage.pipeline import stages
from tutelage.pipeline.refine_stage import paid_in_words
from tutelage.pipeline.resources import opened_journal, run_id
from tutelage.pipeline.run_dir import RunFolder, checksum, sound
from tutelage.pipeline.sample_stage import stored_examples
from tutelage.pipeline.stage import Stage, Tally, run_stage
from tutelage.pipeline.student_attempts import ANSWERED, AttemptSettings, attempt_all
from tutelage.pipeline.teacher_outage import attended, need_all, tally_of
from tutelage.progress import Progress
from tutelage.refinement import Complaint, Rejected, rewrite_all, rewrite_step
from tutelage.reporting.number_format import count
from tutelage.student import StudentSettings

_WRONG = ("wrong", "no_answer")
_EDGES = (0.1, 0.9)
"""Quantiles of the chosen texts' losses beyond which a text is too easy or too surprising."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Range of the mean loss of chosen responses given the instruction, in nats per token."""

    low: float
    high: float


def rewrite_rejected(
    run: RunFolder,
    settings: RoundsSettings,
    *,
    number: int,
    stage: str,
    student: StudentSettings,
    doors: RoundDoors,
    progress: Progress,
) -> Tally:
    """Let the teacher rewrite what the student rejected, and add it to the candidates.

    Args:
        run: The judged round.
        settings: Settings of the whole loop; there is a teacher.
        number: Which attempt it is, counted over all rounds.
        stage: Its name in the manifest; it writes a table of the same name.
        student: The student that is asked for its own attempt.
        doors: How models are reached.
        progress: Notified of each reply.

    Returns:
        How many were asked for and are usable, by complaint, and what the teacher was paid.
    """
    out, texts = run.root / f"{stage}.parquet", run.root / f"{stage}-candidates.parquet"
    done = run.read_manifest()["stages"].get(stage)
    # Its own candidates are among those it would be keyed by, so it is keyed by what was decided
    # before it; once done it is not asked again.
    key = done["key"] if done else content_hash(stage, checksum(run.decisions))
    one = Stage(name=stage, key=key, outputs=(out, texts))

    def work() -> Tally:
        rejected = rejected_of(run, settings.rewrite, number=number)
        if settings.rewrite.show_attempt:
            rejected = _with_attempts(run, rejected, settings, student, doors, progress=progress)
        written, tally = _ask(run, rejected, settings, doors=doors, progress=progress)
        need_all(tally, what=f"{run.root.name}: rewriting rejected candidates")
        rows = [
            {
                "example_id": item.candidate.example_id,
                "parent_id": item.candidate.candidate_id,
                "complaint": item.complaint,
                "number": item.number,
                "step": rewrite_step(item.complaint),
                "candidate_id": candidate.candidate_id,
                "status": candidate.status,
            }
            for item, candidate in zip(rejected, written, strict=True)
        ]
        write_table(texts, candidates_to_table(written))
        write_table(out, pa.Table.from_pylist(rows, schema=REWRITES))
        usable = [c.status == OK for c in written]
        return {
            "asked": len(written),
            "usable": sum(usable),
            "complaints": dict(Counter(item.complaint for item in rejected)),
            "statuses": dict(Counter(c.status for c in written)),
            **tally,
        }

    tally = run_stage(run, one, work)
    # A stage of its own: a kill between the two leaves nothing that has to be asked again, and
    # what was added already is not added twice. Where the pool was copied anew, it is added anew.
    pool = run.read_manifest()["stages"].get("pool", {}).get("key")
    gathering = Stage(
        name=f"{stage}-gather",
        key=content_hash(key, pool),
        outputs=(run.candidates,),
        shared=(run.candidates,),
    )
    run_stage(run, gathering, lambda: add_candidates(run, stages.stored_candidates(texts)))
    return tally


def add_candidates(run: RunFolder, more: Iterable[Candidate]) -> Tally:
    """Add candidates to a run, grouped by example; existing ones are not added again."""
    added: dict[str, list[Candidate]] = {}
    there = {candidate.candidate_id for candidate in stages.stored_candidates(run.candidates)}
    for candidate in more:
        if candidate.candidate_id not in there:
            there.add(candidate.candidate_id)
            added.setdefault(candidate.example_id, []).append(candidate)
    before = list(stages.stored_candidates(run.candidates))
    with TableWriter(run.candidates, CANDIDATES) as table:
        for index, candidate in enumerate(before):
            table.append([candidate_to_row(candidate)])
            following = before[index + 1].example_id if index + 1 < len(before) else None
            if following != candidate.example_id:
                table.append(map(candidate_to_row, added.pop(candidate.example_id, [])))
    return {"candidates": len(there)}


def rejected_of(run: RunFolder, settings: RewriteSettings, *, number: int) -> list[Rejected]:
    """Rejected candidates, newest version first, with the complaint.

    A candidate without numbers is not sent back, since there is no reason to give.

    Args:
        run: The run of the student.
        settings: Settings of the rewriting.
        number: Number of the round.
    """
    scores = {row["candidate_id"]: row for row in pq.read_table(sound(run.scores)).to_pylist()}
    chosen = chosen_ids(run)
    kept = pq.read_table(sound(run.decisions), columns=["example_id", "kept"]).to_pylist()
    rejected_examples = {row["example_id"] for row in kept if not row["kept"]}
    verdicts = {}
    if run.verdicts.exists():
        rows = pq.read_table(sound(run.verdicts), columns=["candidate_id", "verdict"]).to_pylist()
        verdicts = {row["candidate_id"]: row["verdict"] for row in rows}
    references = {e.example_id: e.reference for e in stored_examples(run.examples)}
    bounds = bounds_of([scores[one] for one in chosen if one in scores])
    found = []
    for versions in _by_example(stages.stored_candidates(run.candidates)).values():
        example_id = versions[0].example_id
        is_rejected = example_id in rejected_examples
        newest = _newest(versions, chosen, originals_too=is_rejected)
        if newest is None or not (is_rejected or settings.what == "refinements"):
            continue
        if _took_its_like(versions, chosen) and not is_rejected:
            continue
        original = next((c for c in versions if c.step == ORIGINAL), None)
        complaint = complaint_of(
            scores.get(newest.candidate_id),
            scores.get(original.candidate_id) if original else None,
            verdict=verdicts.get(newest.candidate_id),
            bounds=bounds,
        )
        if complaint is not None:
            found.append(
                Rejected(
                    candidate=newest,
                    complaint=complaint,
                    reference=references.get(example_id),
                    number=number,
                )
            )
    return _some(found, settings)


def chosen_ids(run: RunFolder) -> set[str]:
    """The candidates that the rule chose."""
    column = pq.read_table(sound(run.chosen), columns=["candidate_id"])["candidate_id"]
    return {str(one) for one in column.to_pylist()}


def _some(found: list[Rejected], settings: RewriteSettings) -> list[Rejected]:
    if settings.max_examples is None or len(found) <= settings.max_examples:
        return found
    drawn = sorted(
        found, key=lambda one: content_hash("rewrite", one.number, one.candidate.example_id)
    )
    among = {one.candidate.candidate_id for one in drawn[: settings.max_examples]}
    return [one for one in found if one.candidate.candidate_id in among]


def _by_example(candidates: Iterable[Candidate]) -> dict[str, list[Candidate]]:
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.example_id, []).append(candidate)
    return groups


def _newest(
    versions: Sequence[Candidate], chosen: set[str], *, originals_too: bool
) -> Candidate | None:
    """Last rewrite that was not chosen; for a rejected example also the original."""
    there = [c for c in versions if c.status == OK and c.candidate_id not in chosen]
    refined = [c for c in there if c.step != ORIGINAL]
    if refined:
        return refined[-1]
    return there[-1] if there and originals_too else None


def _took_its_like(versions: Sequence[Candidate], chosen: set[str]) -> bool:
    """Whether another rewrite of the example was chosen, so that no rewrite is needed."""
    return any(c.candidate_id in chosen and c.step != ORIGINAL for c in versions)


def bounds_of(rows: Sequence[Mapping[str, Any]]) -> Bounds | None:
    """Range of the losses of chosen texts; None without any."""
    taken = [row["nll_response_given_instruction"] for row in rows]
    there = [value for value in taken if value is not None]
    if not there:
        return None
    low, high = np.quantile(there, _EDGES)
    return Bounds(low=float(low), high=float(high))


def complaint_of(
    row: Mapping[str, Any] | None,
    original: Mapping[str, Any] | None,
    *,
    verdict: str | None,
    bounds: Bounds | None,
) -> Complaint | None:
    """Complaint about a rejected candidate that the teacher can act on, or None.

    Checked in this order: it is wrong; a ratio shows that the instruction misleads; its loss is
    outside the range of kept candidates; it lost against the original, with a higher or lower loss.

    Args:
        row: Its scores.
        original: The scores of its example's original.
        verdict: Whether it is right, where that was checked.
        bounds: Between which losses the student takes texts.

    Returns:
        None where there is no number to go by.
    """
    if verdict in _WRONG:
        return "wrong"
    if row is None or row["status"] != OK:
        return None
    if any((row.get(ratio) or 0.0) >= 1.0 for ratio in ("ifd", "r_ifd")):
        return "instruction_misleads"
    loss = row.get("nll_response_given_instruction")
    if loss is None:
        return None
    if bounds is not None and not bounds.low <= loss <= bounds.high:
        return "too_easy" if loss < bounds.low else "too_surprising"
    before = (original or {}).get("nll_response_given_instruction")
    return "too_easy" if before is not None and loss < before else "too_surprising"


def _with_attempts(
    run: RunFolder,
    rejected: Sequence[Rejected],
    settings: RoundsSettings,
    student: StudentSettings,
    doors: RoundDoors,
    *,
    progress: Progress,
) -> list[Rejected]:
    """Same list, with the student's greedy answer where the response was too surprising."""
    wanted = [one for one in rejected if one.complaint == "too_surprising"]
    if not wanted:
        return list(rejected)
    teacher = doors.as_teacher(student, settings.batch)
    examples = [
        Example(
            example_id=one.candidate.candidate_id,
            messages=one.candidate.context,
            tools=one.candidate.tools,
            template_args=one.candidate.template_args,
        )
        for one in wanted
    ]
    with opened_journal(run, teacher) as journal:
        attempts, tally = attempt_all(
            examples,
            settings=AttemptSettings(
                sampled=0, greedy=1, max_tokens=settings.own_answers.max_tokens
            ),
            teacher=teacher,
            journal=journal,
            run=run_id(run),
            doors=doors.doors,
            progress=progress,
        )
    need_all(tally, what="the student's own attempts")
    said = {a.example_id: a.text for a in attempts if a.status == ANSWERED and a.text.strip()}
    return [
        Rejected(
            candidate=one.candidate,
            complaint=one.complaint,
            attempt=said.get(one.candidate.candidate_id),
            reference=one.reference,
            number=one.number,
        )
        for one in rejected
    ]


def _ask(
    run: RunFolder,
    rejected: Sequence[Rejected],
    settings: RoundsSettings,
    *,
    doors: RoundDoors,
    progress: Progress,
) -> tuple[list[Candidate], Mapping[str, object]]:
    teacher = settings.rewriter
    if teacher is None or not rejected:
        return [], {"teacher": None, "away": None}
    progress.begin("rewrite", total=len(rejected), unit="rewrites")

    async def ask() -> tuple[list[Candidate], Mapping[str, object]]:
        async with attended(
            teacher,
            journal,
            run=run_id(run),
            doors=doors.doors,
            progress=progress,
            requests=count(len(rejected), "request"),
        ) as asked:
            written = await rewrite_all(
                rejected,
                teacher=asked,
                settings=settings.refine,
                on_done=lambda _: progress.advance(note=paid_in_words(asked)),
            )
        return written, tally_of(asked)  # what waits in a batch is known once it is submitted

    with opened_journal(run, teacher) as journal:
        written, tally = asyncio.run(ask())
    progress.end()
    return written, tally


def won_back(run: RunFolder, rewrites: Sequence[Tally]) -> dict[str, Any]:
    """Count of rejected examples with a chosen rewrite, and their cost."""
    if not rewrites:
        return {}
    chosen = chosen_ids(run)
    asked: Counter[str] = Counter()
    won: Counter[str] = Counter()
    for index in range(len(rewrites)):
        for row in pq.read_table(sound(run.root / f"rewrite-{index}.parquet")).to_pylist():
            asked[row["complaint"]] += 1
            won[row["complaint"]] += row["candidate_id"] in chosen
    paid = [tally["teacher"] for tally in rewrites if tally.get("teacher")]
    return {
        "asked": asked.total(),
        "usable": sum(tally["usable"] for tally in rewrites),
        "won_back": won.total(),
        "by_complaint": {name: {"asked": asked[name], "won_back": won[name]} for name in asked},
        "cost": sum(float(one["cost"]) for one in paid),
        "currency": next((one["currency"] for one in paid if one["currency"]), None),
        "completion_tokens": sum(int(one["completion_tokens"]) for one in paid),
    }
