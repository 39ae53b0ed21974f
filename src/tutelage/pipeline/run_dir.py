"""Run folder: the paths, checks and manifest of a run."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.data import lock_file, remove_leftovers, remove_leftovers_below, write_text
from tutelage.data.schemas import (
    ANSWERS,
    COMPARED_LOOPS,
    DECISIONS,
    FINAL_DECISIONS,
    RESULTS,
    ROUNDS,
    RUN_TABLES,
    SCHEMA_VERSION,
    SCORES,
    STANDINGS,
    VERDICTS,
    column,
    only_columns,
    table_schema,
)
from tutelage.errors import RunError, SettingsError
from tutelage.pipeline.manifest import read_run_manifest

# ----------------------------------------------------------------------------------------------
# Checks that the files of a run folder are whole: their pages, their columns, their types.
# ----------------------------------------------------------------------------------------------


_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, UnicodeDecodeError)

_OPTIONAL = frozenset(
    (
        *("tools", "finish_reason", "detail", "criticism", "request_key", "weight", "extra"),
        *("straddles", "stripped", "control_tokens_in_data", "contract", "template_args", "check"),
    )
)
"""Columns that tables of an older version may lack."""

_UNCHECKED = ("statistics.parquet", "quality_gate.parquet")
_SCHEMAS = {name: schema for name, schema in RUN_TABLES.items() if name not in _UNCHECKED} | {
    "verdicts.parquet": table_schema(
        only_columns(VERDICTS, ("candidate_id", "verdict", "evidence")),
        column("check", pa.string()),
    ),
    "filters.parquet": only_columns(FINAL_DECISIONS, ("candidate_id", "kept", "reason")),
    "results.parquet": RESULTS,
    "answers.parquet": ANSWERS,
    "standings.parquet": STANDINGS,
    "rounds.parquet": ROUNDS,
    "loops.parquet": COMPARED_LOOPS,
}
_WITH_NUMBERS = (SCORES, DECISIONS, ANSWERS)
"""Tables that have columns of numbers behind those of their schema."""

_State: TypeAlias = tuple[int, int, int, int]
_checked: dict[tuple[str, _State], str | None] = {}
_hashed: dict[tuple[str, _State], str] = {}


def is_whole(path: Path) -> bool:
    """Whether a file exists and can be read to its end."""
    return path.is_file() and problem_with(path) is None


def sound(path: Path) -> Path:
    """Same path, after checking that the file can be read to its end.

    Raises:
        RunError: It is damaged, or is not the table that its name says.
    """
    problem = problem_with(path)
    if problem is None:
        return path
    raise RunError(
        f"{path}: is damaged: {problem}",
        hint="restore it from a copy, or move it away: the command that wrote it writes it again, "
        "and paid replies are not asked for twice",
    )


def check_kinds(folder: Path) -> None:
    """Refuse a folder that holds a pipe, a socket or a device: reading one may never end.

    Raises:
        RunError: It holds one, or a link to one.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.exists() and not path.is_file() and not path.is_dir():
            raise RunError(
                f"{path}: is neither a file nor a folder, but a pipe, a socket or a device",
                hint="move it away; a run folder holds files alone",
            )


def problem_with(path: Path) -> str | None:
    """Problem of a file, or None. Each state of a file is read once per process."""
    try:
        state = _state(path)
    except OSError as error:
        return error.strerror or str(error)
    if not path.is_file() and not path.is_dir():
        return "it is a pipe, a socket or a device"
    known = (str(path), state)
    if known not in _checked:
        _checked[known] = _found(path)
    return _checked[known]


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits.

    Raises:
        RunError: It cannot be read.
    """
    try:
        known = (str(path), _state(path))
        if known not in _hashed:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            _hashed[known] = digest.hexdigest()
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read: {error.strerror or error}", hint="check that you may read it"
        ) from error
    return _hashed[known]


def _state(path: Path) -> _State:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _found(path: Path) -> str | None:
    if path.suffix != ".parquet":
        return None if path.is_file() else "it is no file"
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            problem = _column_problem(file.schema_arrow, _SCHEMAS.get(path.name))
            if problem is not None:
                return problem
            for batch in file.iter_batches(batch_size=65_536):
                batch.validate(full=True)
    except _DAMAGE as error:
        return f"it cannot be read as Parquet: {str(error).splitlines()[0] if str(error) else ''}"
    return None


def _column_problem(found: pa.Schema, wanted: pa.Schema | None) -> str | None:
    if wanted is None:
        return None
    for field in wanted:
        if field.name not in found.names:
            if field.name in _OPTIONAL:
                continue
            return f"it has no column {field.name!r}"
        kind = found.field(field.name).type
        if not _alike(kind, field.type):
            return f"its column {field.name!r} holds {kind}, expected {field.type}"
    return next(filter(None, (_extra_problem(field, wanted) for field in found)), None)


def _extra_problem(field: "pa.Field[Any]", wanted: pa.Schema) -> str | None:
    """Problem of a column that a schema does not name, or None."""
    if field.name in wanted.names or wanted not in _WITH_NUMBERS:
        return None
    if _alike(field.type, pa.float64()) or _alike(field.type, pa.int64()):
        return None
    return f"its column {field.name!r} holds {field.type}, expected numbers"


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    if found == wanted or pa.types.is_null(found):
        return True
    if pa.types.is_dictionary(found):
        return _alike(found.value_type, wanted)
    if pa.types.is_list(wanted):
        if not (pa.types.is_list(found) or pa.types.is_large_list(found)):
            return False
        turn = found.value_type
        return pa.types.is_struct(turn) and all(
            turn.get_field_index(name) >= 0
            and _alike(turn.field(turn.get_field_index(name)).type, pa.string())
            for name in ("role", "content")
        )
    kinds = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        lambda kind: (
            pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_string_view(kind)
        ),
    )
    return any(kind(found) and kind(wanted) for kind in kinds)


# ----------------------------------------------------------------------------------------------
# Run dir.
# ----------------------------------------------------------------------------------------------


__all__ = ["MAIN", "RunFolder", "checksum", "is_whole", "sound"]

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
            raise RunError(
                f"{self.root}: there is no run here (no manifest.json)",
                hint="give the folder that `tutelage run` or `tutelage refine` wrote",
            )
        return self

    def _check_name(self) -> None:
        """Refuse a name that is not UTF-8: the libraries that read tables do not open it."""
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
            return sound(path)
        writers = {
            self.scores: "tutelage run, or tutelage score RUN --student MODEL",
            self.decisions: "tutelage select RUN",
            self.quality_gate: "tutelage select RUN --quality-gate calibrated",
            self.quality_gate_table: "tutelage select RUN --quality-gate calibrated",
        }
        raise RunError(
            f"{path}: is not there yet",
            hint=f"{writers.get(path, 'tutelage run CONFIG.yaml')} writes it",
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
# The report page of a run folder: whether it can be drawn, and how it is written.
# ----------------------------------------------------------------------------------------------


def can_draw() -> bool:
    """Whether the drawing libraries are installed."""
    return all(find_spec(name) is not None for name in ("altair", "vl_convert"))


def write_page(run: RunFolder, page: str) -> Path:
    """Write the page of a run atomically."""
    write_text(run.report, page)
    return run.report
