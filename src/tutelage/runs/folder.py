"""The run folder: the only place that decides where a file lies."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.data.tables import SCHEMA_VERSION
from tutelage.errors import RunError

_PARQUET = b"PAR1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """The paths of one run. Nothing is created until `create` is called."""

    root: Path

    @property
    def manifest(self) -> Path:
        """What was asked for, from what, with which versions; written before work starts."""
        return self.root / "manifest.json"

    @property
    def journal(self) -> Path:
        """Every teacher reply."""
        return self.root / "journal.sqlite"

    @property
    def rows(self) -> Path:
        """Input row number to example, or why the row could not be read."""
        return self.root / "rows.parquet"

    @property
    def examples(self) -> Path:
        """One row an example."""
        return self.root / "examples.parquet"

    @property
    def loaded(self) -> Path:
        """The candidates that came with the data: originals and imported refinements."""
        return self.root / "loaded.parquet"

    @property
    def candidates(self) -> Path:
        """All candidates: those that came with the data, then those the teacher wrote."""
        return self.root / "candidates.parquet"

    @property
    def scores(self) -> Path:
        """Candidate by student."""
        return self.root / "scores.parquet"

    @property
    def statistics(self) -> Path:
        """What the student thought of every target token, where the settings ask for it."""
        return self.root / "statistics.parquet"

    @property
    def decisions(self) -> Path:
        """Exactly one row an example."""
        return self.root / "decisions.parquet"

    @property
    def overrides(self) -> Path:
        """What persons decided whatever the rule says; only ever appended to."""
        return self.root / "overrides.jsonl"

    @property
    def nulls(self) -> Path:
        """Sets of the same size, chosen without the student."""
        return self.root / "nulls.parquet"

    @property
    def verdicts(self) -> Path:
        """Whether each candidate is right."""
        return self.root / "verdicts.parquet"

    @property
    def filters(self) -> Path:
        """What the filters decided on each candidate."""
        return self.root / "filters.parquet"

    @property
    def quality_gate(self) -> Path:
        """The calibrated gate: detectors, thresholds, and how they did on held-out rows."""
        return self.root / "quality_gate.json"

    @property
    def quality_gate_table(self) -> Path:
        """What the calibrated gate decided on each candidate."""
        return self.root / "quality_gate.parquet"

    @property
    def chosen(self) -> Path:
        """Every chosen candidate; some rules keep several of an example."""
        return self.root / "chosen.parquet"

    @property
    def selected(self) -> Path:
        """The chosen candidates, for training."""
        return self.root / "selected.jsonl"

    @property
    def rejected(self) -> Path:
        """The examples of which nothing was chosen, with the reason."""
        return self.root / "rejected.jsonl"

    @property
    def report(self) -> Path:
        """The page people forward."""
        return self.root / "report.html"

    def create(self) -> "RunFolder":
        """Make the folder, or accept one that is empty or a run already.

        Raises:
            RunError: Something else lies there.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.root}: cannot be created: {error.strerror}", hint="choose another --out"
            ) from error
        others = [p.name for p in self.root.iterdir() if not p.name.startswith(".")]
        if others and not self.manifest.exists() and not self.journal.exists():
            raise RunError(
                f"{self.root}: is not a run folder, it holds {others[0]!r}",
                hint="choose an empty or a new folder for --out",
            )
        return self

    def existing(self) -> "RunFolder":
        """This folder, once it is sure that a run lies there.

        Raises:
            RunError: There is no run.
        """
        if not self.manifest.exists():
            raise RunError(
                f"{self.root}: there is no run here (no manifest.json)",
                hint="give the folder that `tutelage run` or `tutelage refine` wrote",
            )
        return self

    def need(self, path: Path) -> Path:
        """A file of this run that has to be there, and whole.

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
        """Hold the folder for one writing process; the lock goes with the process.

        Raises:
            RunError: Another process holds it.
        """
        with (self.root / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"{self.root}: another process is working on this run",
                    hint="wait for it to end, or give another --out",
                ) from error
            yield

    def read_manifest(self) -> dict[str, Any]:
        """The manifest, or an empty one where the run has not started.

        Raises:
            RunError: It is not JSON, or of a newer version of this package.
        """
        if not self.manifest.exists():
            return {}
        try:
            manifest = json.loads(self.manifest.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunError(
                f"{self.manifest}: is not valid JSON: {error}",
                hint="restore it, or start again in a new folder: paid replies are in the journal "
                "and can be shared with `teacher.journal`",
            ) from error
        parts = ("settings", "student", "stages")
        if not isinstance(manifest, dict) or not all(
            isinstance(manifest.get(part, {}), dict) for part in parts
        ):
            raise RunError(
                f"{self.manifest}: is not a manifest that tutelage wrote",
                hint="restore it, or start again in a new folder",
            )
        version = manifest.get("schema_version")
        if version != SCHEMA_VERSION:
            raise RunError(
                f"{self.manifest}: schema version {version}, this tutelage reads {SCHEMA_VERSION}",
                hint="use the tutelage that wrote it, or start again in a new folder",
            )
        return manifest

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest in one step."""
        text = json.dumps(
            {"schema_version": SCHEMA_VERSION, **manifest}, indent=2, ensure_ascii=False
        )
        temporary = self.manifest.with_suffix(".json.part")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.manifest)


def is_whole(path: Path) -> bool:
    """Whether a file is there, and ends as a file of its kind does."""
    if not path.is_file():
        return False
    if path.suffix != ".parquet":
        return True
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) < 2 * len(_PARQUET):
            return False
        file.seek(-len(_PARQUET), os.SEEK_END)
        return file.read() == _PARQUET


def sound(path: Path) -> Path:
    """The same path, once it is sure that the file was not cut short or overwritten.

    Raises:
        RunError: It was.
    """
    if is_whole(path):
        return path
    raise RunError(
        f"{path}: is damaged: it does not end as a Parquet file does",
        hint="delete it: `tutelage run CONFIG.yaml` writes it again and asks nobody twice",
    )


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
