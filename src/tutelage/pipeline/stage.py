"""Stages of a run: their keys, whether they must run, and their record in the manifest.

Nothing else writes the part `stages` of a manifest. A stage is done again when its key has changed
or when its outputs are not as it left them, whether a kill, a disk or another stage changed them.
A table that several stages share (the scores of several students, the verdicts of several checks,
the candidates of several teachers) is looked at part by part, so that one stage neither drops nor
vouches for the part of another.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.data import TableWriter, content_hash, temporary_path, write_table
from tutelage.data.extensions import extensions_digest
from tutelage.errors import RunError
from tutelage.pipeline.config import DataSettings
from tutelage.pipeline.overrides import overrides_digest
from tutelage.pipeline.resources import prompts_used
from tutelage.pipeline.run_dir import RunFolder, checksum, is_whole, sound
from tutelage.pipeline.table_checks import problem_with
from tutelage.pipeline.tables import feeding_check, verdicts_digest
from tutelage.refinement import RefineSettings
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings
from tutelage.teacher import TeacherSettings

# ----------------------------------------------------------------------------------------------
# The scores table of a run, student by student: each one's rows are replaced on their own.
# ----------------------------------------------------------------------------------------------


_DIGESTED = ("candidate_id", "status", "nll_response_given_instruction", "response_tokens")
_BATCH_ROWS = 1024


def scores_digest(run: RunFolder, student: str) -> str | None:
    """Hash of one student's scores, or None without any.

    Metrics that were added to the same reading do not change it.
    """
    if not is_whole(run.scores):
        return None
    there = pq.read_schema(run.scores).names
    columns = [name for name in _DIGESTED if name in there]
    table = pq.read_table(run.scores, columns=["student", *columns])
    mine = table.filter(pc.equal(table["student"], pa.scalar(student)))
    if not mine.num_rows:
        return None
    rows = mine.select(columns).sort_by("candidate_id")
    return content_hash([column.to_pylist() for column in rows.columns])


def earlier_metrics(tally: Mapping[str, Any]) -> tuple[str, ...]:
    """Metrics in a stage's tally."""
    found = tally.get("metrics", ())
    return tuple(map(str, found)) if isinstance(found, list | tuple) else ()


@contextmanager
def one_students_part(
    run: RunFolder, student: str, *, statistics: bool
) -> Iterator[tuple[Path, Path | None]]:
    """Context manager with paths for one student's tables, merged into the run's at the end.

    The rows of other students stay. Rows of candidates that are gone are moved to
    `earlier_scores.parquet`, and back when the candidates are there again.

    Args:
        run: The run folder.
        student: The fingerprint whose rows are replaced.
        statistics: Whether token statistics are written, too.

    Raises:
        RunError: The tables hold other students' rows and are damaged; they are left as they are.
    """
    here, gone = _others(run, student)
    with temporary_path(run.scores) as scores, temporary_path(run.statistics) as tokens:
        yield scores, tokens if statistics else None
        mine = pq.read_table(scores)
        if statistics:
            _join_statistics(run, tokens, student)
    # A kill between the two leaves rows in both tables, which counts as one; none is lost.
    if gone.num_rows:
        write_table(run.earlier_scores, gone)
    parts = [mine, here] if here.num_rows else [mine]
    write_table(run.scores, pa.concat_tables(parts, promote_options="default"))


def _others(run: RunFolder, student: str) -> tuple[pa.Table, pa.Table]:
    """Other students' scores of existing candidates, and all scores of removed ones."""
    if not is_whole(run.scores) and run.scores.exists():
        _refuse_loss(run, run.scores, student)
    tables = [pq.read_table(run.scores)] if is_whole(run.scores) else []
    if run.earlier_scores.exists():
        tables.append(pq.read_table(sound(run.earlier_scores)))
    if not tables:
        empty = pa.table({"student": pa.array([], pa.string())})
        return empty, empty
    every = _once(pa.concat_tables(tables, promote_options="default"))
    candidates = pq.read_table(run.candidates, columns=["candidate_id"])["candidate_id"]
    there = pc.is_in(every["candidate_id"], value_set=candidates.combine_chunks())
    other = pc.not_equal(every["student"], pa.scalar(student))
    return every.filter(pc.and_(there, other)), every.filter(pc.invert(there))


def _once(table: pa.Table) -> pa.Table:
    """One row per candidate and student, the first of several."""
    keys: Any = pc.binary_join_element_wise(
        table["student"], table["candidate_id"], pa.scalar("\x1f", table["student"].type)
    )
    codes = keys.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    return table if len(first) == table.num_rows else table.take(np.sort(first))


def _refuse_loss(run: RunFolder, path: Path, student: str) -> None:
    stages = run.read_manifest().get("stages", {})
    others = [
        name.partition(":")[2]
        for name in stages
        if name.startswith("score:") and name != f"score:{student}"
    ]
    if others:
        raise RunError(
            f"{path}: is damaged ({problem_with(path)}), and holds the scores of other students "
            f"({', '.join(sorted(others))}), so it was not written again",
            hint="restore it from a copy; or move it away, and score each student again with "
            "`tutelage score RUN --student MODEL`, which reads from its cache what it can",
        )


def _join_statistics(run: RunFolder, tokens: Path, student: str) -> None:
    """Replace one student's token statistics in the table."""
    if run.statistics.exists() and not is_whole(run.statistics):
        _refuse_loss(run, run.statistics, student)
    schema = pq.read_schema(tokens)
    old = run.statistics if is_whole(run.statistics) else None
    if old is not None and pq.read_schema(old).names != schema.names:
        old = None  # of a version with other columns
    with TableWriter(run.statistics, schema) as table:
        for path in filter(None, (tokens, old)):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    rows = pa.Table.from_batches([batch])
                    if path is old:
                        rows = rows.filter(pc.not_equal(rows["student"], pa.scalar(student)))
                    if rows.num_rows:
                        table.append_table(rows)


# ----------------------------------------------------------------------------------------------
# Stage.
# ----------------------------------------------------------------------------------------------


Tally = dict[str, Any]

READ_BY = ("fingerprint", "dtype", "device", "template", "max_length", "backend")
"""Parts of a student's description on which its numbers depend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of one run.

    Attributes:
        name: As in the manifest, such as `load` or `score:FINGERPRINT`.
        key: Hash of everything its outputs depend on.
        outputs: The files it writes.
        shared: Those of the outputs that other stages write, too: they only have to be whole.
        reads: Names of what it reads, as `digest_of` takes them. A change makes it stale.
        part: The name of its part of a shared table, as `digest_of` takes it.
    """

    name: str
    key: str
    outputs: tuple[Path, ...]
    shared: tuple[Path, ...] = ()
    reads: tuple[str, ...] = ()
    part: str | None = field(default=None)


def run_stage(
    run: RunFolder,
    stage: Stage,
    work: Callable[[], Tally],
    *,
    again: Callable[[Tally], bool] = lambda _: False,
) -> Tally:
    """Run a stage unless it is up to date, and record it in the manifest.

    Args:
        run: The run folder.
        stage: The stage with its key.
        work: Does it.
        again: Whether a tally leaves something to try again, such as a server that was away.

    Returns:
        The stage's tally, of now or of then.

    Raises:
        RunError: There is a folder where a file has to be written; nothing is written then.
    """
    done = noted(run, stage.name)
    if done is not None and done.get("key") == stage.key and _as_left(run, stage, done):
        tally: Tally = done["tally"]
        if not again(tally):
            return _as_cached(tally)
    for path in stage.outputs:
        if path.is_dir():
            raise RunError(
                f"{path}: is a folder, where the stage {stage.name!r} has to write a file",
                hint="move it away and repeat the command",
            )
    started = monotonic()
    tally = work()
    note_stage(run, stage, tally, seconds=monotonic() - started)
    return tally


def _as_cached(tally: Tally) -> Tally:
    """Tally of a stage that is not repeated: its calls count as cached and free."""
    paid = ("teacher", "teachers")
    return {name: _asked_before(value) if name in paid else value for name, value in tally.items()}


def _asked_before(counts: Any) -> Any:
    if not isinstance(counts, dict):
        return counts
    if "answered" not in counts:
        return {name: _asked_before(inner) for name, inner in counts.items()}
    return {
        **counts,
        "answered": 0,
        "from_journal": counts["from_journal"] + counts["answered"],
        "cost": 0.0,
        "cost_estimated": 0.0,
        "cost_from_journal": counts["cost_from_journal"] + counts["cost"],
        "spent_before": counts["spent_before"] + counts["cost"],
    }


def note_stage(run: RunFolder, stage: Stage, tally: Tally, *, seconds: float) -> None:
    """Record a finished stage in the manifest.

    Args:
        run: The run folder.
        stage: The stage.
        tally: Counts of the stage.
        seconds: How long it took.
    """
    manifest = run.read_manifest()
    stages = manifest.setdefault("stages", {})
    stages.pop(stage.name, None)  # the stages are in the order in which they were done
    stages[stage.name] = {
        "key": stage.key,
        "seconds": round(seconds, 3),
        "tally": tally,
        "made": _made(run, stage),
        "read": {name: digest_of(run, name) for name in stage.reads},
    }
    run.write_manifest(manifest)


def noted(run: RunFolder, name: str) -> Mapping[str, Any] | None:
    """Manifest entry of a stage, or None where it has not run."""
    found = run.read_manifest().get("stages", {}).get(name)
    return found if isinstance(found, dict) and isinstance(found.get("tally"), dict) else None


def key_of(run: RunFolder, name: str) -> str:
    """Key of a finished stage.

    Raises:
        RunError: It has not.
    """
    done = noted(run, name)
    if done is None or "key" not in done:
        raise RunError(
            f"{run.root}: the stage {name!r} has not been done", hint="start with `tutelage run`"
        )
    return str(done["key"])


def _as_left(run: RunFolder, stage: Stage, done: Mapping[str, Any]) -> bool:
    """Whether the outputs are unchanged since the stage wrote them."""
    if not all(map(run.fits, stage.outputs)):
        return False
    made = done.get("made")
    return made is None or made == _made(run, stage)  # None: by a version that did not note it


def _made(run: RunFolder, stage: Stage) -> dict[str, str | None]:
    made: dict[str, str | None] = {
        str(path.relative_to(run.root)): checksum(path)
        for path in stage.outputs
        if path not in stage.shared
    }
    if stage.part is not None:
        made[stage.part] = digest_of(run, stage.part)
    return made


def digest_of(run: RunFolder, name: str) -> str | None:
    """Hash of a stage's input, or None where it does not exist.

    Args:
        run: The run folder.
        name: A file of the run folder, `overrides`, `scores:FINGERPRINT`, or `verdicts:CHECK`.
    """
    kind, _, which = name.partition(":")
    if kind == "scores":
        return scores_digest(run, which)
    if kind == "verdicts":
        return verdicts_digest(run, which)
    if kind == "overrides":
        return overrides_digest(run)
    path = run.root / name
    return checksum(path) if path.is_file() else None


def load_stage(run: RunFolder, settings: DataSettings, inputs: Mapping[str, str]) -> Stage:
    """Stage that reads the user's rows.

    Args:
        run: The run.
        settings: Settings of the data.
        inputs: Checksum of each input.
    """
    return Stage(
        name="load",
        key=content_hash(
            "load",
            settings.model_dump(
                mode="json", exclude={"revision"} if settings.revision is None else None
            ),
            dict(inputs),
        ),
        outputs=(run.rows, run.examples, run.loaded),
    )


def take_stage(run: RunFolder) -> Stage:
    """Stage that uses the candidates as they came with the data."""
    return Stage(
        name="refine",
        key=content_hash(key_of(run, "load"), None),
        outputs=(run.candidates,),
        shared=(run.candidates,),
        reads=("loaded.parquet",),
    )


def refine_stage(
    run: RunFolder,
    *,
    refine: RefineSettings,
    teacher: TeacherSettings,
    student: str | None,
    select: SelectSettings,
) -> Stage:
    """Stage in which a teacher rewrites the loaded candidates.

    Args:
        run: The run folder.
        refine: Settings of the rewriting.
        teacher: The teacher that writes.
        student: The fingerprint of the student that chooses on the way, or None.
        select: The rule by which it chooses.
    """
    return Stage(
        name="refine",
        key=content_hash(
            key_of(run, "load"),
            refine.decisive(),
            teacher.teacher_name,
            dict(teacher.extra_body),
            *([list(teacher.omit)] if teacher.omit else []),
            prompts_used(refine),
            student,
            select.model_dump(mode="json", include={"rule", "mode", "margin"}),
        ),
        outputs=(run.candidates,),
        shared=(run.candidates,),
        reads=("loaded.parquet",),
    )


def score_stage(
    run: RunFolder,
    description: Mapping[str, object],
    *,
    reading: StudentSettings,
    statistics: bool = False,
) -> Stage:
    """Stage in which one student scores every candidate; each student has its own.

    Which metrics are computed is not part of the key: those of earlier times stay.

    Args:
        run: The run folder.
        description: What the student says about itself.
        reading: How it reads.
        statistics: Whether the token statistics are kept.
    """
    fingerprint = str(description["fingerprint"])
    outputs = (run.scores, *((run.statistics,) if statistics else ()))
    return Stage(
        name=f"score:{fingerprint}",
        key=content_hash(
            "score",
            checksum(run.candidates),
            {name: description[name] for name in READ_BY},
            reading.model_dump(mode="json", include={"on_overflow", "turns", "score_end_of_turn"}),
            *filter(None, [extensions_digest("metric")]),
        ),
        outputs=outputs,
        shared=outputs,
        reads=("candidates.parquet",),
        part=f"scores:{fingerprint}",
    )


def metrics_there(run: RunFolder, stage: Stage) -> tuple[str, ...]:
    """Metrics that an earlier score stage computed and that are still valid."""
    done = noted(run, stage.name)
    if done is None or done.get("key") != stage.key:
        return ()
    return earlier_metrics(done["tally"])


def quality_gate_stage(
    run: RunFolder, settings: SelectSettings, *, student: str, version: int, rejected: str | None
) -> Stage:
    """Stage that fits a quality gate on the run's own rows and judges every candidate.

    Args:
        run: The run folder.
        settings: `max_false_refusals`, `quality_gate_examples` and `seed` decide the gate.
        student: The fingerprint of the student that reads the planted faults.
        version: Version of the gate's code.
        rejected: The checksum of the rows that a person rejected, if there are any.

    Raises:
        RunError: This student has not scored the run.
    """
    scored = f"score:{student}"
    if noted(run, scored) is None:
        raise RunError(
            f"{run.root}: the student {student} has not scored this run, so no quality gate can be "
            "fitted to how it reads",
            hint="score the run with it first: `tutelage score RUN --student MODEL`",
        )
    return Stage(
        name="quality_gate",
        key=content_hash(
            "quality_gate",
            version,
            key_of(run, scored),
            settings.max_false_refusals,
            settings.quality_gate_examples,
            settings.seed,
            rejected,
        ),
        outputs=(run.quality_gate, run.quality_gate_table),
        reads=("candidates.parquet", f"scores:{student}"),
    )


def select_stage(run: RunFolder, settings: SelectSettings, *, student: str | None) -> Stage:
    """Stage that decides on every example; each named selection has its own.

    Args:
        run: The run.
        settings: Settings of the selection.
        student: Fingerprint of the student that decides, or None.

    Raises:
        RunError: No student has scored the run.
    """
    stages = run.read_manifest().get("stages", {})
    if not any(name.partition(":")[0] == "score" for name in stages):
        key_of(run, "score")
    parts = {name: digest_of(run, name) for name in _selected_from(run, settings, student=student)}
    return Stage(
        name=run.select_stage,
        key=content_hash(
            "select",
            settings.model_dump(mode="json", exclude=_later_settings(settings)),
            student,
            *([extensions_digest("rule")] if settings.rule == "extension" else []),
            {name: digest for name, digest in parts.items() if digest is not None},
        ),
        outputs=(run.decisions, run.chosen, run.nulls, run.selected, run.rejected),
        reads=tuple(parts),
    )


def _later_settings(settings: SelectSettings) -> set[str]:
    """Settings of later versions left at their default: older selections stay valid."""
    unused = set() if settings.function is not None else {"function"}
    return unused if settings.truth is not None else {*unused, "truth", "truth_clean"}


def _selected_from(
    run: RunFolder, settings: SelectSettings, *, student: str | None
) -> Iterator[str]:
    """Names of the inputs of the decisions."""
    yield "candidates.parquet"
    yield "scores.parquet" if student is None else f"scores:{student}"
    yield "overrides"  # selected.jsonl holds what persons decided
    if settings.rule == "oracle":
        yield "examples.parquet"  # the column of the truth
    if settings.use_filters:
        yield "filters.parquet"
    if settings.quality_gate != "off":
        yield "quality_gate.parquet"
    if settings.gate != "off":
        check = feeding_check(run, settings.gate_check)
        if check is not None:
            yield f"verdicts:{check}"


def verify_stage(run: RunFolder, name: str, *parts: object) -> Stage:
    """Stage that verifies every candidate; each check has its own.

    Args:
        run: The run folder.
        name: Name of the check, as in verdicts.parquet.
        parts: Inputs of the verdicts other than the candidates.
    """
    return Stage(
        name=f"verify:{name}",
        key=content_hash("verify", checksum(run.candidates), *parts),
        outputs=(run.verdicts,),
        shared=(run.verdicts,),
        reads=("candidates.parquet", "examples.parquet"),
        part=f"verdicts:{name}",
    )
