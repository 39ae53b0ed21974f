"""Run folder: the paths, checks and manifest of a run."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import ConfigDict

from tutelage.data import lock_file, remove_leftovers, remove_leftovers_below, write_text
from tutelage.data.schemas import SCHEMA_VERSION
from tutelage.data.stored_json import StoredDict, StoredShape, optional, problem_of, read_stored
from tutelage.errors import RunError, SettingsError
from tutelage.pipeline.table_checks import (
    State,
    check_kinds,
    checksum,
    is_whole,
    sound,
    state_of,
    unknown_ids,
)

_RESTORE = (
    "restore it, or start again in a new folder: paid replies are in the teacher cache and can be "
    "shared with `teacher.journal`"
)
Counts = dict[str, int]


class TeacherNote(StoredShape):
    """Counts and cost of teacher requests."""

    asked: int = optional()
    answered: int = optional()
    from_journal: int = optional()
    failed: int = optional()
    completion_tokens: int = optional()
    cost: float = optional()
    cost_estimated: float = optional()
    cost_from_journal: float = optional()
    spent_before: float = optional()
    currency: str | None = optional()
    away: str | None = optional()


class ShareNote(StoredShape):
    """A share with its interval."""

    share: float
    low: float
    high: float


class TallyNote(StoredShape):
    """Results of a stage that other commands read, if the stage has them."""

    rows: int = optional()
    rows_by_status: Counts = optional()
    rows_left_out: Counts = optional()
    examples: int = optional()
    candidates_by_step: Counts = optional()
    notes: list[str] = optional()
    teacher_candidates: Counts = optional()
    statuses: Counts = optional()
    teacher: TeacherNote | None = optional()
    teachers: dict[str, TeacherNote] = optional()
    away: str | None = optional()
    capped: str | None = optional()
    unusable: str | None = optional()
    unusable_hint: str | None = optional()
    scores_by_status: Counts = optional()
    metrics: list[str] = optional()
    kept: int = optional()
    rows_kept: int = optional()
    reasons: Counts = optional()
    steps_kept: Counts = optional()
    overruled: int = optional()
    rule: dict[str, Any] = optional()
    student: str | None = optional()
    gate_check: str = optional()
    gate_note: str | None = optional()
    kind: str = optional()
    fitted: bool = optional()
    detail: str = optional()
    refused: Counts = optional()
    judged: int = optional()
    false_refusals: ShareNote = optional()
    answers: int = optional()
    questions: int = optional()
    entrants: int = optional()
    attempts: int = optional()
    cut: int = optional()
    asked: int | Counts = optional()
    usable: int = optional()


class StageNote(StoredShape):
    """Record that a finished stage wrote."""

    key: str = optional()
    seconds: float = optional()
    tally: TallyNote = optional()
    made: dict[str, str | None] | None = optional()
    read: dict[str, str | None] | None = optional()


class StudentNote(StoredShape):
    """The student as it described itself."""

    model_config = ConfigDict(protected_namespaces=())

    model: str = optional()
    fingerprint: str = optional()


class WriterNote(StoredShape):
    """The teacher that was asked last."""

    name: str = optional()
    prompts: dict[str, str] = optional()


class SettingsNote(StoredShape):
    """The settings of the last command that wrote some."""

    select: dict[str, Any] | None = optional()
    student: dict[str, Any] | str | None = optional()


class RunNote(StoredShape):
    """Manifest of a run as stored on disk, with all its stages."""

    created: str = optional()
    run_id: str = optional()
    updated: str = optional()
    versions: dict[str, str] = optional()
    inputs: dict[str, str] = optional()
    settings: SettingsNote = optional()
    teacher: WriterNote = optional()
    student: StudentNote = optional()
    stages: dict[str, StageNote] = optional()


def read_run_manifest(path: Path) -> StoredDict:
    """The manifest of a run, or an empty one where the run has not started.

    Raises:
        RunError: It is not JSON, not a manifest, or of another version of this package.
    """
    if not path.exists():
        return StoredDict({}, path=path, hint=_RESTORE)
    manifest = read_stored(path, StoredShape, what="a manifest that tutelage wrote", hint=_RESTORE)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RunError(
            f"{path}: schema version {version}, this tutelage reads {SCHEMA_VERSION}",
            hint="use the tutelage that wrote it, or start again in a new folder",
        )
    problem = problem_of(dict(manifest), RunNote)
    if problem is not None:
        raise RunError(f"{path}: is not a manifest that tutelage wrote: {problem}", hint=_RESTORE)
    return manifest


# ----------------------------------------------------------------------------------------------
# Run dir.
# ----------------------------------------------------------------------------------------------


__all__ = ["MAIN", "RunFolder", "check_kinds", "checksum", "is_whole", "sound"]

MAIN = "main"
"""Name of the selection whose files are in the run folder itself."""

GIVEN = ("input.jsonl", "input.arrow")
"""Files with rows that were passed in memory; they may be written before the manifest."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """The paths of one run. Nothing is created until `create` is called.

    Attributes:
        root: The folder.
        selection: The named selection whose decision files are meant; None is the main one.
    """

    root: Path
    selection: str | None = None

    @property
    def decided_in(self) -> Path:
        """Folder of this selection's decision files."""
        return self.root if self.selection is None else self.root / "selections" / self.selection

    @property
    def select_stage(self) -> str:
        """Manifest name of the stage that made this selection."""
        return "select" if self.selection is None else f"select:{self.selection}"

    def with_selection(self, name: str | None) -> "RunFolder":
        """Same run with the decision files of another selection.

        Args:
            name: Letters, digits, `.`, `_` and `-`; `main` or None is the run's own selection.

        Raises:
            SettingsError: It cannot be the name of a selection.
        """
        if name is None or name == MAIN:
            return replace(self, selection=None)
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"{name!r} cannot be the name of a selection",
                hint="use letters, digits, '.', '_' and '-', such as strict-2",
            )
        return replace(self, selection=name)

    def selected_as(self, name: str | None) -> "RunFolder":
        """Same run with the decision files of an existing selection.

        Raises:
            SettingsError: There is no selection of that name; the hint lists those there are.
        """
        run = self.with_selection(name)
        if run.selection is not None and not run.decisions.exists():
            raise SettingsError(
                f"{self.root}: has no selection {run.selection!r}",
                hint=f"selections are {', '.join([MAIN, *self.selections()])}; "
                f"`tutelage select RUN --name {run.selection}` makes this one",
            )
        return run

    def selections(self) -> list[str]:
        """Names of all selections except the main one, in alphabetical order."""
        found = (self.root / "selections").glob("*/decisions.parquet")
        return sorted(path.parent.name for path in found if _NAME.fullmatch(path.parent.name))

    @property
    def manifest(self) -> Path:
        """Manifest: settings, inputs and versions, written before work starts."""
        return self.root / "manifest.json"

    @property
    def journal(self) -> Path:
        """Teacher cache with every reply."""
        return self.root / "journal.sqlite"

    @property
    def rows(self) -> Path:
        """Table of input rows: the example of each, or why it could not be read."""
        return self.root / "rows.parquet"

    @property
    def examples(self) -> Path:
        """Table with one row per example."""
        return self.root / "examples.parquet"

    @property
    def loaded(self) -> Path:
        """Candidates that came with the data: originals and imported rewrites."""
        return self.root / "loaded.parquet"

    @property
    def candidates(self) -> Path:
        """All candidates: those that came with the data, then those the teacher wrote."""
        return self.root / "candidates.parquet"

    @property
    def scores(self) -> Path:
        """Scores, one row per candidate and student."""
        return self.root / "scores.parquet"

    @property
    def earlier_scores(self) -> Path:
        """Scores of removed candidates, reused if the candidates come back."""
        return self.root / "earlier_scores.parquet"

    @property
    def statistics(self) -> Path:
        """Token statistics of every target token, if the settings store them."""
        return self.root / "statistics.parquet"

    @property
    def decisions(self) -> Path:
        """Decisions, exactly one row per example."""
        return self.decided_in / "decisions.parquet"

    @property
    def overrides(self) -> Path:
        """Manual overrides of decisions; append-only."""
        return self.root / "overrides.jsonl"

    @property
    def nulls(self) -> Path:
        """Baselines: sets of the same size, chosen without the student."""
        return self.decided_in / "nulls.parquet"

    @property
    def verdicts(self) -> Path:
        """Verdicts of the checks on each candidate."""
        return self.root / "verdicts.parquet"

    @property
    def filters(self) -> Path:
        """Decisions of the filters on each candidate."""
        return self.root / "filters.parquet"

    @property
    def quality_gate(self) -> Path:
        """Calibrated gate: detectors, thresholds and held-out results."""
        return self.root / "quality_gate.json"

    @property
    def quality_gate_table(self) -> Path:
        """Decisions of the calibrated gate on each candidate."""
        return self.root / "quality_gate.parquet"

    @property
    def chosen(self) -> Path:
        """Every chosen candidate; some rules keep several of an example."""
        return self.decided_in / "chosen.parquet"

    @property
    def selected(self) -> Path:
        """Chosen candidates, for training."""
        return self.decided_in / "selected.jsonl"

    @property
    def rejected(self) -> Path:
        """Examples without a chosen candidate, with the reasons."""
        return self.decided_in / "rejected.jsonl"

    @property
    def report(self) -> Path:
        """Report page of the run."""
        return self.decided_in / "report.html"

    def create(self, *, rounds: bool = False) -> "RunFolder":
        """Create the folder, or accept one that is empty or already a run.

        Args:
            rounds: It is for a loop of rounds, which keeps runs in folders below it.

        Raises:
            RunError: Something else lies there, or a run where rounds are wanted and the reverse.
        """
        self._check_name()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.root}: cannot be created: {error.strerror}", hint="choose another --out"
            ) from error
        found = [p.name for p in self.root.iterdir() if not p.name.startswith(".")]
        others = [name for name in found if name not in GIVEN]
        if others and not self.manifest.exists() and not self.journal.exists():
            raise RunError(
                f"{self.root}: is not a run folder, it holds {others[0]!r}",
                hint="choose an empty or a new folder for --out",
            )
        if rounds and (self.rows.exists() or self.candidates.exists()):
            raise RunError(
                f"{self.root}: is the folder of a run; rounds would replace its settings and "
                "its report",
                hint="choose an empty or a new folder for the rounds",
            )
        if not rounds and replace(self, root=self.root / "pool").manifest.exists():
            raise RunError(
                f"{self.root}: is the folder of a loop of rounds; a run would replace its settings "
                "and its report",
                hint=f"choose another folder for --out; the run of the rounds is {self.root}/pool",
            )
        return self

    def existing(self) -> "RunFolder":
        """This folder, after checking that it contains a run.

        Raises:
            RunError: There is no run.
        """
        self._check_name()
        if not self.manifest.exists():
            if not self.root.exists():
                raise RunError(
                    f"{self.root}: there is no such file or folder",
                    hint="give the folder that `tutelage run` or `tutelage refine` wrote",
                )
            if self.root.is_file():
                raise RunError(
                    f"{self.root}: is a file; a run folder is needed here",
                    hint="give the folder that `tutelage run` or `tutelage refine` wrote; "
                    "`tutelage score FILE` needs --out",
                )
            raise RunError(
                f"{self.root}: there is no run here (no manifest.json)",
                hint="give the folder that `tutelage run` or `tutelage refine` wrote",
            )
        return self

    def _check_name(self) -> None:
        """Raise an error for a name that is not UTF-8, which readers of tables cannot open."""
        try:
            str(self.root).encode()
        except UnicodeEncodeError as error:
            raise RunError(
                f"{self.root}: the name of a run folder has to be UTF-8",
                hint="give another --out; data files may have any name",
            ) from error
        for folder in (self.root, self.decided_in):
            check_kinds(folder)

    def need(self, path: Path) -> Path:
        """Path of a required file, after checking that it exists and is complete.

        Raises:
            RunError: It is not; the hint names the command that writes it.
        """
        if path.exists():
            self._check_related(sound(path))
            return path
        writers = {
            self.scores: "`tutelage run`, or `tutelage score RUN --student MODEL`",
            self.decisions: "`tutelage select RUN`",
            self.quality_gate: "`tutelage select RUN --quality-gate calibrated`",
            self.quality_gate_table: "`tutelage select RUN --quality-gate calibrated`",
        }
        raise RunError(
            f"{path}: is not there yet",
            hint=f"{writers.get(path, '`tutelage run CONFIG.yaml`')} writes it",
        )

    def fits(self, path: Path) -> bool:
        """Whether a table is whole and agrees with the other tables of the run."""
        return is_whole(path) and _relation_problem(self, path) is None

    def _check_related(self, path: Path) -> None:
        problem = _relation_problem(self, path)
        if problem is not None:
            raise RunError(
                f"{path}: {problem}",
                hint="repeat the command that wrote it (`tutelage run CONFIG.yaml`, or `tutelage "
                "select RUN` for decisions), which asks for no paid reply twice; or restore it "
                "from a copy",
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Context manager with an exclusive lock of the folder, released if the process ends.

        Raises:
            RunError: Another process holds it.
        """
        with lock_file(self.root / ".lock") as free:
            if not free:
                raise RunError(
                    f"{self.root}: another process is working on this run",
                    hint="wait for it to end, or give another --out",
                )
            for folder in (self.root, *(self.root / "selections").glob("*/")):
                remove_leftovers(folder)
            remove_leftovers_below(self.root)  # of trainings, cells and rounds in it
            yield

    def read_manifest(self) -> dict[str, Any]:
        """Manifest, or an empty one where the run has not started.

        Raises:
            RunError: It is damaged, or of another version of this package.
        """
        return read_run_manifest(self.manifest)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest atomically."""
        text = json.dumps(
            {"schema_version": SCHEMA_VERSION, **manifest}, indent=2, ensure_ascii=False
        )
        # A file name that is not UTF-8 holds lone surrogates: JSON has an escape for each.
        text = text.encode(errors="backslashreplace").decode()
        write_text(self.manifest, text + "\n")

    def shown_manifest(self) -> dict[str, Any]:
        """Manifest for this selection, whose stage appears as `select`.

        Raises:
            RunError: As `read_manifest`.
        """
        manifest = self.read_manifest()
        if self.selection is None:
            return manifest
        stages = dict(manifest.get("stages", {}))
        mine = stages.pop(self.select_stage, {})
        rule = mine.get("tally", {}).get("rule", {})
        settings = {**manifest.get("settings", {}), "select": rule}
        return {**manifest, "settings": settings, "stages": {**stages, "select": mine}}


# ----------------------------------------------------------------------------------------------
# Tables that belong together: what one refers to is in the other.
# ----------------------------------------------------------------------------------------------


_compared: dict[tuple[str, State, str, State], list[str]] = {}


def _relation_problem(run: "RunFolder", path: Path) -> str | None:
    """Problem of a table with the tables that it refers to, or with what its stage noted."""
    done = run.read_manifest().get("stages", {})
    if path == run.candidates:
        return _unknown_example(run) or _lost_candidate(run, done)
    wanted = _rows_noted(run, path, done)
    if wanted is None:
        return None
    rows = pq.read_metadata(path).num_rows
    if rows == wanted:
        return None
    return f"has {rows} rows, and the stage that wrote it noted {wanted}"


def _unknown_example(run: "RunFolder") -> str | None:
    if not is_whole(run.examples):
        return None
    lost = _lost_ids(run.candidates, run.examples, "example_id")
    if not lost:
        return None
    return (
        f"has candidates of {len(lost)} {'example' if len(lost) == 1 else 'examples'} that "
        f"{run.examples.name} does not have, such as {lost[0]!r}"
    )


def _lost_candidate(run: "RunFolder", done: Mapping[str, Any]) -> str | None:
    """Problem of candidates that came with the data and are not there any more."""
    stage = done.get("refine")
    read = stage.get("read") if isinstance(stage, dict) else None
    if not isinstance(read, dict) or not is_whole(run.loaded):
        return None
    if read.get(run.loaded.name) != checksum(run.loaded):  # data were loaded again since
        return None
    lost = _lost_ids(run.loaded, run.candidates, "candidate_id")
    if not lost:
        return None
    return f"lacks {len(lost)} of the candidates that came with the data, such as {lost[0]!r}"


def _lost_ids(path: Path, known: Path, name: str) -> list[str]:
    """Ids in one table that another does not have, compared once for each pair of states."""
    pair = (str(path), state_of(path), str(known), state_of(known))
    if pair not in _compared:
        columns = [pq.read_table(one, columns=[name])[name] for one in (path, known)]
        _compared[pair] = unknown_ids(*columns)
    return _compared[pair]


def _rows_noted(run: "RunFolder", path: Path, done: Mapping[str, Any]) -> int | None:
    """Number of rows that a stage noted for the table it wrote, or None."""
    places = {
        run.rows: ("load", "rows"),
        run.examples: ("load", "examples"),
        run.decisions: (run.select_stage, "examples"),
        run.chosen: (run.select_stage, "rows_kept"),
    }
    stage, name = places.get(path, ("", ""))
    noted = done.get(stage)
    tally = noted.get("tally") if isinstance(noted, dict) else None
    wanted = tally.get(name) if isinstance(tally, dict) else None
    return wanted if isinstance(wanted, int) else None


# ----------------------------------------------------------------------------------------------
# The report page of a run folder: whether it can be drawn, and how it is written.
# ----------------------------------------------------------------------------------------------


def can_draw() -> bool:
    """Whether the drawing libraries are installed."""
    return all(find_spec(name) is not None for name in ("altair", "vl_convert"))


def write_page(run: RunFolder, page: str) -> Path:
    """Write the page of a run atomically."""
    write_text(run.report, page)
    return run.report
