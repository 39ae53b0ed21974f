"""Demo run on bundled examples, with recorded replies of a real teacher."""

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from tutelage.pipeline.config import RunSettings, checked
from tutelage.pipeline.jobs import run_all
from tutelage.pipeline.resources import Doors
from tutelage.progress import Progress
from tutelage.refinement import RefineSettings

TEACHER = "qwen2.5-coder-1.5b"
"""Model that wrote the recorded replies: Qwen2.5-Coder-1.5B-Instruct (Q4_K_M) with llama.cpp."""

REFINE = RefineSettings(prompt_version="v1", max_tokens=512)
"""Request settings of the recorded replies; other settings would be other requests."""


def demo_settings(out: Path, *, student: Mapping[str, Any]) -> RunSettings:
    """Settings of the demo's run, which also serve as an example."""
    here = resources.files("tutelage.demo_data")
    values = {
        "data": {"path": str(here / "examples.jsonl")},
        "teacher": {
            "kind": "replay",
            "model": TEACHER,
            "journal": str(here / "journal.sqlite"),
        },
        "refine": REFINE,
        "student": student,
        "out": str(out),
    }
    return checked(RunSettings, values, place="demo")


def run_demo(
    out: Path,
    *,
    student: Mapping[str, Any],
    progress: Progress,
    say: Callable[[str], None],
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Run the demo offline.

    Args:
        out: The run folder.
        student: Settings of the student room.
        progress: Told how far each stage is.
        say: Told, in a sentence, what happens next.
        doors: How student and teacher are reached.

    Returns:
        What `run_all` returns.
    """
    settings = demo_settings(out, student=student)
    say(
        f"Replaying recorded replies of the teacher {TEACHER}. "
        f"The student {settings.student.model} scores every version."
    )
    return run_all(settings, progress=progress, doors=doors)
