"""A run without a model and without a server: behind the doors stand a table and a script."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.pipeline.config import RunSettings, checked
from tutelage.pipeline.resources import Doors
from tutelage.student import StudentSettings, TableStudent
from tutelage.student.components import OpenStudent
from tutelage.teacher import Journal, JournaledTeacher, Request, ScriptedTeacher, TeacherSettings
from tutelage.teacher.fakes import Line

Answer = Callable[[Request], Line]


def improves(request: Request) -> str:
    """A teacher that writes a new pair, or a new response, that depends on what it was shown."""
    keys = list((request.schema or {}).get("properties", {}))
    texts = {
        "criticism": "It is short.",
        "instruction": f"Explain in order why case {request.key[:6]} matters to a learner.",
        "response": f"Case {request.key[:6]} matters since it shows the rule at work.",
    }
    return json.dumps({key: texts[key.removeprefix("new_")] for key in keys})


def doors(answer: Answer = improves, *, asked: list[str] | None = None) -> Doors:
    """Fakes behind both doors; `asked` collects the keys of requests that reach the teacher."""

    def counted(request: Request) -> Line:
        if asked is not None:
            asked.append(request.key)
        return answer(request)

    def open_teacher(
        settings: TeacherSettings, journal: Journal, *, run: str | None = None
    ) -> JournaledTeacher:
        teacher = ScriptedTeacher(counted, name=settings.teacher_name, supports_schema=True)
        return JournaledTeacher(teacher, journal, run=run)

    def open_student(settings: StudentSettings) -> TableStudent:
        return TableStudent(name=settings.model)

    return Doors(open_student=open_student, open_teacher=open_teacher)


def rows(count: int = 12) -> list[dict[str, Any]]:
    """Alpaca rows of two sources."""
    return [
        {
            "instruction": f"What is the use of tool number {n}?",
            "output": f"Tool {n} cuts and joins {n * 7} parts of a thing.",
            "source": "tools" if n % 2 else "things",
        }
        for n in range(count)
    ]


def write_rows(path: Path, values: list[Any]) -> Path:
    """JSONL; a text is written as it is, so that a broken line can be among them."""
    lines = [v if isinstance(v, str) else json.dumps(v) for v in values]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def settings(data: Path, out: Path, **more: Any) -> RunSettings:
    """A run with a teacher, unless `teacher=None`."""
    values = {
        "data": {"path": str(data)},
        "student": {"model": "table"},
        "teacher": {"model": "scripted"},
        "out": str(out),
        **more,
    }
    return checked(RunSettings, values, place="test")


def scored_as(run: Path, *students: StudentSettings, other: str | None = None) -> None:
    """Hand the scores of a run to students on disk; the later ones' `other` changes its sign."""
    scores = pq.read_table(run / "scores.parquet")
    parts = []
    for n, student in enumerate(students):
        name = OpenStudent(student).fingerprint
        made = scores.set_column(
            scores.column_names.index("student"), "student", pa.array([name] * len(scores))
        )
        if n and other is not None:
            place = made.column_names.index(other)
            made = made.set_column(place, other, pc.negate(made[other]))
        parts.append(made)
    pq.write_table(pa.concat_tables(parts), run / "scores.parquet")
