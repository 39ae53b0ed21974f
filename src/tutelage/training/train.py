"""Training of a student on rows, which resumes after an interruption.

OUT/manifest.json      what was asked for, written before work; what came out, added at the end
OUT/checkpoints/       while it works
OUT/model/             the trained student, complete or absent
"""

import json
import logging
import platform
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from tutelage.data import content_hash, remove_leftovers_below, write_text
from tutelage.data.stored_json import StoredDict, StoredShape, optional, read_stored
from tutelage.errors import MissingExtraError, RunError, TutelageError
from tutelage.models import give_memory_back
from tutelage.models.loading import memory_errors
from tutelage.progress import Progress, Silent
from tutelage.student import StudentModel, StudentSettings, open_student
from tutelage.student.config import template_values
from tutelage.student.engine import OutOfMemoryError
from tutelage.training.config import TrainingSpeed, TrainSettings, steps_of
from tutelage.training.processes import begin, launched, wait_for_all
from tutelage.training.tokenized_rows import Encoded, encode_file
from tutelage.training.trackers import tracked_run
from tutelage.version import installed_version

LIBRARIES = ("tutelage", "torch", "transformers", "trl", "peft", "accelerate", "datasets")
_NOT_IN_KEY = {"threads", "checkpoint_steps", "microbatch_examples"}
"""Settings that may differ between a training and its continuation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Result of a training.

    Attributes:
        path: The trained student; `StudentSettings(model=path)` opens it.
        steps: Optimizer steps.
        rows: Sequences trained on, in each epoch.
        left_out: How many rows were left out, by reason.
        tokens: Tokens read, contexts too, over all epochs.
        loss_tokens: Of these, tokens that carried loss.
        first_loss: Mean loss in nats per token at the first optimizer step.
        last_loss: The same, over the last tenth of the steps.
        seconds: Spent on training. Of attempts that were killed, up to the checkpoint from which
            the next one continued.
    """

    path: str
    steps: int
    rows: int
    left_out: Mapping[str, int]
    tokens: int
    loss_tokens: int
    first_loss: float
    last_loss: float
    seconds: float


_log = logging.getLogger(__name__)


def train_student(
    rows: Path,
    *,
    model: str,
    settings: TrainSettings,
    out: Path,
    progress: Progress | None = None,
) -> Trained:
    """Train a student on the responses of a file of rows, with TRL's `SFTTrainer`.

    Loss is on the tokens that scoring counts and on the end of the turn, nowhere else. The same
    rows, model and settings give the same weights on the same machine; a training that was killed
    continues from its last checkpoint, and one that is complete is not repeated.

    Args:
        rows: Any file that `tutelage.read` understands, such as `selected.jsonl`.
        model: The student to start from: a folder, a hub id or an alias.
        settings: How to train.
        out: A folder of its own.
        progress: Told of each optimizer step.

    Raises:
        MissingExtraError: TRL or another library of the extra `train` is not installed.
        RunError: Another training lies in `out`.
        DataError: None of the rows can be trained on.
        StudentError: The student cannot be opened, or (DivergedError) a loss, an answer or
            a weight is no number. Then there is no OUT/model.
    """
    first = launched().is_first
    progress = (progress if first else None) or Silent()
    student = open_student(student_settings(model, settings))
    begin(device=student.parts.device)
    try:
        key = _key(rows, student, settings)
        done = _known(out, key)
        wait_for_all()  # before the first process writes
        if first:
            remove_leftovers_below(out)
        if done is not None:
            progress.tell(f"{out}: this training was finished before; nothing is trained again")
            return done
        adapter = student.parts.folder.adapter
        if adapter is not None:
            _log.warning(
                "%s is an adapter: it is merged into its base model %s before training, and the "
                "result is saved as a whole model",
                model,
                adapter.base_name,
            )
        encoded = encode_file(rows, student, weighted=settings.row_weights == "auto")
        about = _about(rows, student, settings, encoded)
        out.mkdir(parents=True, exist_ok=True)
        _write(out, {"key": key, "state": "started", **about})
        try:
            resumed = last_checkpoint(_checkpoints(out)) is not None
            followed = _followed(about, out)
            run = tracked_run(str(out), config=followed, resumed=resumed)
            with run if first else nullcontext() as tracking:
                trained = _train(encoded, student, settings, out=out, progress=progress)
                if tracking is not None:
                    tracking.log(_totals(trained))
        except TutelageError as error:
            _write(out, {"key": key, "state": "failed", **about, "error": str(error)})
            raise
        _write(out, {"key": key, "state": "done", **about, "result": asdict(trained)})
        if first:
            shutil.rmtree(_checkpoints(out), ignore_errors=True)
        wait_for_all()
    finally:
        student.close()
        give_memory_back()
    return trained


def training_speed(
    encoded: Encoded, student: StudentModel, settings: TrainSettings, *, seconds: float
) -> TrainingSpeed:
    """Speed of training a student, measured by a few steps that are thrown away.

    The first step, which is slower, does not count where there is a second one.

    Args:
        encoded: The rows.
        student: The student that is trained; the weights are read, and changed only in memory.
        settings: The settings.
        seconds: How long at most, but at least two steps.

    Returns:
        Tokens trained on and the seconds they took, and the seconds of loading the model.

    Raises:
        MissingExtraError: TRL or another library of the extra `train` is not installed.
    """
    try:
        from tutelage.training.trainer import measured_speed
    except ImportError as error:
        raise _missing(error) from error
    try:
        return measured_speed(encoded, student.parts, settings, seconds=seconds)
    finally:
        give_memory_back()


def _missing(error: ImportError) -> MissingExtraError:
    return MissingExtraError(f"training needs TRL: {error}", hint="pip install 'tutelage[train]'")


def _followed(about: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Settings of a training for a tracker."""
    rows = {name: about["rows"][name] for name in ("file", "trained_on", "weighted")}
    return {
        "out": str(out),
        "student": about["student"]["model"],
        **{f"rows_{name}": value for name, value in rows.items()},
        **{f"train_{name}": value for name, value in about["settings"].items()},
    }


def _totals(trained: Trained) -> dict[str, float]:
    names = ("rows", "steps", "tokens", "loss_tokens", "last_loss", "seconds")
    return {f"train/total_{name}": getattr(trained, name) for name in names}


def student_settings(model: str, settings: TrainSettings) -> StudentSettings:
    """Student settings for training: with the end of the turn, without a cache."""
    return StudentSettings(
        model=model,
        template=settings.template,
        device=settings.device,
        max_length=settings.max_tokens,
        turns=settings.turns,
        **template_values(settings),
        score_end_of_turn=True,
        use_cache=False,
    )


def _key(rows: Path, student: StudentModel, settings: TrainSettings) -> str:
    digest = sha256(rows.read_bytes()).hexdigest()
    kept = settings.model_dump(mode="json", exclude=_NOT_IN_KEY)
    if settings.row_weights == "auto":  # trainings from before there were weights keep their key
        del kept["row_weights"]
    if settings.save_dtype == "source":  # as those from before this could be chosen
        del kept["save_dtype"]
    return content_hash("train", digest, student.fingerprint, kept)


def _about(
    rows: Path, student: StudentModel, settings: TrainSettings, encoded: Encoded
) -> dict[str, Any]:
    description = dict(student.describe())
    return {
        "settings": settings.model_dump(mode="json"),
        "student": {
            name: description[name]
            for name in ("model", "adapter_of", "fingerprint", "model_type", "template")
        },
        "rows": {
            "file": rows.name,
            "sha256": sha256(rows.read_bytes()).hexdigest(),
            "trained_on": len(encoded.rows),
            "weighted": encoded.relative_weights is not None,
            "left_out": dict(encoded.left_out_by_reason),
            "left_out_rows": [asdict(row) for row in encoded.left_out],
        },
        "versions": {name: installed_version(name) for name in LIBRARIES},
        "platform": platform.platform(),
    }


class _Result(StoredShape):
    steps: int
    rows: int
    left_out: dict[str, int]
    tokens: int
    loss_tokens: int
    first_loss: float
    last_loss: float
    seconds: float
    path: str


class _Rows(StoredShape):
    sha256: str = optional()
    left_out_rows: list[dict[str, Any]] = optional()


class _Manifest(StoredShape):
    key: str
    state: str
    rows: _Rows = optional()


class _Finished(_Manifest):
    result: _Result


def refuse_other_rows(rows: Path, out: Path) -> None:
    """Raise an error if `out` holds a training on other rows than `rows`.

    Raises:
        RunError: A training on other rows lies there.
    """
    manifest: Mapping[str, Any] = _manifest(out) or {}
    held = manifest.get("rows", {}).get("sha256")
    if held is not None and held != sha256(rows.read_bytes()).hexdigest():
        raise _another(out)


def _known(out: Path, key: str) -> Trained | None:
    """Result of a finished training in `out`, if it is this one and complete; else None."""
    manifest = _manifest(out)
    if manifest is None:
        return None
    if manifest["key"] != key:
        raise _another(out)
    if manifest["state"] != "done" or not (out / "model" / "config.json").is_file():
        return None
    result = {f.name: manifest["result"][f.name] for f in fields(Trained)}
    left_out = dict(result["left_out"])
    return Trained(**{**result, "left_out": left_out, "path": str(out / "model")})


def _manifest(out: Path) -> StoredDict | None:
    path = out / "manifest.json"
    if not path.is_file():
        return None
    what = {"what": "the manifest of a training", "hint": "choose another --out"}
    manifest = read_stored(path, _Manifest, **what)
    if manifest["state"] == "done":
        return read_stored(path, _Finished, **what)
    return manifest


def left_out_rows(out: Path) -> list[dict[str, Any]]:
    """The rows that a training left out, as its manifest lists them.

    Raises:
        RunError: There is no manifest, or it is damaged.
    """
    path = out / "manifest.json"
    hint = "train again with another --out"
    manifest = read_stored(path, _Manifest, what="the manifest of a training", hint=hint)
    found: list[dict[str, Any]] = manifest["rows"]["left_out_rows"]
    return found


def _another(out: Path) -> RunError:
    return RunError(
        f"{out}: contains another training run (other rows, student or settings)",
        hint="choose another --out, or remove the folder",
    )


def _write(out: Path, manifest: Mapping[str, Any]) -> None:
    if launched().is_first:
        write_text(out / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def _checkpoints(out: Path) -> Path:
    return out / "checkpoints"


def last_checkpoint(folder: Path) -> Path | None:
    """Newest complete checkpoint, or None; the trainer state is written last."""
    found = [
        (int(path.name.rpartition("-")[2]), path)
        for path in folder.glob("checkpoint-*")
        if path.name.rpartition("-")[2].isdigit() and _is_json(path / "trainer_state.json")
    ]
    return max(found)[1] if found else None


def _is_json(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _train(
    encoded: Encoded,
    student: StudentModel,
    settings: TrainSettings,
    *,
    out: Path,
    progress: Progress,
) -> Trained:
    try:
        from tutelage.training.model_weights import quiet, save_trained
        from tutelage.training.trainer import (
            build_trainer,
            check_answers,
            does_not_fit,
        )
    except ImportError as error:
        raise _missing(error) from error
    steps = steps_of(len(encoded.rows), settings)
    progress.begin("train", total=steps, unit="steps")
    trainer = build_trainer(
        encoded, student.parts, settings, checkpoints=_checkpoints(out), progress=progress
    )
    checkpoint = last_checkpoint(_checkpoints(out))
    if checkpoint is not None:
        with suppress(ValueError):
            progress.advance(int(checkpoint.name.rpartition("-")[2]))
    try:
        with quiet(), memory_errors(OutOfMemoryError):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except OutOfMemoryError as error:
        raise does_not_fit(str(error), rows=trainer.args.per_device_train_batch_size) from error
    ended = time.monotonic()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    losses = [entry["loss"] for entry in logged]
    check_answers(trainer, encoded)
    save_trained(trainer, student.parts, settings, out / "model")
    progress.end()
    tail = losses[-max(1, len(losses) // 10) :]
    return Trained(
        path=str(out / "model"),
        steps=trainer.state.global_step,
        rows=len(encoded.rows),
        left_out=encoded.left_out_by_reason,
        tokens=encoded.tokens * settings.epochs,
        loss_tokens=encoded.loss_tokens * settings.epochs,
        first_loss=losses[0],
        last_loss=sum(tail) / len(tail),
        seconds=round(logged[-1].get("seconds", 0.0) + time.monotonic() - ended, 2),
    )
