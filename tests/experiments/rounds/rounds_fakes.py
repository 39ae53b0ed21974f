"""Rounds without models: a trainer that makes another student, an evaluation by hash."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.experiments.rounds.student_fakes import moving_doors
from tests.pipeline.fakes import rows, write_rows
from tutelage.data import content_hash, replacing
from tutelage.evaluation import EvaluateSettings, ItemResult, TaskSettings, results_table
from tutelage.experiments.rounds.config import RoundDoors, RoundsSettings
from tutelage.pipeline.config import checked
from tutelage.progress import Progress
from tutelage.refinement.rejected_rewrite import ASKS
from tutelage.student import StudentSettings
from tutelage.teacher import Request, TeacherSettings
from tutelage.teacher.fakes import Line
from tutelage.training import TrainSettings


class Ledger:
    """What reached the models."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.trained: list[Path] = []
        self.evaluated: list[str] = []


def fake_train(ledger: Ledger) -> Any:
    def train(
        file: Path, model: str, settings: TrainSettings, out: Path, progress: Progress
    ) -> Mapping[str, Any]:
        del progress
        out.mkdir(parents=True, exist_ok=True)
        lines = file.read_text(encoding="utf-8").splitlines()
        marker = out / "model.txt"
        if not marker.exists():
            ledger.trained.append(out)
            with replacing(marker) as part:
                part.write_text(content_hash(lines, model, settings.seed), encoding="utf-8")
        return {"path": f"{out}@{marker.read_text(encoding='utf-8')}", "rows": len(lines)}

    return train


def fake_evaluate(ledger: Ledger, right: Mapping[str, float]) -> Any:
    """The share of right answers is that of the longest key that the model's name holds."""

    def evaluate(
        model: str,
        tasks: Sequence[TaskSettings],
        settings: EvaluateSettings,
        out: Path,
        progress: Progress,
    ) -> pa.Table:
        del settings, out, progress
        ledger.evaluated.append(model)
        share = max((key for key in right if key in model), key=len, default="")
        tables = []
        for task in tasks:
            results = [
                ItemResult(
                    item_id=f"i{n}",
                    value=-2.0 if task.kind == "held_out" else float(n / 40 < right[share]),
                    correct=None if task.kind == "held_out" else n / 40 < right[share],
                )
                for n in range(40)
            ]
            tables.append(results_table(results, task=task.name, seed=0))
        return pa.concat_tables(tables)

    return evaluate


def as_teacher(student: StudentSettings, batch: int) -> TeacherSettings:
    return TeacherSettings(model=student.model, base_url="http://127.0.0.1:9/v1", concurrency=batch)


def speaks(request: Request) -> Line:
    """As a teacher it reflects, as a student it answers in a way that depends on its name."""
    if request.schema is None:
        mark = content_hash(request.model, request.messages[-1].content, request.seed)
        return f"I {mark[:3]} would {mark[3:6]} say {mark[6:9]} that it {mark[9:12]} is so."
    import json

    keys = list(request.schema["properties"])  # type: ignore[call-overload]
    told = request.messages[-1].content
    tone = next((name for name, ask in ASKS.items() if ask.reason in told), "new")
    texts = {
        "criticism": "It is short.",
        "new_instruction": f"Explain in a {tone} way why case {request.key[:6]} matters.",
        "new_response": f"Case {request.key[:6]} matters since it is {tone} and shows the rule.",
    }
    return json.dumps({key: texts[key] for key in keys})


def round_doors(ledger: Ledger | None = None, *, right: Mapping[str, float] | None = None) -> Any:
    ledger = ledger or Ledger()
    return RoundDoors(
        doors=moving_doors(speaks, asked=ledger.asked),
        train=fake_train(ledger),
        evaluate=fake_evaluate(ledger, right or {"": 0.5}),
        as_teacher=as_teacher,
    )


def rounds_settings(tmp_path: Path, *, count: int = 8, **more: Any) -> RoundsSettings:
    data = write_rows(tmp_path / "data.jsonl", rows(count))
    held_out = write_rows(
        tmp_path / "held.jsonl",
        [{"instruction": f"How is {n} told from {n + 1}?", "output": "Look."} for n in range(6)],
    )
    tasks = [
        {"name": "sums", "kind": "exact_match", "path": "none.jsonl"},
        {"name": "human", "kind": "held_out", "path": "none.jsonl"},
    ]
    values = {
        "data": {"path": str(data)},
        "student": {"model": "table"},
        "teacher": {"model": "scripted"},
        "out": str(tmp_path / "out"),
        "rounds": 2,
        "held_out": {"tasks": tasks, "instructions": {"path": str(held_out)}},
        "guard": [],
        **more,
    }
    return checked(RoundsSettings, values, place="test")
